"""95% intervals of proportions and of their differences. Imports no TensorFlow."""

import bisect
import math

import numpy as np
from scipy import stats

_Z = float(stats.norm.ppf(0.975))


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """95% interval of a proportion (Wilson 1927), which stays sound at 0 and 1.

    Args:
      successes: at most `trials`.
      trials: at least 1.

    Returns:
      Lower and upper end, in [0, 1].
    """
    interval = stats.binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def paired_difference(first: np.ndarray, second: np.ndarray) -> tuple[float, float, float]:
    """How much larger the second share is, of the same examples, and its 95% interval.

    The interval of Agresti and Min (2005, Statistics in Medicine 24, 729-740): Wald's, with half an
    example added to each of the four cells, which stays sound where the two hardly differ.

    Args:
      first: bool `[n]`, n at least 1.
      second: bool `[n]`, of the same examples.

    Returns:
      The difference of the shares as they are, and the interval's lower and upper end, in [-1, 1].
    """
    gained, lost = int(np.sum(~first & second)), int(np.sum(first & ~second))
    count = len(first) + 2
    centre = (gained - lost) / count
    spread = math.sqrt((gained + lost + 1) / count - centre**2) / math.sqrt(count)
    low, high = centre - _Z * spread, centre + _Z * spread
    return (gained - lost) / len(first), max(low, -1.0), min(high, 1.0)


def mcnemar(first: np.ndarray, second: np.ndarray) -> float:
    """The probability of so many changes to one side by chance: McNemar's exact, two-sided test.

    Args:
      first: bool `[n]`.
      second: bool `[n]`, of the same examples.

    Returns:
      In (0, 1]; 1 where no example changes.
    """
    gained, lost = int(np.sum(~first & second)), int(np.sum(first & ~second))
    return float(stats.binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0


def unpaired_difference(
    first: float, first_count: int, second: float, second_count: int
) -> tuple[float, float, float]:
    """How much larger the second of two independent shares is, and its 95% interval.

    Newcombe's from the two Wilson intervals (1998, Statistics in Medicine 17, 873-890, method 10).

    Args:
      first: share, in [0, 1].
      first_count: of how many examples, at least 1.
      second: likewise.
      second_count: likewise.

    Returns:
      The difference, and the interval's lower and upper end, in [-1, 1].
    """
    low_1, high_1 = wilson_interval(round(first * first_count), first_count)
    low_2, high_2 = wilson_interval(round(second * second_count), second_count)
    difference = second - first
    below = math.hypot(second - low_2, high_1 - first)
    above = math.hypot(high_2 - second, first - low_1)
    return difference, difference - below, difference + above


def most_unseen_fooled(fooled: int, drawn: int, others: int, confidence: float = 0.95) -> int:
    """How many of the images that a random sample left out would be fooled at most.

    The exact one-sided bound of the hypergeometric distribution: the most of which a sample would
    show so few with more than the probability that is left.

    Args:
      fooled: of those drawn.
      drawn: at most `others`, without repetition.
      others: from which they were drawn.
      confidence: with which no more are fooled.

    Returns:
      Of the `others - drawn`.
    """
    counts = range(fooled, others - drawn + fooled + 1)  # That all of them may have.
    first_refuted = bisect.bisect_left(
        counts,
        True,
        key=lambda count: stats.hypergeom.cdf(fooled, others, count, drawn) <= 1 - confidence,
    )
    return first_refuted - 1
