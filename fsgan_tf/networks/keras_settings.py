"""What this package needs of Keras, whatever `keras.json` says: channels last, float32.

Whoever makes layers imports Keras from here. The backend is pinned by `fsgan_tf/__init__.py`, since
Keras reads it when it is imported.
"""

import keras

from fsgan_tf.errors import UserError


def pin() -> None:
    """Sets the data format and the type of numbers of layers that are made from here on.

    Raises:
      UserError: Keras was imported with another backend before this package.
    """
    if keras.config.backend() != "tensorflow":
        raise UserError(
            f"Keras runs on {keras.config.backend()}, and fsgan_tf needs TensorFlow: import "
            "fsgan_tf before keras, or set KERAS_BACKEND=tensorflow"
        )
    keras.config.set_image_data_format("channels_last")
    if keras.config.floatx() != "float32":
        keras.config.set_floatx("float32")
        # It may have been made of the other one.
        keras.config.set_dtype_policy("float32")


pin()
