"""Proportions, against published numbers and another way to reckon."""

import math

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


@pytest.mark.parametrize(("others", "drawn"), [(0, 0), (7, 0), (7, 7), (40, 10), (128, 64)])
def test_the_bound_on_unseen_images_is_wrong_at_most_as_often_as_it_says(others, drawn):
    """Over all samples there are, whichever number of the others is fooled; and is no looser."""
    all_samples = math.comb(others, drawn)
    bounds = [intervals.most_unseen_fooled(seen, drawn, others) for seen in range(drawn + 1)]
    for fooled in range(others + 1):
        wrong = sum(
            math.comb(fooled, seen) * math.comb(others - fooled, drawn - seen)
            for seen in range(drawn + 1)
            if fooled - seen > bounds[seen]
        )
        assert wrong <= 0.05 * all_samples
    for seen, bound in enumerate(bounds):
        assert 0 <= bound <= others - drawn
        as_many = range(seen + 1)
        fooled = seen + bound
        this_or_fewer = sum(
            math.comb(fooled, fewer) * math.comb(others - fooled, drawn - fewer)
            for fewer in as_many
        )
        assert this_or_fewer > 0.05 * all_samples


def test_the_bound_of_half_that_were_seen_is_not_that_of_a_share():
    """Of 128, 64 were seen. Were 5 of all fooled, 3% of the samples would show none of them."""
    assert intervals.most_unseen_fooled(0, 64, 128) == 4
    assert math.comb(123, 64) / math.comb(128, 64) == pytest.approx(0.0288, abs=1e-4)
    assert intervals.most_unseen_fooled(0, 64, 128, confidence=0.99) == 6
