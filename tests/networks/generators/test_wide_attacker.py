"""L2L's attacker against its description in `attacker.py` (`WideAttacker`)."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf.networks.generators.wide_attacker import wide_attacker
from tests.networks.numpy_layers import convolve, randomise, relu, weights

BLOCKS = ("block1", "block2", "block3", "block4")
# Channels in and out of each, at 64 channels.
BLOCK_CHANNELS = ((64, 128), (128, 256), (256, 128), (128, 64))


def _small(image_shape=(6, 8, 3), **options):
    arguments = {"feature_channels": 2 * image_shape[-1], "width": 4, **options}
    return wide_attacker(image_shape=image_shape, **arguments)


def _features(image_shape=(6, 8, 3), batch=3):
    shape = (batch, *image_shape[:2], 2 * image_shape[-1])
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.fixture(scope="module")
def full_width():
    keras.utils.set_random_seed(0)
    return wide_attacker(image_shape=(32, 32, 3), feature_channels=6, width=64)


def _standardise(x, statistics, epsilon, training):
    mean, variance = (x.mean((0, 1, 2)), x.var((0, 1, 2))) if training else statistics
    return (x - mean) / np.sqrt(variance + epsilon)


def _reference_output(model, features, training):
    """The forward pass of `WideAttacker` without its epsilon, in float64."""
    layer = weights(model)

    def convolved(x, name, padding=1):
        kernel, bias = layer[name]
        return convolve(x, kernel, padding=padding) + bias

    x = convolve(np.float64(features), *layer["stem_conv"], padding=1)
    gamma, beta, *statistics = layer["stem_bn"]
    x = relu(gamma * _standardise(x, statistics, 1e-3, training) + beta)
    for block in BLOCKS:
        shortcut = convolved(x, f"{block}_shortcut", padding=0)
        for half in (1, 2):
            x = _standardise(x, layer[f"{block}_bn{half}"], 1e-5, training)
            x = convolved(relu(x, *layer[f"{block}_prelu{half}"]), f"{block}_conv{half}")
        x = x + shortcut
    return np.tanh(convolved(_standardise(x, layer["final_bn"], 1e-5, training), "output"))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("image_shape", [(6, 8, 3), (5, 5, 1)])
def test_forward_pass_is_the_references(image_shape, training):
    model = _small(image_shape)
    randomise(model)
    features = _features(image_shape)
    expected = _reference_output(model, features, training)
    assert 0.1 < np.abs(expected).mean() < 0.95
    np.testing.assert_allclose(model(features, training=training), expected, atol=5e-5)


def test_training_mode_keeps_statistics_at_pytorchs_momentum():
    model = _small()
    features = _features()
    model(features, training=True)
    stem = convolve(np.float64(features), *weights(model)["stem_conv"], padding=1)
    layer = model.get_layer("stem_bn")
    np.testing.assert_allclose(layer.moving_mean, 0.1 * stem.mean((0, 1, 2)), atol=1e-5)
    np.testing.assert_allclose(layer.moving_variance, 0.9 + 0.1 * stem.var((0, 1, 2)), rtol=1e-4)


def test_parameters_of_the_full_width(full_width):
    """1.75 million: counted block by block; PyTorch's module has `scale_last` besides."""
    count = 3 * 3 * 6 * 64 + 2 * 64
    for inputs, outputs in BLOCK_CHANNELS:
        count += (3 * 3 * inputs + 1) * outputs
        count += (3 * 3 * outputs + 1) * outputs
        count += (inputs + 1) * outputs
        count += 2
    count += (3 * 3 * 64 + 1) * 3
    trainable = sum(np.prod(variable.shape) for variable in full_width.trainable_variables)
    assert trainable == count == 1_747_851


def test_every_layer_works_at_full_resolution(full_width):
    assert full_width.get_layer("stem_relu").output.shape == (None, 32, 32, 64)
    for block, (_, outputs) in zip(BLOCKS, BLOCK_CHANNELS, strict=True):
        assert full_width.get_layer(f"{block}_add").output.shape == (None, 32, 32, outputs)
    assert full_width.output.shape == (None, 32, 32, 3)
    assert full_width.output.dtype == "float32"


def _fans(kernel):
    size = kernel.shape[0] * kernel.shape[1]
    return size * kernel.shape[2], size * kernel.shape[3]


def _assert_uniform(values, bound):
    """Within the bound and reaching for it, with a uniform distribution's spread."""
    assert np.abs(values).max() <= bound
    assert np.abs(values).max() > bound * (1 - 10 / values.size)
    assert values.std() == pytest.approx(bound / np.sqrt(3), rel=4 / np.sqrt(values.size))


def test_kernels_start_as_the_references(full_width):
    """Xavier's of gain sqrt 2 (shortcuts: 1) in the blocks, else within 1/sqrt(fan in)."""
    for layer in full_width.layers:
        if not isinstance(layer, keras.layers.Conv2D):
            continue
        kernel = layer.kernel.numpy()
        fan_in, fan_out = _fans(kernel)
        if layer.name in ("stem_conv", "output"):
            bound = fan_in**-0.5
        else:
            gain = 1 if layer.name.endswith("shortcut") else np.sqrt(2)
            bound = gain * np.sqrt(6 / (fan_in + fan_out))
        _assert_uniform(kernel.ravel(), bound)


def test_biases_start_within_the_fan_ins_root(full_width):
    scaled = []
    for layer in full_width.layers:
        if isinstance(layer, keras.layers.Conv2D) and layer.use_bias:
            fan_in, _ = _fans(layer.kernel)
            scaled.append(layer.bias.numpy() * np.sqrt(fan_in))
            assert np.abs(scaled[-1]).max() <= 1
    assert len(scaled) == 4 * 3 + 1
    assert not full_width.get_layer("stem_conv").use_bias
    _assert_uniform(np.concatenate(scaled), 1)


def test_no_two_layers_start_alike(full_width):
    kernels = [full_width.get_layer(f"{block}_conv2").kernel.numpy() for block in BLOCKS]
    assert len({kernel.ravel()[:50].std() for kernel in kernels}) == len(kernels)
    biases = full_width.get_layer("block1_conv1").bias, full_width.get_layer("block3_conv2").bias
    assert np.abs(np.corrcoef(*biases)[0, 1]) < 0.5


def test_only_the_first_normalisation_has_scale_and_offset(full_width):
    normalisations = [
        layer for layer in full_width.layers if isinstance(layer, keras.layers.BatchNormalization)
    ]
    assert len(normalisations) == 1 + 4 * 2 + 1
    for layer in normalisations:
        first = layer.name == "stem_bn"
        assert layer.epsilon == (1e-3 if first else 1e-5)
        assert layer.momentum == 0.9
        assert len(layer.trainable_variables) == (2 if first else 0)


def test_activations_have_one_slope_each(full_width):
    slopes = [layer for layer in full_width.layers if isinstance(layer, keras.layers.PReLU)]
    assert len(slopes) == 4 * 2
    for layer in slopes:
        (slope,) = layer.get_weights()
        assert slope.size == 1
        assert slope.item() == 0.25


def test_mixed_bfloat16_ends_in_float32():
    model, mixed = _small(), _small(dtype="mixed_bfloat16")
    randomise(model)
    mixed.set_weights(model.get_weights())
    assert mixed.get_layer("block1_conv1").compute_dtype == "bfloat16"
    assert {variable.dtype for variable in mixed.trainable_variables} == {"float32"}
    output = mixed(_features(), training=False)
    assert output.dtype == tf.float32
    difference = np.abs(output - model(_features(), training=False))
    assert 0 < difference.mean() < 0.05


def test_file_loads_without_running_code(tmp_path):
    model = _small()
    randomise(model)
    path = tmp_path / "attacker.keras"
    model.save(path)
    loaded = keras.models.load_model(path, safe_mode=True)
    np.testing.assert_array_equal(loaded(_features()), model(_features()))
