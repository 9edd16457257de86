"""Class-conditional batch normalisation, composed of built-in layers.

Source: YunseokJANG/l2l-da at 07c64bc, `adv_defence/sync_batchnorm/batchnorm.py` (one row of gains
and biases a class and one row for all, added) and `adv_defence/models.py` (`weights_init_normal`).

Deviation: several replicas normalise each by its own batch, where the source has them share
statistics.
"""

from keras import layers

from fsgan_tf.networks.keras_settings import keras


def conditional_batch_normalization(
    x: keras.KerasTensor, classes: keras.KerasTensor, *, name: str, dtype: str
) -> keras.KerasTensor:
    """Normalises x by its batch, then applies a gain and a bias of the example's class.

    The gain is shared (starts N(1, .02)) + the class's own (starts N(0, .02)); both biases start
    at 0. A dense layer of one-hot classes is that sum: its kernel holds the class's part, its bias
    the shared one.

    Args:
      x: `[b, h, w, c]`.
      classes: one-hot, `[b, K]`.
      name: of the layers, `{name}`, `{name}_gain` and `{name}_bias`.
      dtype: Keras dtype policy.

    Returns:
      `[b, h, w, c]`; 2c(K + 1) trainable parameters.
    """
    normal = keras.initializers.RandomNormal
    gain = _per_channel(x, classes, normal(0.0, 0.02), normal(1.0, 0.02), f"{name}_gain", dtype)
    bias = _per_channel(x, classes, "zeros", "zeros", f"{name}_bias", dtype)
    x = layers.BatchNormalization(
        momentum=0.9, epsilon=1e-10, center=False, scale=False, dtype=dtype, name=name
    )(x)
    x = layers.Multiply(dtype=dtype, name=f"{name}_scaled")([x, gain])
    return layers.Add(dtype=dtype, name=f"{name}_shifted")([x, bias])


def _per_channel(
    x: keras.KerasTensor,
    classes: keras.KerasTensor,
    class_initializer: keras.initializers.Initializer | str,
    shared_initializer: keras.initializers.Initializer | str,
    name: str,
    dtype: str,
) -> keras.KerasTensor:
    channels = x.shape[-1]
    values = layers.Dense(
        channels,
        kernel_initializer=class_initializer,
        bias_initializer=shared_initializer,
        dtype=dtype,
        name=name,
    )(classes)
    return layers.Reshape((1, 1, channels), dtype=dtype, name=f"{name}_image")(values)
