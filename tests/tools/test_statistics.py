"""What an accuracy may owe to chance."""

import pytest
from experiments import statistics

from fsgan_tf.results.intervals import wilson_interval


def test_one_seed_has_the_interval_of_its_images():
    low, high = wilson_interval(96, 600)
    expected = f"16.0 ({100 * low:.1f} to {100 * high:.1f})"
    assert statistics.summarised([0.16], 600) == expected == "16.0 (13.3 to 19.1)"


@pytest.mark.parametrize(
    # Deviations -1, 0, 1 make a standard deviation of 1, over the root of 3; two are half apart.
    ("shares", "text"),
    [([0.23, 0.24, 0.25], "24.0 ± 0.6"), ([0.2, 0.3], "25.0 ± 5.0")],
)
def test_several_seeds_have_the_standard_error_of_their_mean(shares, text):
    assert statistics.summarised(shares, 600) == text
