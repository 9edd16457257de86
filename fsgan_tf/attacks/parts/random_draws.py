"""The random draws of a classifier whose answers differ from call to call.

Where they follow from variables (`keras.random.SeedGenerator`, `tf.random.Generator`, a function's
own seed), these are set, so that what a call draws follows from a key. The draws of TensorFlow's
stateful operations (`tf.random.normal`) start over with the global seed. What cannot be repeated is
a SavedModel's stateful operation without a seed.
"""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import tensorflow as tf

# Values of a Keras seed and of a TensorFlow generator's state.
_SIZES_OF_SEEDS = (2, 3)


def with_own_seeds(logits_fn: Callable[..., tf.Tensor]) -> Callable[[tf.Tensor], tf.Tensor]:
    """Gives a function that takes a `seed` a new one at each call.

    Args:
      logits_fn: of images; of `seed` too, int64 `[2]`, for stateless draws, or not.

    Returns:
      A function of images; the given one where it takes no seed.
    """
    if not _takes_seed(logits_fn):
        return logits_fn
    state = tf.Variable([0, 0], dtype=tf.int64, trainable=False)

    def draw(images: tf.Tensor) -> tf.Tensor:
        return logits_fn(images, seed=state.assign_add([0, 1]))

    return draw


def changing_variables(
    logits_fn: Callable[[tf.Tensor], tf.Tensor], images: tf.Tensor
) -> list[tuple[tf.Variable, np.ndarray]]:
    """The whole numbers that a call changes, and their values before it.

    Args:
      logits_fn: of float32 `[b, h, w, c]` images.
      images: on which it is called once.
    """
    spec = tf.TensorSpec([None, *images.shape[1:]], images.dtype)
    traced = tf.function(logits_fn, autograph=False).get_concrete_function(spec)
    whole = [variable for variable in traced.variables if variable.dtype.is_integer]
    before = [variable.numpy() for variable in whole]
    traced(images)
    return [
        (variable, value)
        for variable, value in zip(whole, before, strict=True)
        if not np.array_equal(variable.numpy(), value)
    ]


def restart(variables: Iterable[tuple[tf.Variable, np.ndarray]], key: tuple[int, ...]) -> None:
    """Sets what draws follow from.

    Args:
      variables: of `changing_variables`. Seeds are made from the key; what is none, as a count of
        calls, gets its first value again.
      key: any numbers from 0.
    """
    for number, (variable, first) in enumerate(variables):
        value = first
        if first.shape in [(size,) for size in _SIZES_OF_SEEDS]:
            words = np.random.SeedSequence((*key, number)).generate_state(first.size, np.uint32)
            value = (words >> 1).astype(first.dtype)
        variable.assign(value)


def _takes_seed(logits_fn: Any) -> bool:
    try:
        return "seed" in inspect.signature(logits_fn).parameters
    except (TypeError, ValueError):  # Some callables do not tell.
        return False
