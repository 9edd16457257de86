"""The attacker of L2L (Jiang et al., "Learning to Defend by Learning to Attack", AISTATS 2021).

Source: YuyangShi/Learning-to-Defend-by-Learning-to-Attack at 42c8798, `attacker.py`
(`WideAttacker`, `GenBlock`, `BasicConv2d`): a convolution, four pre-activation residual blocks and
a convolution, all at full resolution; 1,747,851 trainable parameters at 64 channels and 6 feature
channels. The blocks' kernels start as Xavier's, every other weight and bias at PyTorch's default.

Deviations: epsilon multiplies the output in the method, not here; the parameter `scale_last`,
which the l_inf form never uses, is left out.
"""

import math

from keras import layers

from fsgan_tf.networks.keras_settings import keras


def wide_attacker(
    *,
    image_shape: tuple[int, int, int],
    feature_channels: int,
    width: int,
    dtype: str = "float32",
) -> keras.Model:
    """Builds the attacker.

    Args:
      image_shape: `(h, w, c)`.
      feature_channels: channels f of the stacked inputs: an image and its gradient.
      width: channels of the first convolution; 64 in the reference.
      dtype: Keras dtype policy of the hidden layers.

    Returns:
      A model of float32 `[b, h, w, f]` features to float32 `[b, h, w, c]` perturbations in
      [-1, 1], in units of epsilon.
    """
    features = keras.Input((*image_shape[:2], feature_channels), name="features")
    x = _convolution(features, width, 3, "stem_conv", dtype, use_bias=False)
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-3, dtype=dtype, name="stem_bn")(x)
    x = layers.ReLU(dtype=dtype, name="stem_relu")(x)
    for block, multiple in enumerate((2, 4, 2, 1), start=1):
        x = _residual_block(x, multiple * width, f"block{block}", dtype)
    x = _standardised(x, "final_bn", dtype)
    x = _convolution(x, image_shape[-1], 3, "output", dtype)
    perturbations = layers.Activation("tanh", dtype="float32", name="perturbation")(x)
    return keras.Model(features, perturbations, name="wide_attacker")


def _residual_block(
    x: keras.KerasTensor, channels: int, name: str, dtype: str
) -> keras.KerasTensor:
    """The shortcut, always a convolution, takes the input before its activation."""
    y = x
    for half in (1, 2):
        y = _standardised(y, f"{name}_bn{half}", dtype)
        y = _prelu(y, f"{name}_prelu{half}", dtype)
        y = _convolution(y, channels, 3, f"{name}_conv{half}", dtype, xavier_gain=math.sqrt(2))
    shortcut = _convolution(x, channels, 1, f"{name}_shortcut", dtype, xavier_gain=1.0)
    return layers.Add(dtype=dtype, name=f"{name}_add")([y, shortcut])


def _standardised(x: keras.KerasTensor, name: str, dtype: str) -> keras.KerasTensor:
    """Batch normalisation without scale and offset."""
    return layers.BatchNormalization(
        momentum=0.9, epsilon=1e-5, center=False, scale=False, dtype=dtype, name=name
    )(x)


def _prelu(x: keras.KerasTensor, name: str, dtype: str) -> keras.KerasTensor:
    """One learned slope for all channels, as PyTorch's default has it."""
    slope = keras.initializers.Constant(0.25)
    return layers.PReLU(slope, shared_axes=[1, 2, 3], dtype=dtype, name=name)(x)


def _convolution(
    x: keras.KerasTensor,
    channels: int,
    size: int,
    name: str,
    dtype: str,
    *,
    use_bias: bool = True,
    xavier_gain: float | None = None,
) -> keras.KerasTensor:
    """A stride-1 convolution; without a gain its kernel starts within 1/sqrt(fan in), as biases."""
    bound = 1 / math.sqrt(size * size * x.shape[-1])
    kernel_initializer = (
        keras.initializers.RandomUniform(-bound, bound)
        if xavier_gain is None
        else keras.initializers.VarianceScaling(xavier_gain**2, "fan_avg", "uniform")
    )
    return layers.Conv2D(
        channels,
        size,
        padding="same",
        use_bias=use_bias,
        kernel_initializer=kernel_initializer,
        bias_initializer=keras.initializers.RandomUniform(-bound, bound),
        dtype=dtype,
        name=name,
    )(x)
