"""Pixels in [0, 1]."""

import numpy as np

from fsgan_tf.data import pixels


def test_bytes_are_float32_of_the_nearest_255th():
    found = pixels.unit(np.arange(256, dtype=np.uint8))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, (np.arange(256) / 255).astype(np.float32))


def test_other_images_stay_as_they_are():
    images = np.array([0, 0.5, 1], np.float16)
    assert pixels.unit(images) is images
