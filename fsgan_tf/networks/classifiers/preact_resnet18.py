"""Pre-activation ResNet-18 for small images (He et al. 2016, arXiv:1603.05027).

Source: kuangliu/pytorch-cifar at 49b7aa9, `models/preact_resnet.py`: a 3x3 stem of 64 channels,
four groups of two blocks of 64, 128, 256 and 512 channels; where a block changes the shape, the
shortcut is a 1x1 convolution of the activated input; the last sum is pooled as it is. Some codes of
robust training (csdongxian/AWP) add a normalisation and a ReLU before the pooling: 1,024
parameters.

Deviations: normalisation (x - 0.5) / 0.5 is inside the network, so that epsilon is in pixel units;
global average pooling instead of 4x4 pooling (the same at 32x32). Convolutions start from PyTorch's
default, U(-1/sqrt(n), 1/sqrt(n)) of the fan-in n, as in pytorch-cifar; the last layer's bias starts
at 0.
"""

from fsgan_tf import settings
from fsgan_tf.networks.keras_settings import keras
from fsgan_tf.networks.pre_activation import PreActivation, fan_in_uniform, residual_network


def build(
    chosen: settings.Settings,
    *,
    num_classes: int,
    image_shape: tuple[int, int, int],
    dtype: str = "float32",
) -> keras.Model:
    """Builds the network.

    Args:
      chosen: it has no settings.
      num_classes: K.
      image_shape: `(h, w, c)`.
      dtype: Keras dtype policy of the hidden layers; logits are float32 always.

    Returns:
      A model of float32 `[b, h, w, c]` images in [0, 1] to float32 logits `[b, K]`. 11,171,146
      trainable parameters at 10 classes and 3 channels.
    """
    del chosen
    return residual_network(
        PreActivation(fan_in_uniform, dtype),
        stem=64,
        groups=((64, 1), (128, 2), (256, 2), (512, 2)),
        blocks=2,
        activated=False,
        num_classes=num_classes,
        image_shape=image_shape,
        name="preact_resnet18",
    )
