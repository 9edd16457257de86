"""Residual networks of blocks that normalise and activate before they convolve.

Source: He et al. 2016, arXiv:1603.05027, as Haichao-Zhang/FeatureScatter and kuangliu/pytorch-cifar
have them.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from keras import layers

from fsgan_tf.networks.keras_settings import keras


def fan_in_uniform() -> keras.initializers.Initializer:
    """U(-1/sqrt(n), 1/sqrt(n)) of the fan-in n, PyTorch's default."""
    return keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")


class PreActivation(NamedTuple):
    """Makes the layers of one network.

    Attributes:
      initializer: makes that of a convolution's kernel.
      dtype: Keras dtype policy of the layers.
    """

    initializer: Callable[[], keras.initializers.Initializer]
    dtype: str

    def block(
        self, x: keras.KerasTensor, channels: int, stride: int, name: str
    ) -> keras.KerasTensor:
        """Two 3x3 convolutions, and the shortcut around them.

        Where they change the shape, it is a 1x1 convolution of the activated input.
        """
        activated = self.activated(x, f"{name}_pre")
        y = self.convolution(channels, 3, stride, f"{name}_conv1")(activated)
        y = self.activated(y, f"{name}_mid")
        y = self.convolution(channels, 3, 1, f"{name}_conv2")(y)
        shortcut = x
        if stride != 1 or x.shape[-1] != channels:
            shortcut = self.convolution(channels, 1, stride, f"{name}_shortcut")(activated)
        return layers.Add(dtype=self.dtype, name=f"{name}_add")([shortcut, y])

    def activated(self, x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        """Batch normalisation and ReLU."""
        x = layers.BatchNormalization(
            momentum=0.9, epsilon=1e-5, dtype=self.dtype, name=f"{name}_bn"
        )(x)
        return layers.ReLU(dtype=self.dtype, name=f"{name}_relu")(x)

    def convolution(
        self, channels: int, size: int, stride: int, name: str
    ) -> Callable[[keras.KerasTensor], keras.KerasTensor]:
        """A convolution without bias, padded symmetrically."""
        # "same" pads a strided 3x3 convolution on the far side only; the reference pads both.
        explicit_padding = size == 3 and stride == 2
        convolution = layers.Conv2D(
            channels,
            size,
            stride,
            padding="valid" if explicit_padding else "same",
            use_bias=False,
            kernel_initializer=self.initializer(),
            dtype=self.dtype,
            name=name,
        )
        if not explicit_padding:
            return convolution
        padding = layers.ZeroPadding2D(1, dtype=self.dtype, name=f"{name}_pad")
        return lambda x: convolution(padding(x))


def residual_network(
    layer: PreActivation,
    *,
    stem: int,
    groups: Sequence[tuple[int, int]],
    blocks: int,
    activated: bool,
    num_classes: int,
    image_shape: tuple[int, int, int],
    name: str,
) -> keras.Model:
    """A classifier: a stem, groups of blocks, the mean over all places and a dense layer.

    Args:
      layer: makes its layers; logits are float32 always.
      stem: channels of the first convolution.
      groups: channels of each group, and the stride of its first block.
      blocks: of each group.
      activated: whether the last sum is normalised and activated before the mean.
      num_classes: K.
      image_shape: `(h, w, c)`.
      name: of the network.

    Returns:
      A model of float32 `[b, h, w, c]` images in [0, 1] to float32 logits `[b, K]`.
    """
    images = keras.Input(image_shape, dtype="float32", name="image")
    x = layers.Rescaling(2.0, offset=-1.0, dtype="float32", name="normalise")(images)
    x = layer.convolution(stem, 3, 1, "stem")(x)
    for group, (channels, stride) in enumerate(groups, start=1):
        for block in range(1, blocks + 1):
            first = stride if block == 1 else 1
            x = layer.block(x, channels, first, f"group{group}_block{block}")
    if activated:
        x = layer.activated(x, "final")
    x = layers.GlobalAveragePooling2D(dtype=layer.dtype, name="features")(x)
    logits = layers.Dense(
        num_classes, kernel_initializer=fan_in_uniform(), dtype="float32", name="logits"
    )(x)
    return keras.Model(images, logits, name=name)
