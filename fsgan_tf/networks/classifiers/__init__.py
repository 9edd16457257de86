"""Architectures of classifiers, one file each; an architecture's name is its file's name.

An architecture's file holds its `Settings` and `build(settings, num_classes=, image_shape=,
dtype=)`. With FOLDER in PYTHONPATH, FOLDER/fsgan_tf/networks/classifiers/mine.py is
`--architecture=mine`. Other names are a user's own: `FILE.keras` or `module:function`, which
`fsgan_tf.networks.own` builds.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from fsgan_tf import settings
from fsgan_tf.settings.declarations import Declaration
from fsgan_tf.settings.registry import Registry, extended_path

if TYPE_CHECKING:
    import keras

__path__ = extended_path(__path__, __name__)
_FILES = Registry(__name__)
names = _FILES.names


def is_own(name: str) -> bool:
    """Whether a name is of a user's file or function."""
    return name.endswith(".keras") or ":" in name


def fault(name: str) -> str | None:
    """What is wrong with a name, after "it"; None if nothing is."""
    if name in names() or is_own(name):
        return None
    return f"must be one of {', '.join(names())}, or a FILE.keras, or module:function"


def declared(name: str) -> Declaration:
    """What the architecture's file declares: its settings, summary and constants."""
    if is_own(name):
        return Declaration(settings.Settings, "A network of one's own.", {}, {})
    return _FILES.declared(name)


def build(
    name: str,
    architecture_settings: settings.Settings,
    *,
    num_classes: int,
    image_shape: tuple[int, int, int],
    dtype: str = "float32",
) -> keras.Model:
    """Builds a classifier.

    Args:
      name: of the architecture, one of `names()` or a user's own.
      architecture_settings: of that architecture.
      num_classes: K.
      image_shape: `(h, w, c)`.
      dtype: Keras dtype policy of the hidden layers.

    Returns:
      A model of float32 `[b, h, w, c]` images in [0, 1] to float32 logits `[b, K]`.
    """
    # For files that import Keras themselves.
    importlib.import_module("fsgan_tf.networks.keras_settings")
    if is_own(name):
        own = importlib.import_module("fsgan_tf.networks.own")
        return own.build(name, num_classes=num_classes, image_shape=image_shape, dtype=dtype)
    return _FILES.module(name).build(
        architecture_settings, num_classes=num_classes, image_shape=image_shape, dtype=dtype
    )
