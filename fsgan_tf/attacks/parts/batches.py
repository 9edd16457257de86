"""Batches of many sizes: few enough to prepare for, and one trace for all of them.

Convolution libraries prepare for each size of a batch that they meet, and a `tf.function` is traced
for each, so that attacking only what still stands must be kept from making every size there is.
"""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numpy as np
import tensorflow as tf

_SIZES = 32

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


def padded(indices: np.ndarray, largest: int, *, least_multiple: int = 1) -> np.ndarray:
    """Repeats indices up to one of at most 32 sizes: the multiples of a 32nd of the largest.

    Args:
      indices: `[m]`, m at least 1 and at most `largest`.
      largest: size, which is never exceeded.
      least_multiple: sizes lie no closer than this.

    Returns:
      `[n]`, of which the first m are the indices.
    """
    multiple = max(least_multiple, -(-largest // _SIZES))
    size = -(-len(indices) // multiple) * multiple
    return np.resize(indices, min(size, largest))


def for_any_batch_size(
    function: Callable[_Parameters, _Result],
) -> Callable[_Parameters, _Result]:
    """Compiles a function so that one trace serves batches of any size.

    Args:
      function: of tensors, whose first dimension is open when it is traced, scalars, tuples of
        them, and Python objects, for each of which it is traced anew.

    Returns:
      The compiled function.
    """
    compiled = tf.function(function, autograph=False)

    @functools.wraps(function)
    def call(*arguments: _Parameters.args, **named: _Parameters.kwargs) -> _Result:
        specs, named_specs = tf.nest.map_structure(_with_open_batch, (arguments, named))
        return compiled.get_concrete_function(*specs, **named_specs)(*arguments, **named)

    return call


def in_batches(function: Callable[..., _Result], size: int, *arrays: Any) -> _Result:
    """Calls a function of examples on some after another, and joins what it returns.

    Args:
      function: of arrays or tensors, to tensors or nested ones; an example's own do not depend on
        the other examples.
      size: of a batch, at most.
      *arrays: of n examples each, n at least 1.
    """
    starts = range(0, len(arrays[0]), size)
    found = [function(*(array[first : first + size] for array in arrays)) for first in starts]
    return tf.nest.map_structure(lambda *parts: tf.concat(parts, 0), *found)


def _with_open_batch(argument: Any) -> Any:
    """A tensor's type with an open first dimension; other arguments as they are."""
    if isinstance(argument, np.ndarray):
        argument = tf.convert_to_tensor(argument)
    if not tf.is_tensor(argument) or not argument.shape.rank:
        return argument
    return tf.TensorSpec([None, *argument.shape[1:]], argument.dtype)
