"""L2L-DA's UNet generator of perturbations: its shallow form, not FS-GAN's reference [27].

Source: YunseokJANG/l2l-da at 07c64bc, `adv_defence/models.py` (`NoiseGenerator`, the shallow form):
z passes a two-layer encoder and joins the input of every down block. At 64 channels and 9 feature
channels, 504,476 parameters with latent dimension 10 and no classes (FS-GAN's), 500,944 with latent
dimension 8 and 10 classes (L2L-DA's). The UNet of reference [27] (Ronneberger et al. 2015) is in
`double_convolution_unet.py`.

Deviations, FS-GAN's alone: no class-conditional normalisation without `num_classes`, since its
G(z, delta, x', gradient) sees no label; a residual added before the tanh; feature-wise scaling of
the last features by z (Perez et al. 2018, arXiv:1709.07871, the gain without the shift).
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
    width: int,
    num_classes: int | None = None,
    latent_use: str = "concatenate",
    input_skip: bool = False,
    residual: bool = True,
    dtype: str = "float32",
) -> keras.Model:
    """Builds L2L-DA's generator.

    Args:
      image_shape: `(h, w, c)`; sides that 4 does not divide are padded inside, and cropped again.
      feature_channels: channels f of the stacked input images.
      latent_dim: d.
      width: channels of the first block; 64 in the reference.
      num_classes: K of the labels that condition the normalisation; None for no labels.
      latent_use: `concatenate` as L2L-DA does; `scale`: z scales the last features instead, by
        gains linear in z, so that -z turns the output's sign; `both`; `modulate`: concatenated,
        and the last features are scaled by 1 + such gains.
      input_skip: whether the stacked input images join the last features; the output convolution
        starts by Glorot's rule then.
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
    z = None if latent_use == "scale" else encode_latents(latents, latent_dim, dtype)
    normalise: Normalisation = functools.partial(_normalise, dtype=dtype)
    if num_classes is not None:
        inputs.append(keras.Input((), dtype="int32", name="labels"))
        classes = keras.ops.one_hot(inputs[-1], num_classes)
        normalise = functools.partial(_normalise_by_class, classes=classes, dtype=dtype)

    x = padded(features, 4, dtype)
    down0 = _down(x, z, width, 3, 1, "down0", dtype)
    down1 = _down(down0, z, width, 4, 2, "down1", dtype, normalise)
    down2 = _down(down1, z, 2 * width, 4, 2, "down2", dtype)
    up2 = _up(down2, down1, width, "up2", dtype, normalise)
    up1 = _up(up2, down0, width, "up1", dtype, normalise)
    up1 = last_features(up1, x if input_skip else None, latents, latent_use, dtype)
    options = _convolution_options("output", dtype)
    if input_skip:
        # At 0.02 the output starts near zero, where L_ot is flat: it is nearly even.
        options["kernel_initializer"] = "glorot_uniform"
    output = layers.Conv2D(channels, 3, padding="same", **options)(up1)
    output = cropped(output, (height, image_width), dtype)
    return perturbation_model(inputs, output, residual)


def padded(x: keras.KerasTensor, multiple: int, dtype: str) -> keras.KerasTensor:
    """Zeros below and to the right of `[b, h, w, c]`, up to multiples of a number."""
    below, right = -x.shape[1] % multiple, -x.shape[2] % multiple
    if not (below or right):
        return x
    return layers.ZeroPadding2D(((0, below), (0, right)), dtype=dtype, name="pad")(x)


def cropped(x: keras.KerasTensor, size: tuple[int, int], dtype: str) -> keras.KerasTensor:
    """Without what `padded` added to images of this height and width."""
    below, right = x.shape[1] - size[0], x.shape[2] - size[1]
    if not (below or right):
        return x
    return layers.Cropping2D(((0, below), (0, right)), dtype=dtype, name="crop")(x)


def perturbation_model(
    inputs: list[keras.KerasTensor], output: keras.KerasTensor, residual: bool
) -> keras.Model:
    """The model of these inputs to tanh(output + residual), in float32."""
    if residual:
        inputs = [*inputs, keras.Input(output.shape[1:], name="residual")]
        output = layers.Add(dtype="float32", name="add_residual")([output, inputs[-1]])
    perturbation = layers.Activation("tanh", dtype="float32", name="perturbation")(output)
    return keras.Model(inputs, perturbation, name="unet")


def last_features(
    x: keras.KerasTensor,
    joined: keras.KerasTensor | None,
    latents: keras.KerasTensor,
    latent_use: str,
    dtype: str,
) -> keras.KerasTensor:
    """What the output convolution sees: with the images `joined` to it, and scaled by z."""
    if joined is not None:
        x = layers.Concatenate(dtype=dtype, name="input_skip")([x, joined])
    if latent_use == "concatenate":
        return x
    scaled = _scale(x, latents, dtype)
    if latent_use == "modulate":
        return layers.Add(dtype=dtype, name="modulate_by_latents")([x, scaled])
    return scaled


def _scale(x: keras.KerasTensor, latents: keras.KerasTensor, dtype: str) -> keras.KerasTensor:
    """Every channel of `[b, h, w, c]` times its gain, linear in the `[b, d]` latents."""
    channels = x.shape[-1]
    gains = layers.Dense(channels, use_bias=False, dtype=dtype, name="latent_gains")(latents)
    gains = layers.Reshape((1, 1, channels), dtype=dtype, name="latent_gains_of_pixels")(gains)
    return layers.Multiply(dtype=dtype, name="scale_by_latents")([x, gains])


def encode_latents(latents: keras.KerasTensor, latent_dim: int, dtype: str) -> keras.KerasTensor:
    """`[b, d]` latents after two layers of ReLU, `[b, d]`."""
    z = layers.Dense(latent_dim, activation="relu", dtype=dtype, name="latent1")(latents)
    return layers.Dense(latent_dim, activation="relu", dtype=dtype, name="latent2")(z)


def tile(z: keras.KerasTensor, size: tuple[int, int]) -> keras.KerasTensor:
    """`[b, d]` at every pixel; XLA compiles its gradient in a loop, but not RepeatVector's."""
    pixel = keras.ops.reshape(z, (-1, 1, 1, z.shape[-1]))
    return keras.ops.tile(pixel, (1, *size, 1))


def _down(
    x: keras.KerasTensor,
    z: keras.KerasTensor | None,
    channels: int,
    size: int,
    stride: int,
    name: str,
    dtype: str,
    normalise: Normalisation | None = None,
) -> keras.KerasTensor:
    if z is not None:
        x = layers.Concatenate(dtype=dtype, name=f"{name}_join")([x, tile(z, x.shape[1:3])])
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
