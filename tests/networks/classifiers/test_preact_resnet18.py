import keras
import numpy as np
import pytest

from fsgan_tf import settings
from fsgan_tf.networks.classifiers.preact_resnet18 import build
from tests.networks.numpy_layers import convolve, normalise, randomise, relu, weights

CHANNELS = (64, 128, 256, 512)


def _built(num_classes=10, image_shape=(32, 32, 3), **options):
    return build(settings.Settings(), num_classes=num_classes, image_shape=image_shape, **options)


def _reference_logits(model, images):
    """The forward pass of pytorch-cifar's `models/preact_resnet.py` at inference, in float64."""
    layer = weights(model)

    def activated(x, name):
        return relu(normalise(x, layer[f"{name}_bn"], epsilon=1e-5))

    x = convolve((np.float64(images) - 0.5) / 0.5, *layer["stem"], padding=1)
    for group, channels in enumerate(CHANNELS, start=1):
        for block in (1, 2):
            name, stride = f"group{group}_block{block}", 2 if group > 1 and block == 1 else 1
            activation = activated(x, f"{name}_pre")
            y = convolve(activation, *layer[f"{name}_conv1"], stride=stride, padding=1)
            y = convolve(activated(y, f"{name}_mid"), *layer[f"{name}_conv2"], padding=1)
            if stride != 1 or x.shape[-1] != channels:
                x = convolve(activation, *layer[f"{name}_shortcut"], stride=stride)
            x = x + y
    kernel, bias = layer["logits"]
    return x.mean(axis=(1, 2)) @ kernel + bias


@pytest.mark.parametrize("image_shape", [(8, 8, 3), (11, 14, 1)])
def test_forward_pass_is_the_references(image_shape):
    model = _built(5, image_shape)
    randomise(model)
    images = np.random.default_rng(1).uniform(size=(1, *image_shape)).astype(np.float32)
    expected = _reference_logits(model, images)
    logits = model(images, training=False)
    np.testing.assert_allclose(logits, expected, atol=2e-5 * np.abs(expected).max())


@pytest.fixture(scope="module")
def whole() -> keras.Model:
    """As for CIFAR-10, which no test changes."""
    keras.utils.set_random_seed(0)
    return _built()


def test_parameters_are_those_counted_by_hand(whole):
    """9 c_in c_out a 3x3 convolution, 2 c a normalisation, c_in c_out a new shortcut."""
    expected, inputs = 9 * 3 * 64, 64
    for channels in CHANNELS:
        first = 2 * inputs + 9 * inputs * channels + 2 * channels + 9 * channels**2
        shortcut = inputs * channels if inputs != channels else 0
        expected += first + shortcut + 2 * (2 * channels + 9 * channels**2)
        inputs = channels
    expected += 512 * 10 + 10
    assert expected == 11_171_146
    assert sum(np.prod(v.shape) for v in whole.trainable_variables) == expected


def test_convolutions_start_as_pytorchs(whole):
    """U(-1/sqrt(n), 1/sqrt(n)) of the fan-in n."""
    for layer in whole.layers:
        if isinstance(layer, keras.layers.Conv2D):
            kernel = layer.kernel.numpy()
            bound = np.prod(kernel.shape[:-1]) ** -0.5
            assert 0.99 * bound < np.abs(kernel).max() <= 1.0001 * bound
            assert kernel.std() == pytest.approx(bound / 3**0.5, rel=0.05)


def test_hidden_layers_have_the_dtype_and_logits_float32():
    model = _built(dtype="mixed_bfloat16")
    assert model.get_layer("group1_block1_conv1").compute_dtype == "bfloat16"
    assert model.get_layer("logits").compute_dtype == "float32"
