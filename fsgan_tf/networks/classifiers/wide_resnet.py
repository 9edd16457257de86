"""Wide ResNet classifier (Zagoruyko & Komodakis 2016, arXiv:1605.07146).

Source: Haichao-Zhang/FeatureScatter at 77e9140, `models/wideresnet.py`: pre-activation blocks,
plain ReLU, no dropout; where the number of channels changes, the shortcut is a 1x1 convolution of
the activated input.

Deviations: normalisation (x - 0.5) / 0.5 is inside the network, so that epsilon is in pixel
units; global average pooling instead of 8x8 pooling (the same at 32x32).
"""

import dataclasses

from keras import layers

from fsgan_tf import settings
from fsgan_tf.networks.keras_settings import keras
from fsgan_tf.networks.pre_activation import PreActivation, fan_in_uniform
from fsgan_tf.settings import setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(settings.Settings):
    """Depth and width; WRN-28-10 is 28 and 10."""

    classifier_depth: int = setting(
        10,
        "Wide ResNet depth, 6n+4.",
        lower=10,
        check=lambda depth: (
            "must be 6n+4 (10, 16, 22, 28, 34, ...): three groups of n blocks of two convolutions"
            if (depth - 4) % 6
            else None
        ),
    )
    classifier_width: int = setting(1, "Wide ResNet width multiplier.", lower=1)


def build(
    chosen: Settings,
    *,
    num_classes: int,
    image_shape: tuple[int, int, int],
    dtype: str = "float32",
) -> keras.Model:
    """The network of these settings; see `wide_resnet`."""
    return wide_resnet(
        depth=chosen.classifier_depth,
        width=chosen.classifier_width,
        num_classes=num_classes,
        image_shape=image_shape,
        dtype=dtype,
    )


def wide_resnet(
    *,
    depth: int,
    width: int,
    num_classes: int,
    image_shape: tuple[int, int, int],
    dtype: str = "float32",
) -> keras.Model:
    """Builds a Wide ResNet.

    Args:
      depth: 6n+4, for n blocks in each of three groups.
      width: multiplier of the groups' 16, 32 and 64 channels.
      num_classes: K.
      image_shape: `(h, w, c)`.
      dtype: Keras dtype policy of the hidden layers; logits are float32 always.

    Returns:
      A model of float32 `[b, h, w, c]` images in [0, 1] to float32 logits `[b, K]`. 36,479,194
      trainable parameters at depth 28, width 10, 10 classes and 3 channels.

    Raises:
      ValueError: where depth is not 6n+4.
    """
    if depth < 10 or (depth - 4) % 6:
        raise ValueError(f"depth is {depth}; a Wide ResNet's is 6n+4: 10, 16, 22, 28, ...")
    blocks_per_group = (depth - 4) // 6
    images = keras.Input(image_shape, dtype="float32", name="image")
    x = layers.Rescaling(2.0, offset=-1.0, dtype="float32", name="normalise")(images)
    layer = PreActivation(_he_fan_out, dtype)
    x = layer.convolution(16, 3, 1, "stem")(x)
    for group, (channels, stride) in enumerate(((16, 1), (32, 2), (64, 2)), start=1):
        for block in range(1, blocks_per_group + 1):
            name = f"group{group}_block{block}"
            x = layer.block(x, channels * width, stride if block == 1 else 1, name)
    x = layer.activated(x, "final")
    x = layers.GlobalAveragePooling2D(dtype=dtype, name="features")(x)
    logits = layers.Dense(
        num_classes, kernel_initializer=fan_in_uniform(), dtype="float32", name="logits"
    )(x)
    return keras.Model(images, logits, name=f"wide_resnet_{depth}_{width}")


def _he_fan_out() -> keras.initializers.Initializer:
    """Normal, of standard deviation sqrt(2/(size^2 channels out))."""
    return keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
