"""A loop in stretches: who takes part in each, and with which steps."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from fsgan_tf.attacks.parts.stretches import Stretches


class _State(NamedTuple):
    steps: tf.Tensor
    success: tf.Tensor


def _taken(num_examples, num_steps, fooled_after, **options):
    """Steps that each example took, and rows and steps of each stretch."""
    seen = []
    first = _State(tf.zeros(num_examples, tf.int32), tf.zeros(num_examples, tf.bool))
    stretches = Stretches(first, num_steps, **options)
    for rows, state, steps in stretches:
        seen.append((list(rows), steps.start, steps.stop))
        taken = state.steps + steps.stop - steps.start
        stretches.update(_State(taken, taken.numpy() >= fooled_after[rows]))
    return stretches.state.steps.numpy().tolist(), seen


def test_fooled_examples_leave_after_ten_steps_and_keep_what_they_had():
    steps, stretches = _taken(6, 25, np.array([10, 99, 10, 99, 20, 99]))
    assert steps == [10, 25, 10, 25, 20, 25]
    # A batch shrinks to a multiple of four, which rows that stand twice fill up.
    assert stretches == [
        ([0, 1, 2, 3, 4, 5], 0, 10),
        ([1, 3, 4, 5], 10, 20),
        ([1, 3, 5, 1], 20, 25),
    ]


def test_the_loop_ends_once_all_are_fooled():
    assert _taken(2, 30, np.array([1, 11])) == ([10, 20], [([0, 1], 0, 10), ([1, 1], 10, 20)])


def test_all_steps_are_one_stretch_where_nobody_leaves():
    assert _taken(2, 30, np.array([1, 99]), leave=False) == ([30, 30], [([0, 1], 0, 30)])
