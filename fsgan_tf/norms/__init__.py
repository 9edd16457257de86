"""The norms that measure perturbations, one file each. Naming them imports no TensorFlow."""

from __future__ import annotations

import functools
import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fsgan_tf.norms.base import Norm

NAMES = ("linf", "l2", "l1")


@functools.cache
def get(name: str) -> Norm:
    """The norm of a name, one of `NAMES`."""
    return importlib.import_module(f"{__name__}.{name}").NORM


def radius_fault(name: str, radius: float) -> str | None:
    """What is wrong with a radius in a norm, of pixels in [0, 1]; None if nothing is."""
    if name == "linf" and radius > 1:
        return (
            "must be at most 1 in linf, since pixels lie in [0,1]; --norm=l2 and --norm=l1 have "
            "units of their own"
        )
    return None


def radius_text(name: str, radius: float) -> str:
    """A radius as papers write it: `8/255` in l_inf, `0.5` in l_2 and l_1."""
    return f"{255 * radius:.4g}/255" if name == "linf" else f"{radius:.4g}"
