"""The gradients of all replicas together."""

import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf.methods.parts.gradients import clip_by_total_norm


@pytest.mark.parametrize("limit", [0.5, 1.0, 100.0])
def test_clipping_is_torchs_clip_grad_norm(limit):
    random = np.random.default_rng(0)
    gradients = [random.normal(size=shape) for shape in [(3, 4), (5,), ()]]
    norm = np.sqrt(sum(np.sum(g**2) for g in gradients))
    factor = min(1.0, limit / (norm + 1e-6))
    assert (factor == 1) == (limit == 100)
    clipped = clip_by_total_norm([tf.constant(g, tf.float32) for g in gradients], limit)
    for found, gradient in zip(clipped, gradients, strict=True):
        np.testing.assert_allclose(found, factor * gradient, rtol=1e-5)


def test_clipping_sees_the_sum_over_replicas(mirrored_strategy):
    """Replicas hold (3, 0) and (0, 4): 5 in all, which neither sees alone."""

    @tf.function
    def clip():
        def replica_step():
            first = tf.distribute.get_replica_context().replica_id_in_sync_group == 0
            gradient = tf.where(first, [3.0, 0.0], [0.0, 4.0])
            return clip_by_total_norm([gradient], tf.constant(1.0))[0]

        return mirrored_strategy.run(replica_step)

    first, second = mirrored_strategy.experimental_local_results(clip())
    np.testing.assert_allclose(first, [0.6, 0.0], rtol=1e-5)
    np.testing.assert_allclose(second, [0.0, 0.8], rtol=1e-5)
