"""A loop of steps in stretches, between which the examples that are fooled leave."""

from collections.abc import Callable
from typing import Protocol, TypeVar

import numpy as np
import tensorflow as tf

from fsgan_tf.attacks.parts.batches import padded

# Steps of a stretch, and by how many examples a batch shrinks at least.
_STRETCH, _LEAST_MULTIPLE = 10, 4


class State(Protocol):
    """A named tuple of tensors `[b, ...]`: how far a loop has come with each example."""

    @property
    def success(self) -> tf.Tensor:
        """Bool `[b]`, whether an example is fooled, so that it leaves."""
        ...


S = TypeVar("S", bound=State)


def in_stretches(
    advance: Callable[[np.ndarray, S, slice], S], state: S, num_steps: int, *, leave: bool = True
) -> S:
    """Takes steps with the examples that are not fooled yet, a stretch of them at a time.

    Args:
      advance: takes the steps of a slice. It is given the rows of examples, some of them twice, and
        their state, and returns that state after the steps.
      state: at the start.
      num_steps: of all stretches.
      leave: whether fooled examples leave; otherwise all steps are one stretch.

    Returns:
      The state at the end; of what was fooled, that with which it left.
    """
    num_examples = len(state.success)
    standing: np.ndarray = np.arange(num_examples)
    first = 0
    for end in (*(range(_STRETCH, num_steps, _STRETCH) if leave else ()), num_steps):
        rows = padded(standing, num_examples, least_multiple=_LEAST_MULTIPLE)
        moved = advance(rows, _at(state, rows), slice(first, end))
        state = _updated(state, standing, moved)
        standing, first = np.flatnonzero(~state.success.numpy()), end
        if not len(standing):
            break
    return state


def _at(state: S, rows: np.ndarray) -> S:
    return tf.nest.map_structure(lambda tensor: tf.gather(tensor, rows), state)


def _updated(state: S, rows: np.ndarray, moved: S) -> S:
    """With the first rows of `moved` in place of its own at `rows`."""
    return tf.nest.map_structure(
        lambda before, after: tf.tensor_scatter_nd_update(
            before, rows[:, np.newaxis], after[: len(rows)]
        ),
        state,
        moved,
    )
