"""Classifiers that a user brings: a Keras file, or a function that builds one.

`FILE.keras` is checked as every file from elsewhere is, and starts from the weights it holds, in
its own precision. `module:function` is a user's Python code, found as Python finds modules, and
called with `num_classes`, `image_shape` and `dtype`, as an architecture's `build` is.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import numpy as np

from fsgan_tf.errors import UserError, one_line
from fsgan_tf.networks.keras_settings import keras
from fsgan_tf.untrusted.keras_files import check_keras_file

_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def build(
    name: str, *, num_classes: int, image_shape: tuple[int, int, int], dtype: str = "float32"
) -> keras.Model:
    """A user's classifier, known to fit.

    Args:
      name: `FILE.keras` or `module:function`.
      num_classes: K.
      image_shape: `(h, w, c)`.
      dtype: Keras dtype policy of the hidden layers, for the function; a file has its own.

    Returns:
      A functional or sequential model of float32 `[b, h, w, c]` images to logits `[b, K]`.

    Raises:
      UserError: it cannot be loaded or built, or is for other images or classes.
    """
    if name.endswith(".keras"):
        model = _loaded(name)
    else:
        model = _made(name, num_classes=num_classes, image_shape=image_shape, dtype=dtype)
    if not isinstance(model, keras.Model) or getattr(model, "inputs", None) is None:
        raise UserError(
            f"--architecture={name} is a {type(model).__name__}; it must be a functional or "
            "sequential Keras model with a keras.Input"
        )
    shapes = model.input_shape, model.output_shape
    if shapes != ((None, *image_shape), (None, num_classes)):
        raise UserError(
            f"--architecture={name} takes {shapes[0]} and returns {shapes[1]}; these images and "
            f"classes need {(None, *image_shape)} and {(None, num_classes)}"
        )
    if not all(np.isfinite(weight).all() for weight in model.get_weights()):
        raise UserError(
            f"--architecture={name} has weights that are NaN or infinite; train it anew, or give "
            "another"
        )
    return model


def _loaded(name: str) -> Any:
    if not Path(name).is_file():
        raise UserError(f"--architecture={name}: there is no such file")
    check_keras_file(name)
    try:
        return keras.models.load_model(name, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises many kinds, all about what is in the file.
        raise UserError(
            f"--architecture={name} cannot be loaded as a Keras model: {_line(error)}"
        ) from error


def _made(name: str, **arguments: Any) -> Any:
    if not _FUNCTION.fullmatch(name):
        raise UserError(f"--architecture={name}: no such architecture, file or module:function")
    module, _, function = name.partition(":")
    try:
        return getattr(importlib.import_module(module), function)(**arguments)
    except (Exception, SystemExit) as error:  # The user's code may raise anything.
        raise UserError(
            f"--architecture={name} failed ({type(error).__name__}: {_line(error)}); it is called "
            "with num_classes, image_shape and dtype, and its module must be on Python's path"
        ) from error


def _line(error: BaseException) -> str:
    return one_line(error)[:300]
