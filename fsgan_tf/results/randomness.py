"""What several calls tell of a classifier whose answers differ from call to call."""

import dataclasses

import numpy as np
from scipy import stats

# Chances of an image that leave its side beyond doubt, in any number of images.
_CERTAIN = 1e-9


@dataclasses.dataclass(frozen=True)
class Randomness:
    """How a classifier was measured whose answers differ, and what a single call is worth.

    Attributes:
      draws: calls over which every gradient and loss was averaged.
      calls: that judged an image, in each of two rounds.
      clean_wrong: int `[n]`, of so many calls, those that misclassify the unchanged image.
      attacked_wrong: int `[n]`, the same, in the second round, of the image that fooled the first
        round most: an adversarial one, or the unchanged one.
    """

    draws: int
    calls: int
    clean_wrong: np.ndarray
    attacked_wrong: np.ndarray

    def __str__(self) -> str:
        low, high = self.worst_case_interval_95
        return (
            "The classifier's answers may differ from call to call: gradients and losses are means "
            f"over {self.draws} {'calls' if self.draws > 1 else 'call'}, and most of {self.calls} "
            "calls decide whether an image is classified correctly; an adversarial one has to fool "
            f"most of {self.calls} others too. The draws alone leave the worst case between "
            f"{low:.1%} and {high:.1%} (95%). Of single calls, {self.accuracy_of_one_call:.1%} are "
            f"right under attack and {self.clean_accuracy_of_one_call:.1%} without."
        )

    @property
    def clean_accuracy_of_one_call(self) -> float:
        """Expected share of right answers without attack."""
        return 1 - float(np.mean(self.clean_wrong)) / self.calls

    @property
    def accuracy_of_one_call(self) -> float:
        """Expected share of right answers under attack."""
        return 1 - float(np.mean(self.attacked_wrong)) / self.calls

    @property
    def clean_interval_95(self) -> tuple[float, float]:
        """Of the clean accuracy, where only the draws are chance."""
        return self._interval(self.clean_wrong)

    @property
    def worst_case_interval_95(self) -> tuple[float, float]:
        """Of the worst-case accuracy, where only the draws are chance and not the images."""
        return self._interval(self.attacked_wrong)

    def _interval(self, wrong: np.ndarray) -> tuple[float, float]:
        low, high = likely_counts(chance_of_majority(self.calls - wrong, self.calls))
        return low / len(wrong), high / len(wrong)


def chance_of_majority(times: np.ndarray, calls: int) -> np.ndarray:
    """How likely something happens at more than half of all calls, where it did `times` of `calls`.

    By Bayes' rule, all frequencies being equally likely before.

    Args:
      times: int `[n]`.
      calls: at least as many.

    Returns:
      float64 `[n]`.
    """
    return stats.beta.sf(0.5, times + 1, calls - times + 1)


def likely_counts(chances: np.ndarray) -> tuple[int, int]:
    """The 95% interval of how many of n independent events happen, each with its own chance."""
    sure = int(np.sum(chances > 1 - _CERTAIN))
    distribution = np.ones(1)
    for chance in chances[(chances >= _CERTAIN) & (chances <= 1 - _CERTAIN)]:
        distribution = np.convolve(distribution, [1 - chance, chance])
    cumulative = np.cumsum(distribution)
    low, high = np.searchsorted(cumulative, [0.025, 0.975])
    return sure + int(low), sure + min(int(high), len(distribution) - 1)
