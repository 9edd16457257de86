"""The loop of adversaries that take many steps."""

import pytest
import tensorflow as tf

from fsgan_tf.methods.parts.last_iterate import last_iterate


@pytest.mark.parametrize("num_steps", [0, 1, 5])
def test_every_step_starts_where_the_one_before_it_ended(num_steps):
    def advance(state):
        images, count = state
        return 2 * images + 1, count + 1

    start = (tf.zeros([2, 3]), tf.constant(0))
    images, count = last_iterate(advance, start, num_steps)
    assert count == num_steps
    assert images.shape == (2, 3)
    assert tf.reduce_all(images == 2**num_steps - 1)


def test_a_graph_has_one_step_however_many_are_taken():
    traced = []

    @tf.function(autograph=False)
    def run():
        return last_iterate(lambda x: traced.append(x) or x + 1, tf.constant(0.0), 7)

    assert run() == 7
    assert len(traced) == 1
