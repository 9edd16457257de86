import keras
import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf.networks.classifiers import wide_resnet
from tests.networks.numpy_layers import convolve, normalise, randomise, relu, weights


def _small(depth=10, width=1, **options):
    arguments = {"num_classes": 5, "image_shape": (8, 8, 3), **options}
    return wide_resnet.build(
        wide_resnet.Settings(classifier_depth=depth, classifier_width=width), **arguments
    )


@pytest.fixture(scope="module")
def wide_resnet_16_2():
    keras.utils.set_random_seed(0)
    return wide_resnet.build(
        wide_resnet.Settings(classifier_depth=16, classifier_width=2),
        num_classes=10,
        image_shape=(32, 32, 3),
    )


@pytest.fixture
def images():
    return np.random.default_rng(0).uniform(size=(4, 8, 8, 3)).astype(np.float32)


def _reference_logits(model, images, *, depth, width):
    """The forward pass of `models/wideresnet.py` at inference, in float64."""
    layer = weights(model)

    def activated(x, name):
        return relu(normalise(x, layer[f"{name}_bn"], epsilon=1e-5))

    x = convolve((np.float64(images) - 0.5) / 0.5, *layer["stem"], padding=1)
    for group, base in enumerate((16, 32, 64), start=1):
        for block in range(1, (depth - 4) // 6 + 1):
            name = f"group{group}_block{block}"
            stride = 2 if group > 1 and block == 1 else 1
            activation = activated(x, f"{name}_pre")
            y = convolve(activation, *layer[f"{name}_conv1"], stride=stride, padding=1)
            y = convolve(activated(y, f"{name}_mid"), *layer[f"{name}_conv2"], padding=1)
            if x.shape[-1] != base * width:
                x = convolve(activation, *layer[f"{name}_shortcut"], stride=stride)
            x = x + y
    kernel, bias = layer["logits"]
    return activated(x, "final").mean(axis=(1, 2)) @ kernel + bias


@pytest.mark.parametrize(
    ("depth", "width", "image_shape"),
    [(10, 1, (8, 8, 3)), (16, 2, (8, 8, 3)), (10, 2, (14, 14, 1))],
)
def test_forward_pass_is_the_references(depth, width, image_shape):
    """Strides are padded on both sides, images are normalised inside, blocks are wired alike."""
    model = _small(depth, width, image_shape=image_shape)
    randomise(model)
    images = np.random.default_rng(1).uniform(size=(3, *image_shape)).astype(np.float32)
    expected = _reference_logits(model, images, depth=depth, width=width)
    logits = model(images, training=False)
    np.testing.assert_allclose(logits, expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("group", [2, 3])
def test_strided_convolutions_are_padded_on_both_sides(group, wide_resnet_16_2):
    name = f"group{group}_block1"
    activation = wide_resnet_16_2.get_layer(f"{name}_pre_relu").output
    convolution = wide_resnet_16_2.get_layer(f"{name}_conv1")
    strided = keras.Model(activation, convolution.output)
    x = np.random.default_rng(0).normal(size=(2, *activation.shape[1:])).astype(np.float32)
    padded = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])
    expected = tf.nn.conv2d(padded, convolution.kernel, 2, "VALID")
    np.testing.assert_allclose(strided(x), expected, atol=1e-4)
    assert not np.allclose(tf.nn.conv2d(x, convolution.kernel, 2, "SAME"), expected, atol=1e-2)


def test_parameters_of_28_10_at_100_classes():
    """At 10 classes: tests/test_cost.py."""
    model = wide_resnet.build(
        wide_resnet.Settings(classifier_depth=28, classifier_width=10),
        num_classes=100,
        image_shape=(32, 32, 3),
    )
    assert sum(np.prod(v.shape) for v in model.trainable_variables) == 36_536_884


def test_parameters_of_16_2(wide_resnet_16_2):
    assert sum(np.prod(v.shape) for v in wide_resnet_16_2.trainable_variables) == 691_674


@pytest.mark.parametrize("depth", [4, 9, 11, 28.5, -2])
def test_other_depths_are_refused(depth):
    with pytest.raises(ValueError, match=f"classifier_depth is {depth}; it must be "):
        wide_resnet.Settings(classifier_depth=depth)


def test_convolutions_start_at_he_fan_out(wide_resnet_16_2):
    """N(0, sqrt(2 / (k^2 out))), untruncated."""
    kernels = [
        layer.kernel.numpy()
        for layer in wide_resnet_16_2.layers
        if isinstance(layer, keras.layers.Conv2D)
    ]
    assert len(kernels) == 1 + 6 * 2 + 3
    standardised = []
    for kernel in kernels:
        size, _, _, outputs = kernel.shape
        standardised.append(kernel.ravel() / np.sqrt(2 / (size**2 * outputs)))
        tolerance = 5 / np.sqrt(2 * kernel.size)
        assert standardised[-1].std() == pytest.approx(1, abs=tolerance)
    # A normal distribution truncated at two deviations ends at 2.27 once rescaled.
    assert np.abs(np.concatenate(standardised)).max() > 4


def test_dense_layer_starts_as_pytorchs(wide_resnet_16_2):
    kernel, bias = wide_resnet_16_2.get_layer("logits").get_weights()
    bound = 128**-0.5
    assert 0.99 * bound < np.abs(kernel).max() <= bound
    assert kernel.std() == pytest.approx(bound / np.sqrt(3), rel=0.05)
    np.testing.assert_array_equal(bias, 0)


def test_batch_normalisation_is_pytorchs(wide_resnet_16_2):
    layers = [
        layer
        for layer in wide_resnet_16_2.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    assert len(layers) == 6 * 2 + 1
    for layer in layers:
        assert layer.momentum == 0.9
        assert layer.epsilon == 1e-5
        gamma, beta, _, _ = layer.get_weights()
        np.testing.assert_array_equal(gamma, 1)
        np.testing.assert_array_equal(beta, 0)


def test_convolutions_have_no_bias(wide_resnet_16_2):
    for layer in wide_resnet_16_2.layers:
        if isinstance(layer, keras.layers.Conv2D):
            assert not layer.use_bias


def test_mixed_bfloat16_keeps_variables_and_logits_in_float32(images):
    model, mixed = _small(), _small(dtype="mixed_bfloat16")
    mixed.set_weights(model.get_weights())
    assert mixed.get_layer("group1_block1_conv1").compute_dtype == "bfloat16"
    assert {variable.dtype for variable in mixed.trainable_variables} == {"float32"}
    logits, expected = mixed(images, training=False), model(images, training=False)
    assert logits.dtype == tf.float32
    difference = np.abs(logits - expected).max()
    assert 0 < difference < 0.1 * np.abs(expected).max()


def test_file_loads_without_running_code(tmp_path, images):
    model = _small(depth=16, width=2)
    randomise(model)
    path = tmp_path / "classifier.keras"
    model.save(path)
    loaded = keras.models.load_model(path, safe_mode=True)
    np.testing.assert_array_equal(loaded(images), model(images))
