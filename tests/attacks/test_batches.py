from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf.attacks.parts.batches import for_any_batch_size, padded


@pytest.mark.parametrize("largest", [1, 5, 16, 17, 31, 100, 128, 1000])
def test_at_most_32_sizes_and_little_padding(largest):
    sizes = set()
    for count in range(1, largest + 1):
        indices = np.arange(7, 7 + count)
        batch = padded(indices, largest)
        np.testing.assert_array_equal(batch[:count], indices)
        np.testing.assert_array_equal(np.unique(batch), indices)
        assert len(batch) < count + max(1, largest / 32) + 1
        sizes.add(len(batch))
    assert len(sizes) <= 32
    assert max(sizes) == largest


@pytest.mark.parametrize(("count", "size"), [(1, 8), (8, 8), (9, 16), (17, 20)])
def test_sizes_no_closer_than_asked(count, size):
    assert len(padded(np.arange(count), 20, least_multiple=8)) == size


class _Pair(NamedTuple):
    images: tf.Tensor
    scale: tf.Tensor


def test_one_trace_serves_every_batch_size_and_scalar():
    traces = []

    @for_any_batch_size
    def scaled(owner, pair, labels):
        traces.append((owner, pair.images.shape.as_list(), labels.shape.as_list()))
        return _Pair(pair.images * pair.scale, labels)

    def call(owner, size, width=2):
        pair = _Pair(tf.ones([size, width]), tf.constant(float(size)))
        return scaled(owner, pair, np.arange(size))

    for size in (3, 1, 5, 3):
        images, labels = call("owner", size)
        np.testing.assert_array_equal(images, np.full((size, 2), size))
        np.testing.assert_array_equal(labels, np.arange(size))
    assert traces == [("owner", [None, 2], [None])]
    call("owner", 3, width=4)
    call("another", 3)
    assert traces[1:] == [("owner", [None, 4], [None]), ("another", [None, 2], [None])]
