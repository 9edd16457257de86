"""Wide ResNet classifier (Zagoruyko & Komodakis 2016, arXiv:1605.07146).

Source: Haichao-Zhang/FeatureScatter at 77e9140, `models/wideresnet.py`: pre-activation blocks,
plain ReLU, no dropout; where the number of channels changes, the shortcut is a 1x1 convolution of
the activated input.

Deviations: normalisation (x - 0.5) / 0.5 is inside the network, so that epsilon is in pixel
units; global average pooling instead of 8x8 pooling (the same at 32x32).
"""

import dataclasses

from fsgan_tf import settings
from fsgan_tf.networks.keras_settings import keras
from fsgan_tf.networks.pre_activation import PreActivation, residual_network
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
    """Builds a Wide ResNet, whose groups have 16, 32 and 64 channels times the width.

    Args:
      chosen: its depth and width.
      num_classes: K.
      image_shape: `(h, w, c)`.
      dtype: Keras dtype policy of the hidden layers; logits are float32 always.

    Returns:
      A model of float32 `[b, h, w, c]` images in [0, 1] to float32 logits `[b, K]`. 36,479,194
      trainable parameters at depth 28, width 10, 10 classes and 3 channels.
    """
    depth, width = chosen.classifier_depth, chosen.classifier_width
    return residual_network(
        PreActivation(_he_fan_out, dtype),
        stem=16,
        groups=((16 * width, 1), (32 * width, 2), (64 * width, 2)),
        blocks=(depth - 4) // 6,
        activated=True,
        num_classes=num_classes,
        image_shape=image_shape,
        name=f"wide_resnet_{depth}_{width}",
    )


def _he_fan_out() -> keras.initializers.Initializer:
    """Normal, of standard deviation sqrt(2/(size^2 channels out))."""
    return keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
