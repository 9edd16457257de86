"""The loop of adversaries that take many steps."""

from collections.abc import Callable
from typing import TypeVar

import tensorflow as tf

# A tensor, or a tuple of tensors.
State = TypeVar("State")


def last_iterate(advance: Callable[[State], State], start: State, num_steps: int) -> State:
    """Where `num_steps` steps lead.

    Args:
      advance: a state to the next one, whose tensors have the same shapes.
      start: the first state.
      num_steps: how many steps are taken.

    Returns:
      The last state.
    """
    # A loop of the graph: unrolled, a deep classifier takes minutes to trace.
    _, last = tf.while_loop(
        lambda step, _: step < num_steps,
        lambda step, state: (step + 1, advance(state)),
        (tf.constant(0), start),
        maximum_iterations=num_steps,
    )
    return last
