"""The UNet generator of perturbations.

Source: YunseokJANG/l2l-da at 07c64bc, `adv_defence/models.py` (`NoiseGenerator`, the shallow
form): z passes a two-layer encoder and joins the input of every down block. At 64 channels and 9
feature channels, 504,476 parameters with latent dimension 10 and no classes (FS-GAN's), 500,944
with latent dimension 8 and 10 classes (L2L-DA's).

Deviations, FS-GAN's alone: no class-conditional normalisation without `num_classes`, since its
G(z, delta, x', gradient) sees no label; a residual added before the tanh.
"""

import functools
from collections.abc import Callable

from keras import layers

from fsgan_tf.networks.conditional_normalization import conditional_batch_normalization
from fsgan_tf.networks.keras_settings import keras

Normalisation = Callable[[keras.KerasTensor, str], keras.KerasTensor]


def unet(
    *,
    image_shape: tuple[int, int, int],
    feature_channels: int,
    latent_dim: int,
    width: int = 64,
    num_classes: int | None = None,
    residual: bool = True,
    dtype: str = "float32",
) -> keras.Model:
    """Builds the generator.

    Args:
      image_shape: `(h, w, c)`; sides that 4 does not divide are padded inside, and cropped again.
      feature_channels: channels f of the stacked input images.
      latent_dim: d.
      width: channels of the first block; 64 in the reference.
      num_classes: K of the labels that condition the normalisation; None for no labels.
      residual: whether the output takes a residual.
      dtype: Keras dtype policy of the hidden layers.

    Returns:
      A model of `[features, latents, labels, residual]`, less those it is built without, float32
      `[b, h, w, f]`, float32 `[b, d]`, int32 `[b]` and float32 `[b, h, w, c]`, to
      tanh(UNet(features, latents, labels) + residual), float32 `[b, h, w, c]` in [-1, 1].
    """
    height, image_width, channels = image_shape
    features = keras.Input((height, image_width, feature_channels), name="features")
    latents = keras.Input((latent_dim,), name="latents")
    inputs = [features, latents]
    z = _encode_latents(latents, latent_dim, dtype)
    normalise: Normalisation = functools.partial(_normalise, dtype=dtype)
    if num_classes is not None:
        inputs.append(keras.Input((), dtype="int32", name="labels"))
        classes = keras.ops.one_hot(inputs[-1], num_classes)
        normalise = functools.partial(_normalise_by_class, classes=classes, dtype=dtype)

    below, right = -height % 4, -image_width % 4
    x = features
    if below or right:
        x = layers.ZeroPadding2D(((0, below), (0, right)), dtype=dtype, name="pad")(features)
    down0 = _down(x, z, width, 3, 1, "down0", dtype)
    down1 = _down(down0, z, width, 4, 2, "down1", dtype, normalise)
    down2 = _down(down1, z, 2 * width, 4, 2, "down2", dtype)
    up2 = _up(down2, down1, width, "up2", dtype, normalise)
    up1 = _up(up2, down0, width, "up1", dtype, normalise)
    output = layers.Conv2D(channels, 3, padding="same", **_convolution_options("output", dtype))(
        up1
    )
    if below or right:
        output = layers.Cropping2D(((0, below), (0, right)), dtype=dtype, name="crop")(output)
    if residual:
        inputs.append(keras.Input(image_shape, name="residual"))
        output = layers.Add(dtype="float32", name="add_residual")([output, inputs[-1]])
    perturbation = layers.Activation("tanh", dtype="float32", name="perturbation")(output)
    return keras.Model(inputs, perturbation, name="unet")


def _encode_latents(latents: keras.KerasTensor, latent_dim: int, dtype: str) -> keras.KerasTensor:
    z = layers.Dense(latent_dim, activation="relu", dtype=dtype, name="latent1")(latents)
    return layers.Dense(latent_dim, activation="relu", dtype=dtype, name="latent2")(z)


def _tile(z: keras.KerasTensor, size: tuple[int, int]) -> keras.KerasTensor:
    """`[b, d]` at every pixel; XLA compiles its gradient in a loop, but not RepeatVector's."""
    pixel = keras.ops.reshape(z, (-1, 1, 1, z.shape[-1]))
    return keras.ops.tile(pixel, (1, *size, 1))


def _down(
    x: keras.KerasTensor,
    z: keras.KerasTensor,
    channels: int,
    size: int,
    stride: int,
    name: str,
    dtype: str,
    normalise: Normalisation | None = None,
) -> keras.KerasTensor:
    x = layers.Concatenate(dtype=dtype, name=f"{name}_join")([x, _tile(z, x.shape[1:3])])
    # "same" pads even sizes by one on each side for kernel 4 and stride 2, as the reference does.
    x = layers.Conv2D(
        channels, size, stride, padding="same", **_convolution_options(f"{name}_conv", dtype)
    )(x)
    if normalise:
        x = normalise(x, f"{name}_bn")
    return layers.LeakyReLU(0.2, dtype=dtype, name=f"{name}_activation")(x)


def _up(
    x: keras.KerasTensor,
    skip: keras.KerasTensor,
    channels: int,
    name: str,
    dtype: str,
    normalise: Normalisation,
) -> keras.KerasTensor:
    x = layers.Conv2DTranspose(
        channels, 4, 2, padding="same", **_convolution_options(f"{name}_conv", dtype)
    )(x)
    x = normalise(x, f"{name}_bn")
    x = layers.ReLU(dtype=dtype, name=f"{name}_activation")(x)
    return layers.Concatenate(dtype=dtype, name=f"{name}_skip")([x, skip])


def _convolution_options(name: str, dtype: str) -> dict:
    return {
        "use_bias": False,
        "kernel_initializer": keras.initializers.RandomNormal(stddev=0.02),
        "dtype": dtype,
        "name": name,
    }


def _normalise(x: keras.KerasTensor, name: str, dtype: str) -> keras.KerasTensor:
    return layers.BatchNormalization(
        momentum=0.9,
        epsilon=1e-10,
        gamma_initializer=keras.initializers.RandomNormal(1.0, 0.02),
        dtype=dtype,
        name=name,
    )(x)


def _normalise_by_class(
    x: keras.KerasTensor, name: str, classes: keras.KerasTensor, dtype: str
) -> keras.KerasTensor:
    return conditional_batch_normalization(x, classes, name=name, dtype=dtype)
