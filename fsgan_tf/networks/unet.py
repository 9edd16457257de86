"""The UNet generator of perturbations.

Source: YunseokJANG/l2l-da at 07c64bc, `adv_defence/models.py` (`NoiseGenerator`, the shallow
form): z passes a two-layer encoder and joins the input of every down block; 504,476 parameters at
64 channels, latent dimension 10 and 9 feature channels.

Deviations: no class-conditional normalisation, since FS-GAN's G(z, delta, x', gradient) sees no
label; a second input is added before the tanh (zeros leave the reference's output).
"""

import keras
from keras import layers


def unet(
    *,
    image_shape: tuple[int, int, int],
    feature_channels: int,
    latent_dim: int,
    width: int = 64,
    dtype: str = "float32",
) -> keras.Model:
    """Builds the generator.

    Args:
      image_shape: `(h, w, c)` with h and w divisible by 4.
      feature_channels: channels f of the stacked input images.
      latent_dim: d.
      width: channels of the first block; 64 in the reference.
      dtype: Keras dtype policy of the hidden layers.

    Returns:
      A model of `[features, latents, residual]`, float32 `[b, h, w, f]`, `[b, d]` and
      `[b, h, w, c]`, to tanh(UNet(features, latents) + residual), float32 `[b, h, w, c]` in
      [-1, 1].
    """
    height, image_width, channels = image_shape
    features = keras.Input((height, image_width, feature_channels), name="features")
    latents = keras.Input((latent_dim,), name="latents")
    residual = keras.Input(image_shape, name="residual")
    z = _encode_latents(latents, latent_dim, dtype)

    down0 = _down(features, z, width, 3, 1, "down0", dtype)
    down1 = _down(down0, z, width, 4, 2, "down1", dtype, normalise=True)
    down2 = _down(down1, z, 2 * width, 4, 2, "down2", dtype)
    up2 = _up(down2, down1, width, "up2", dtype)
    up1 = _up(up2, down0, width, "up1", dtype)
    output = layers.Conv2D(channels, 3, padding="same", **_convolution_options("output", dtype))(
        up1
    )
    output = layers.Add(dtype="float32", name="add_residual")([output, residual])
    perturbation = layers.Activation("tanh", dtype="float32", name="perturbation")(output)
    return keras.Model([features, latents, residual], perturbation, name="unet")


def _encode_latents(latents: keras.KerasTensor, latent_dim: int, dtype: str) -> keras.KerasTensor:
    z = layers.Dense(latent_dim, activation="relu", dtype=dtype, name="latent1")(latents)
    return layers.Dense(latent_dim, activation="relu", dtype=dtype, name="latent2")(z)


def _down(
    x: keras.KerasTensor,
    z: keras.KerasTensor,
    channels: int,
    size: int,
    stride: int,
    name: str,
    dtype: str,
    normalise: bool = False,
) -> keras.KerasTensor:
    tiled = layers.RepeatVector(x.shape[1] * x.shape[2], dtype=dtype, name=f"{name}_repeat")(z)
    tiled = layers.Reshape((*x.shape[1:3], z.shape[-1]), dtype=dtype, name=f"{name}_tile")(tiled)
    x = layers.Concatenate(dtype=dtype, name=f"{name}_join")([x, tiled])
    # "same" pads even sizes by one on each side for kernel 4 and stride 2, as the reference does.
    x = layers.Conv2D(
        channels, size, stride, padding="same", **_convolution_options(f"{name}_conv", dtype)
    )(x)
    if normalise:
        x = _batch_normalisation(f"{name}_bn", dtype)(x)
    return layers.LeakyReLU(0.2, dtype=dtype, name=f"{name}_activation")(x)


def _up(
    x: keras.KerasTensor, skip: keras.KerasTensor, channels: int, name: str, dtype: str
) -> keras.KerasTensor:
    x = layers.Conv2DTranspose(
        channels, 4, 2, padding="same", **_convolution_options(f"{name}_conv", dtype)
    )(x)
    x = _batch_normalisation(f"{name}_bn", dtype)(x)
    x = layers.ReLU(dtype=dtype, name=f"{name}_activation")(x)
    return layers.Concatenate(dtype=dtype, name=f"{name}_skip")([x, skip])


def _convolution_options(name: str, dtype: str) -> dict:
    return {
        "use_bias": False,
        "kernel_initializer": keras.initializers.RandomNormal(stddev=0.02),
        "dtype": dtype,
        "name": name,
    }


def _batch_normalisation(name: str, dtype: str) -> keras.Layer:
    return layers.BatchNormalization(
        momentum=0.9,
        epsilon=1e-10,
        gamma_initializer=keras.initializers.RandomNormal(1.0, 0.02),
        dtype=dtype,
        name=name,
    )
