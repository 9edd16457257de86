import keras
import pytest

from fsgan_tf.networks.classifiers import wide_resnet
from fsgan_tf.networks.generators.unet import unet
from fsgan_tf.training import cost


def test_wide_resnet_28_10():
    """The paper's classifier at 32x32x3: both figures by the table of its layers."""
    convolutions = [(32, 3, 3, 16)]  # side of the output, size, channels in, channels out
    channels_in = 16
    for side, channels in ((32, 160), (16, 320), (8, 640)):
        convolutions += [(side, 3, channels_in, channels), (side, 1, channels_in, channels)]
        convolutions += [(side, 3, channels, channels)] * 7
        channels_in = channels
    dense = 640 * 10
    multiply_adds = dense + sum(
        side**2 * size**2 * inputs * outputs for side, size, inputs, outputs in convolutions
    )
    assert multiply_adds == pytest.approx(5.24e9, rel=2e-3)

    model = wide_resnet.build(
        wide_resnet.Settings(classifier_depth=28, classifier_width=10),
        num_classes=10,
        image_shape=(32, 32, 3),
    )
    assert cost.multiply_adds(model) == multiply_adds
    assert cost.parameters(model) == 36_479_194


def test_unet():
    """Width w, latent dimension d, f feature channels, 32x32x3; a z encoder of two layers."""
    w, d, f = 64, 10, 9
    expected = (
        2 * d * d
        + 32**2 * 3**2 * (f + d) * w  # down0
        + 16**2 * 4**2 * (w + d) * w  # down1
        + 8**2 * 4**2 * (w + d) * 2 * w  # down2
        # A transposed convolution's kernel meets each pixel of its input.
        + 8**2 * 4**2 * 2 * w * w  # up2
        + 16**2 * 4**2 * 2 * w * w  # up1
        + 32**2 * 3**2 * 2 * w * 3  # output
    )
    model = unet(image_shape=(32, 32, 3), feature_channels=f, latent_dim=d, width=w)
    assert cost.multiply_adds(model) == expected


def test_padding_and_strides_count_by_the_output():
    model = keras.Sequential(
        [
            keras.Input((9, 7, 2)),
            keras.layers.Conv2D(5, 3, strides=2, padding="valid"),  # 4x3
            keras.layers.BatchNormalization(),
            keras.layers.Flatten(),
            keras.layers.Dense(6),
        ]
    )
    assert cost.multiply_adds(model) == 4 * 3 * (3 * 3 * 2 * 5) + 60 * 6


def test_nested_models_and_depthwise_convolutions_count():
    inner = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.DepthwiseConv2D(3, padding="same"),
            keras.layers.SeparableConv2D(5, 3, strides=2, padding="same"),
        ]
    )
    model = keras.Sequential([keras.Input((8, 8, 3)), inner, keras.layers.Flatten()])
    model.add(keras.layers.Dense(2))
    separable = 4 * 4 * (3 * 3 * 3 + 3 * 5)
    assert cost.multiply_adds(model) == 8 * 8 * 3 * 3 * 3 + separable + 4 * 4 * 5 * 2


def test_parameters_are_the_trainable_ones():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4)])
    model.add(keras.layers.BatchNormalization())
    assert cost.parameters(model) == 3 * 4 + 4 + 2 * 4
    model.layers[0].trainable = False
    assert cost.parameters(model) == 2 * 4
