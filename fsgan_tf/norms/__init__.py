"""The norms that measure perturbations, one file each. Naming them imports no TensorFlow."""

from __future__ import annotations

import functools
import importlib
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fsgan_tf.norms.base import Norm

NAMES = ("linf", "l2", "l1")


@functools.cache
def get(name: str) -> Norm:
    """The norm of a name, one of `NAMES`."""
    return importlib.import_module(f"{__name__}.{name}").NORM


def radius_fault(name: str | None, radius: float, width: float = 1.0) -> str | None:
    """What is wrong with the radius of a ball; None if nothing is.

    Args:
      name: of the norm; None where it is not known yet.
      radius: in the norm's unit.
      width: of the pixel range.
    """
    if not math.isfinite(radius):
        return "must be a finite number"
    if radius <= 0:
        return "must be above 0"
    if name == "linf" and radius > width:
        return (
            f"must be at most {width:g} in linf, the width of the pixel range; --norm=l2 and "
            "--norm=l1 have units of their own"
        )
    return None


def radius_text(name: str, radius: float) -> str:
    """A radius as papers write it: `8/255` in l_inf, `0.5` in l_2 and l_1."""
    return f"{255 * radius:.4g}/255" if name == "linf" else f"{radius:.4g}"
