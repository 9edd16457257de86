import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf.methods.parts.gradient_normalization import (
    NORMALIZATIONS,
    unit_batch_max,
    unit_channel_l2,
    unit_rms,
)


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e-15])
def test_channel_l2_against_numpy(scale):
    gradients = (scale * np.random.default_rng(0).normal(size=(4, 8, 8, 3))).astype(np.float32)
    inside = np.float64(gradients + np.float32(1e-15))
    norm = np.sqrt((inside**2).sum(axis=(1, 2), keepdims=True))
    np.testing.assert_allclose(unit_channel_l2(tf.constant(gradients)), gradients / norm, rtol=1e-4)


def test_batch_max_divides_by_the_whole_batchs_largest_entry():
    gradients = np.zeros((2, 2, 2, 3), np.float32)
    gradients[0, 0, 0] = [1e-6, -4e-6, 2e-6]
    gradients[1, 1, 1] = [0, 1e-6, -3e-6]
    scaled = unit_batch_max(tf.constant(gradients)).numpy()
    np.testing.assert_allclose(scaled[0, 0, 0], [0.25, -1, 0.5], rtol=1e-6)
    np.testing.assert_allclose(scaled[1, 1, 1], [0, 0.25, -0.75], rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-3, 1e-10])
def test_rms_against_numpy(scale):
    """Of a gradient near zero no noise is made: 1e-20 is added to its mean square."""
    gradients = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype(np.float32) * scale
    rms = np.sqrt((np.float64(gradients) ** 2).mean(axis=(1, 2, 3), keepdims=True) + 1e-20)
    np.testing.assert_allclose(unit_rms(np.float32(gradients)), gradients / rms, rtol=1e-4)


def test_none_leaves_the_gradient_and_sign_takes_its_sign():
    gradients = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype(np.float32) * 1e-4
    np.testing.assert_array_equal(NORMALIZATIONS["none"](gradients), gradients)
    np.testing.assert_array_equal(NORMALIZATIONS["sign"](gradients), np.sign(gradients))


@pytest.mark.parametrize("name", NORMALIZATIONS)
def test_a_gradient_of_zeros_stays_zero(name):
    np.testing.assert_array_equal(NORMALIZATIONS[name](tf.zeros([2, 4, 4, 3])), 0)
