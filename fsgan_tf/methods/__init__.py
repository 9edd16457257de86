"""The training methods, one file each; a method's name is its module's name.

`get(name)` imports that module alone, so that a broken method breaks no other.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fsgan_tf.methods.base import TrainingMethod


def get(name: str) -> "type[TrainingMethod]":
    """The class that trains by `name`, one of `settings.method_names()`."""
    return importlib.import_module(f"fsgan_tf.methods.{name}").METHOD
