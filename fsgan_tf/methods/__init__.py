"""The training methods, one file each; a method's name is its file's name.

A method's file holds its `Settings`, the class that trains, and `METHOD = ` that class. A file of
yours joins them from anywhere on Python's path: with FOLDER in PYTHONPATH,
FOLDER/fsgan_tf/methods/mine.py is `--method=mine`.

    from fsgan_tf.methods import FSGAN, PGDAT

imports these two files alone. Listing the methods and their settings imports no TensorFlow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fsgan_tf.settings.registry import Registry, extended_path

if TYPE_CHECKING:
    from fsgan_tf.methods.base import TrainingMethod

__path__ = extended_path(__path__, __name__)
_FILES = Registry(__name__)
names, declared = _FILES.names, _FILES.declared


def get(name: str) -> type[TrainingMethod]:
    """The class that trains by `name`, one of `names()`."""
    return _FILES.module(name).METHOD


def norms_of(name: str) -> tuple[str, ...]:
    """The norms in which a method trains: `NORMS` of its file, l_inf alone where it has none."""
    return declared(name).constants.get("NORMS", ("linf",))


def __getattr__(name: str) -> Any:
    """A method's class by its own name, such as `FSGAN`."""
    for method in names() if name[:1].isupper() else ():
        if declared(method).names.get("METHOD") == name:
            return get(method)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    classes = [declared(method).names.get("METHOD", "") for method in names()]
    return sorted([*globals(), *filter(None, classes)])
