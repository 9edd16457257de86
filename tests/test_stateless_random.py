"""Random draws: their distributions, and that XLA draws the same."""

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from fsgan_tf import stateless_random

SEED = tf.constant([5, 6])


@pytest.mark.parametrize(
    ("draw", "distribution"),
    [(stateless_random.uniform, scipy.stats.uniform), (stateless_random.normal, scipy.stats.norm)],
)
def test_draws_follow_their_distribution(draw, distribution):
    values = draw([20000], SEED).numpy()
    assert np.isfinite(values).all()
    assert scipy.stats.kstest(values, distribution.cdf).pvalue > 0.01
    assert abs(np.corrcoef(values[1:], values[:-1])[0, 1]) < 0.03


@pytest.mark.parametrize("draw", [stateless_random.uniform, stateless_random.normal])
def test_graph_and_xla_draw_the_same(draw):
    eager = draw([64, 3], SEED).numpy()
    graph = tf.function(lambda seed: draw([64, 3], seed))(SEED)
    xla = tf.function(lambda seed: draw([64, 3], seed), jit_compile=True)(SEED)
    np.testing.assert_array_equal(graph, eager)
    np.testing.assert_allclose(xla, eager, rtol=1e-5, atol=1e-6)


def test_split_seeds_differ():
    seeds = [tuple(seed.numpy()) for seed in stateless_random.split(SEED, 5)]
    assert len(set(seeds)) == 5
