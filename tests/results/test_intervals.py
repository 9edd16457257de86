"""Differences of proportions, against published numbers and another way to reckon."""

import numpy as np
import pytest

from fsgan_tf.results import intervals


def _pair(both, first, second, neither):
    counts = [both, first, second, neither]
    return (
        np.repeat([True, True, False, False], counts),
        np.repeat([True, False, True, False], counts),
    )


def test_unpaired_difference_is_newcombes():
    """Newcombe 1998, table II: 56 of 70 less 48 of 80 has the interval 0.0524 to 0.3339."""
    found = intervals.unpaired_difference(48 / 80, 80, 56 / 70, 70)
    assert found == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


@pytest.mark.parametrize("counts", [(50, 3, 12, 35), (0, 0, 0, 5), (1, 0, 9, 0)])
def test_paired_difference_is_walds_with_half_an_example_in_each_cell(counts):
    changes, weights = np.array([0, -1, 1, 0]), np.array(counts) + 0.5
    mean = np.average(changes, weights=weights)
    variance = np.average((changes - mean) ** 2, weights=weights)
    half = 1.959964 * np.sqrt(variance / weights.sum())
    difference, low, high = intervals.paired_difference(*_pair(*counts))
    assert difference == pytest.approx((counts[2] - counts[1]) / sum(counts))
    assert low == pytest.approx(max(mean - half, -1), abs=1e-6)
    assert high == pytest.approx(min(mean + half, 1), abs=1e-6)


def test_pairing_is_sharper_where_the_same_images_stand():
    first, second = _pair(40, 1, 8, 51)
    paired = intervals.paired_difference(first, second)
    unpaired = intervals.unpaired_difference(first.mean(), 100, second.mean(), 100)
    assert paired[0] == pytest.approx(unpaired[0]) == 0.07
    assert paired[1] > 0 > unpaired[1]


def test_mcnemars_exact_test():
    """Of 10 changes 1 to one side: 2 (1 + 10) / 2^10."""
    assert intervals.mcnemar(*_pair(5, 1, 9, 5)) == pytest.approx(22 / 1024)
    assert intervals.mcnemar(*_pair(5, 0, 0, 5)) == 1
