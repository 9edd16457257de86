"""FS-GAN and its baselines: robust image classifiers in TensorFlow and Keras 3.

Importing this package imports no TensorFlow; its modules do.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

# Keras reads it when it is imported; `networks.keras_settings` says so where that was before.
os.environ["KERAS_BACKEND"] = "tensorflow"

__version__ = "0.2.0"


def load_pretrained(name: str) -> keras.Model:
    """A small robust classifier that comes with the package.

    Args:
      name: such as `digits_fs_gan`; `fsgan_tf/pretrained/NAME.md` is its model card.

    Returns:
      A Keras model of float32 `[b, h, w, c]` images in [0, 1] to float32 logits `[b, K]`.

    Raises:
      fsgan_tf.errors.UserError: there is none of that name; the message lists those there are.
    """
    from fsgan_tf.runs import pretrained

    return pretrained.restore(name).model
