"""The UNet of FS-GAN's reference [27] (Ronneberger et al. 2015, arXiv:1505.04597).

Source: the paper's figure 1: two 3x3 convolutions a level, halved by max pooling and doubled by a
2x2 transposed convolution, skips at every level.

Deviations: convolutions keep the size instead of cropping the skips; batch normalisation before
every ReLU; Keras' own initialisation; z joins the input or scales the last features; tanh.
"""

import keras
from keras import layers

from fsgan_tf.networks.generators.unet import (
    cropped,
    encode_latents,
    last_features,
    padded,
    perturbation_model,
    tile,
)


def double_convolution_unet(
    *,
    image_shape: tuple[int, int, int],
    feature_channels: int,
    latent_dim: int,
    width: int,
    levels: int = 2,
    latent_use: str = "concatenate",
    input_skip: bool = False,
    dtype: str = "float32",
) -> keras.Model:
    """Builds the generator of FS-GAN's reference [27].

    Args:
      image_shape: `(h, w, c)`; sides that 2 ** levels does not divide are padded inside.
      feature_channels: channels f of the stacked input images.
      latent_dim: d.
      width: channels of the first level; each level below has twice those above it.
      levels: times that the images are halved; 4 in the reference.
      latent_use: see `unet`; concatenated, z joins the input images alone.
      input_skip: see `unet`.
      dtype: Keras dtype policy of the hidden layers.

    Returns:
      A model as `unet`'s without labels.
    """
    height, image_width, channels = image_shape
    features = keras.Input((height, image_width, feature_channels), name="features")
    latents = keras.Input((latent_dim,), name="latents")
    x = stacked = padded(features, 2**levels, dtype)
    if latent_use != "scale":
        z = tile(encode_latents(latents, latent_dim, dtype), x.shape[1:3])
        x = layers.Concatenate(dtype=dtype, name="join")([x, z])
    skips = []
    for level in range(levels):
        x = _two_convolutions(x, width * 2**level, f"down{level}", dtype)
        skips.append(x)
        x = layers.MaxPooling2D(dtype=dtype, name=f"down{level}_pool")(x)
    x = _two_convolutions(x, width * 2**levels, "bottom", dtype)
    for level in reversed(range(levels)):
        up = layers.Conv2DTranspose(width * 2**level, 2, 2, dtype=dtype, name=f"up{level}_conv")(x)
        x = layers.Concatenate(dtype=dtype, name=f"up{level}_skip")([up, skips[level]])
        x = _two_convolutions(x, width * 2**level, f"up{level}", dtype)
    x = last_features(x, stacked if input_skip else None, latents, latent_use, dtype)
    output = layers.Conv2D(channels, 1, dtype=dtype, name="output")(x)
    output = cropped(output, (height, image_width), dtype)
    return perturbation_model([features, latents], output, residual=True)


def _two_convolutions(
    x: keras.KerasTensor, channels: int, name: str, dtype: str
) -> keras.KerasTensor:
    for number in (1, 2):
        x = layers.Conv2D(
            channels, 3, padding="same", use_bias=False, dtype=dtype, name=f"{name}_conv{number}"
        )(x)
        x = layers.BatchNormalization(
            momentum=0.9, epsilon=1e-5, dtype=dtype, name=f"{name}_bn{number}"
        )(x)
        x = layers.ReLU(dtype=dtype, name=f"{name}_activation{number}")(x)
    return x
