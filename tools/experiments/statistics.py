"""Accuracies of one training or of several, with what chance may have done to them."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev

MEANING = (
    "Of one seed, in brackets the 95% interval (Wilson) for so many images; of several, the mean "
    "± its standard error over the seeds"
)


def summarised(shares: Sequence[float], num_examples: int) -> str:
    """An accuracy in percent, with its uncertainty.

    Args:
      shares: within [0, 1], one a seed.
      num_examples: images of which each is a share.

    Returns:
      `16.0 (13.3 to 19.1)` of one seed, with the 95% interval; `16.0 ± 0.8` of several, with the
      standard error of their mean.
    """
    mean = f"{100 * fmean(shares):.1f}"
    if len(shares) > 1:
        return f"{mean} ± {100 * stdev(shares) / len(shares) ** 0.5:.1f}"
    from fsgan_tf.results.intervals import wilson_interval

    low, high = wilson_interval(round(shares[0] * num_examples), num_examples)
    return f"{mean} ({100 * low:.1f} to {100 * high:.1f})"
