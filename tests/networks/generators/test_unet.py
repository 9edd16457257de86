import keras
import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf.networks.conditional_normalization import conditional_batch_normalization
from fsgan_tf.networks.generators.double_convolution_unet import double_convolution_unet
from fsgan_tf.networks.generators.unet import unet
from tests.networks.numpy_layers import (
    convolve,
    convolve_transposed,
    normalise,
    randomise,
    relu,
    weights,
)

LATENT_DIM = 10
NUM_CLASSES = 5
CONDITIONAL = {"num_classes": NUM_CLASSES, "residual": False}


def _small(image_shape=(8, 8, 3), **options):
    arguments = {"feature_channels": 9, "latent_dim": LATENT_DIM, "width": 4, **options}
    return unet(image_shape=image_shape, **arguments)


def _inputs(image_shape=(8, 8, 3), feature_channels=9, batch=3, seed=0):
    generator = np.random.default_rng(seed)
    return [
        generator.normal(size=shape).astype(np.float32)
        for shape in (
            (batch, *image_shape[:2], feature_channels),
            (batch, LATENT_DIM),
            (batch, *image_shape),
        )
    ]


@pytest.fixture
def model():
    """With random weights: at its initial ones (deviation 0.02) all outputs are near 0."""
    model = _small()
    randomise(model)
    return model


@pytest.fixture(scope="module")
def full_width():
    keras.utils.set_random_seed(0)
    return unet(image_shape=(32, 32, 3), feature_channels=9, latent_dim=LATENT_DIM, width=64)


def _by_class(layer, name, labels):
    """The shared row plus the class's, `[b, 1, 1, c]`."""
    classes, shared = layer[name]
    return (shared + classes[labels])[:, None, None]


def _reference_output(model, features, latents, residual=0.0, labels=None):
    """The forward pass of L2L-DA's `NoiseGenerator` at inference, in float64."""
    layer = weights(model)
    features, latents, residual = (np.float64(x) for x in (features, latents, residual))

    def normalised(x, name):
        if labels is None:
            return normalise(x, layer[f"{name}_bn"], epsilon=1e-10)
        x = normalise(x, (1, 0, *layer[f"{name}_bn"]), epsilon=1e-10)
        gain, bias = (_by_class(layer, f"{name}_bn_{kind}", labels) for kind in ("gain", "bias"))
        return x * gain + bias

    def joined(x):
        tiled = np.broadcast_to(z[:, None, None], (*x.shape[:3], z.shape[-1]))
        return np.concatenate([x, tiled], axis=-1)

    z = latents
    for name in ("latent1", "latent2"):
        kernel, bias = layer[name]
        z = relu(z @ kernel + bias)
    down0 = relu(convolve(joined(features), *layer["down0_conv"], padding=1), 0.2)
    down1 = convolve(joined(down0), *layer["down1_conv"], stride=2, padding=1)
    down1 = relu(normalised(down1, "down1"), 0.2)
    down2 = relu(convolve(joined(down1), *layer["down2_conv"], stride=2, padding=1), 0.2)
    up2 = convolve_transposed(down2, *layer["up2_conv"], stride=2, padding=1)
    up2 = np.concatenate([relu(normalised(up2, "up2")), down1], axis=-1)
    up1 = convolve_transposed(up2, *layer["up1_conv"], stride=2, padding=1)
    up1 = np.concatenate([relu(normalised(up1, "up1")), down0], axis=-1)
    return np.tanh(convolve(up1, *layer["output"], padding=1) + residual)


@pytest.mark.parametrize("image_shape", [(8, 8, 3), (12, 8, 1)])
def test_forward_pass_is_the_references(image_shape):
    model = _small(image_shape)
    randomise(model)
    inputs = _inputs(image_shape)
    expected = _reference_output(model, *inputs)
    assert 0.1 < np.abs(expected).mean() < 0.95
    np.testing.assert_allclose(model(inputs, training=False), expected, atol=2e-5)


def test_parameters_of_the_full_width(full_width):
    w, d, f = 64, LATENT_DIM, 9
    by_block = {
        "z encoder": 2 * (d * d + d),
        "down0": 3 * 3 * (f + d) * w,
        "down1": 4 * 4 * (w + d) * w + 2 * w,
        "down2": 4 * 4 * (w + d) * 2 * w,
        "up2": 4 * 4 * 2 * w * w + 2 * w,
        "up1": 4 * 4 * 2 * w * w + 2 * w,
        "output": 3 * 3 * 2 * w * 3,
    }
    count = sum(np.prod(variable.shape) for variable in full_width.trainable_variables)
    assert count == sum(by_block.values()) == 504_476


@pytest.mark.parametrize(("image_shape", "features"), [((28, 28, 1), 3), ((32, 32, 3), 9)])
def test_output_is_a_perturbation_of_the_images(image_shape, features):
    model = _small(image_shape, feature_channels=features)
    randomise(model)
    output = model(_inputs(image_shape, features), training=True).numpy()
    assert output.shape == (3, *image_shape)
    assert output.dtype == np.float32
    assert np.abs(output).max() <= 1
    assert np.abs(output).max() > 0.5


def test_latents_change_the_output_of_their_example(model):
    features, latents, residual = _inputs()
    others = latents.copy()
    others[1] = -others[1]
    output = model([features, latents, residual], training=False).numpy()
    other = model([features, others, residual], training=False).numpy()
    change = np.abs(other - output).max(axis=(1, 2, 3))
    assert change[1] > 0.01
    np.testing.assert_array_equal(change[[0, 2]], 0)


def test_residual_is_added_before_the_tanh(model):
    features, latents, residual = _inputs()
    alone = model([features, latents, np.zeros_like(residual)], training=False).numpy()
    expected = np.tanh(np.arctanh(np.float64(alone)) + residual)
    output = model([features, latents, residual], training=False)
    np.testing.assert_allclose(output, expected, atol=1e-4)


def test_weights_start_as_the_references(full_width):
    for layer in full_width.layers:
        if isinstance(layer, keras.layers.Conv2D | keras.layers.Conv2DTranspose):
            kernel = layer.kernel.numpy()
            assert kernel.std() == pytest.approx(0.02, rel=5 / np.sqrt(2 * kernel.size))
            assert np.abs(kernel).max() > 0.02 * 3
            assert not layer.use_bias
        elif isinstance(layer, keras.layers.Dense):
            kernel, bias = layer.get_weights()
            xavier_bound = np.sqrt(6 / (LATENT_DIM + LATENT_DIM))
            assert 0.9 * xavier_bound < np.abs(kernel).max() <= xavier_bound
            np.testing.assert_array_equal(bias, 0)


def test_batch_normalisation_is_the_references(full_width):
    layers = [
        layer for layer in full_width.layers if isinstance(layer, keras.layers.BatchNormalization)
    ]
    assert len(layers) == 3
    for layer in layers:
        gamma, beta, _, _ = layer.get_weights()
        assert gamma.mean() == pytest.approx(1, abs=0.02)
        assert gamma.std() == pytest.approx(0.02, rel=0.4)
        np.testing.assert_array_equal(beta, 0)
        assert layer.momentum == 0.9
        assert layer.epsilon == 1e-10


def test_mixed_bfloat16_ends_in_float32():
    model, mixed = _small(), _small(dtype="mixed_bfloat16")
    randomise(model)
    mixed.set_weights(model.get_weights())
    assert mixed.get_layer("down1_conv").compute_dtype == "bfloat16"
    assert {variable.dtype for variable in mixed.trainable_variables} == {"float32"}
    output = mixed(_inputs(), training=False)
    assert output.dtype == tf.float32
    difference = np.abs(output - model(_inputs(), training=False))
    assert 0 < difference.max() < 0.2


def test_file_loads_without_running_code(tmp_path, model):
    path = tmp_path / "generator.keras"
    model.save(path)
    loaded = keras.models.load_model(path, safe_mode=True)
    np.testing.assert_array_equal(loaded(_inputs()), model(_inputs()))


@pytest.fixture
def conditional():
    model = _small(**CONDITIONAL)
    randomise(model)
    return model


def test_class_conditional_forward_pass_is_the_references(conditional):
    features, latents, _ = _inputs()
    labels = np.array([4, 0, 2], np.int32)
    expected = _reference_output(conditional, features, latents, labels=labels)
    assert 0.1 < np.abs(expected).mean() < 0.95
    output = conditional([features, latents, labels], training=False)
    np.testing.assert_allclose(output, expected, atol=2e-5)


def test_labels_change_the_output_of_their_example(conditional):
    features, latents, _ = _inputs()
    output, other = (
        conditional([features, latents, np.array(labels, np.int32)], training=False).numpy()
        for labels in ([4, 0, 2], [4, 1, 2])
    )
    change = np.abs(other - output).max(axis=(1, 2, 3))
    assert change[1] > 0.01
    np.testing.assert_array_equal(change[[0, 2]], 0)


def test_class_conditional_parameters_of_the_full_width():
    w, d, f, k = 64, 8, 9, 10
    by_block = {
        "z encoder": 2 * (d * d + d),
        "down0": 3 * 3 * (f + d) * w,
        "down1": 4 * 4 * (w + d) * w,
        "down2": 4 * 4 * (w + d) * 2 * w,
        "up2 and up1": 2 * 4 * 4 * 2 * w * w,
        "output": 3 * 3 * 2 * w * 3,
        "three tables of gains and biases": 3 * 2 * (k + 1) * w,
    }
    shape = (32, 32, 3)
    model = unet(
        image_shape=shape, feature_channels=f, latent_dim=d, width=w, num_classes=k, residual=False
    )
    count = sum(np.prod(variable.shape) for variable in model.trainable_variables)
    assert count == sum(by_block.values()) == 500_944


def _conditional_layer(channels=4, classes=NUM_CLASSES):
    x = keras.Input((6, 6, channels))
    one_hot = keras.Input((classes,))
    y = conditional_batch_normalization(x, one_hot, name="bn", dtype="float32")
    return keras.Model([x, one_hot], y)


def test_conditional_normalisation_by_the_batch():
    model = _conditional_layer()
    randomise(model)
    layer = weights(model)
    random = np.random.default_rng(1)
    x = random.normal(3, 2, (8, 6, 6, 4)).astype(np.float32)
    labels = random.integers(0, NUM_CLASSES, 8)
    normal = (x - x.mean(axis=(0, 1, 2))) / np.sqrt(x.var(axis=(0, 1, 2)) + 1e-10)
    gain, bias = (_by_class(layer, f"bn_{kind}", labels) for kind in ("gain", "bias"))
    output = model([x, np.eye(NUM_CLASSES, dtype=np.float32)[labels]], training=True)
    np.testing.assert_allclose(output, normal * gain + bias, atol=1e-4)
    mean, variance = weights(model)["bn"]
    np.testing.assert_allclose(mean, 0.9 * layer["bn"][0] + 0.1 * x.mean((0, 1, 2)), atol=1e-5)
    np.testing.assert_allclose(variance, 0.9 * layer["bn"][1] + 0.1 * x.var((0, 1, 2)), atol=1e-4)


def test_conditional_normalisation_starts_as_the_references():
    keras.utils.set_random_seed(0)
    layer = weights(_conditional_layer(channels=64, classes=100))
    classes, shared = layer["bn_gain"]
    assert classes.shape == (100, 64)
    assert classes.mean() == pytest.approx(0, abs=0.002)
    assert classes.std() == pytest.approx(0.02, rel=0.05)
    assert shared.mean() == pytest.approx(1, abs=0.02)
    assert shared.std() == pytest.approx(0.02, rel=0.4)
    for bias in layer["bn_bias"]:
        np.testing.assert_array_equal(bias, 0)


def test_inputs_are_those_it_is_built_with():
    def names(**options):
        return [tensor.name for tensor in _small(**options).inputs]

    assert names() == ["features", "latents", "residual"]
    assert names(**CONDITIONAL) == ["features", "latents", "labels"]
    assert names(num_classes=2) == ["features", "latents", "labels", "residual"]


BUILDERS = pytest.mark.parametrize("build", [unet, double_convolution_unet])


def _built(build, **options):
    model = build(
        image_shape=(8, 8, 3), feature_channels=9, latent_dim=LATENT_DIM, width=4, **options
    )
    randomise(model)
    return model


@BUILDERS
def test_gains_linear_in_z_turn_the_output_with_it(build):
    """tanh of features times z's gains, without a bias: odd in z."""
    model = _built(build, latent_use="scale", input_skip=True)
    if build is double_convolution_unet:
        model.get_layer("output").bias.assign([0, 0, 0])
    features, latents, residual = _inputs()
    nothing = np.zeros_like(residual)
    output = model([features, latents, nothing], training=False).numpy()
    turned = model([features, -latents, nothing], training=False).numpy()
    np.testing.assert_allclose(turned, -output, atol=1e-6)
    assert np.abs(output).mean() > 0.05
    assert np.abs(model([features, 0 * latents, nothing], training=False)).max() < 1e-6


@pytest.mark.parametrize(("latent_use", "constant"), [("both", 0), ("modulate", 1)])
@pytest.mark.parametrize("input_skip", [False, True])
def test_gains_scale_the_features_before_the_last_convolution(latent_use, constant, input_skip):
    model = _built(unet, latent_use=latent_use, input_skip=input_skip)
    features, latents, residual = _inputs()
    middle = keras.Model(model.inputs, model.get_layer("up1_skip").output)
    of_pixels = middle([features, latents, residual], training=False).numpy()
    if input_skip:
        of_pixels = np.concatenate([of_pixels, features], axis=-1)
    (gains,) = model.get_layer("latent_gains").get_weights()
    scaled = of_pixels * (constant + latents @ gains)[:, None, None]
    (kernel,) = model.get_layer("output").get_weights()
    expected = np.tanh(convolve(scaled, kernel, padding=1) + residual)
    output = model([features, latents, residual], training=False)
    np.testing.assert_allclose(output, expected, atol=1e-4)


@BUILDERS
@pytest.mark.parametrize("latent_use", ["concatenate", "scale", "both", "modulate"])
def test_z_matters_to_its_example_alone_however_it_is_used(build, latent_use):
    model = _built(build, latent_use=latent_use)
    features, latents, residual = _inputs()
    others = latents.copy()
    others[1] = np.roll(others[1], 3)
    output = model([features, latents, residual], training=False).numpy()
    other = model([features, others, residual], training=False).numpy()
    change = np.abs(other - output).max(axis=(1, 2, 3))
    assert change[1] > 0.01
    np.testing.assert_array_equal(change[[0, 2]], 0)


def test_the_papers_unet_has_two_convolutions_a_level_and_skips():
    keras.utils.set_random_seed(0)
    w, d, f = 16, LATENT_DIM, 9
    model = double_convolution_unet(
        image_shape=(32, 32, 3), feature_channels=f, latent_dim=d, width=w, levels=2
    )

    def two(inputs, outputs):
        return 9 * (inputs * outputs + outputs**2) + 2 * 2 * outputs

    by_block = {
        "z encoder": 2 * (d * d + d),
        "down0": two(f + d, w),
        "down1": two(w, 2 * w),
        "bottom": two(2 * w, 4 * w),
        "up1": 4 * 4 * w * 2 * w + 2 * w + two(4 * w, 2 * w),
        "up0": 4 * 2 * w * w + w + two(2 * w, w),
        "output": 3 * w + 3,
    }
    count = sum(np.prod(variable.shape) for variable in model.trainable_variables)
    assert count == sum(by_block.values())
    assert model.output.shape == (None, 32, 32, 3)
