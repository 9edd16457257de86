"""A loop of steps in stretches, between which the examples that are fooled leave."""

from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

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


class Stretches(Generic[S]):
    """Steps with the examples that are not fooled yet, a stretch of them at a time.

        stretches = Stretches(state, num_steps)
        for rows, state, steps in stretches:
            stretches.update(advanced(state, steps))

    Attributes:
      state: so far; of what was fooled, that with which it left.
    """

    def __init__(self, state: S, num_steps: int, *, leave: bool = True):
        """Takes what the loop starts with.

        Args:
          state: at the start.
          num_steps: of all stretches.
          leave: whether fooled examples leave; otherwise all steps are one stretch.
        """
        self.state = state
        self._standing: np.ndarray = np.arange(len(state.success))
        self._ends = (*(range(_STRETCH, num_steps, _STRETCH) if leave else ()), num_steps)

    def __iter__(self) -> Iterator[tuple[np.ndarray, S, slice]]:
        """Yields the rows of examples, some of them twice, their state, and the steps to take."""
        first = 0
        for end in self._ends:
            rows = padded(self._standing, len(self.state.success), least_multiple=_LEAST_MULTIPLE)
            yield rows, _at(self.state, rows), slice(first, end)
            self._standing, first = np.flatnonzero(~self.state.success.numpy()), end
            if not len(self._standing):
                return

    def update(self, moved: S) -> None:
        """Takes the state of the rows after the steps."""
        self.state = _updated(self.state, self._standing, moved)


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
