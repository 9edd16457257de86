"""What several calls tell of a classifier whose answers differ from call to call."""

import dataclasses

import numpy as np
from scipy import stats

# Chances of an image that leave its side beyond doubt, in any number of images.
_CERTAIN = 1e-9
# Calls that a beta distribution of frequencies is worth, at least; at most it is worth those made.
_LEAST_WEIGHT = 0.2


@dataclasses.dataclass(frozen=True)
class Randomness:
    """How a classifier was measured whose answers differ, and what a single call is worth.

    Attributes:
      draws: calls over which every gradient and loss was averaged.
      calls: that judged an image.
      clean_wrong: int `[n]`, of so many calls, those that misclassify the unchanged image.
      attacked_wrong: int `[n]`, the same of the attacks' image that had fooled most, in calls made
        after it was chosen; of an example that was not attacked, `clean_wrong`.
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
            "calls decide whether an image is classified correctly. Of each image's adversarial "
            f"versions the one that fooled most counts, judged by {self.calls} calls made after it "
            "was chosen. The draws alone leave the worst case between "
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
        right = self.calls - wrong
        low, high = likely_counts(chance_of_majority(right, self.calls, spread(right, self.calls)))
        # Of many close calls the likeliest number may lie away from the majorities counted.
        counted = int(np.sum(2 * right > self.calls))
        return min(low, counted) / len(wrong), max(high, counted) / len(wrong)


def spread(times: np.ndarray, calls: int) -> tuple[float, float]:
    """The two parameters of the beta distribution that frequencies seem to come from.

    Its mean and variance are those of the frequencies, less the variance that so many calls add
    (the method of moments). Where these tell nothing, all frequencies are equally likely.

    Args:
      times: int `[n]`, how often something happened to each of n images.
      calls: of how many.
    """
    mean, variance = np.mean(times) / calls, np.var(times / calls)
    if not 0 < mean < 1:
        return 1.0, 1.0
    # 0 where all images have one frequency, 1 where each has 0 or 1.
    alike = (calls * variance / (mean * (1 - mean)) - 1) / (calls - 1)
    weight = 1 / np.clip(alike, 1 / (1 + calls), 1 / (1 + _LEAST_WEIGHT)) - 1
    return float(mean * weight), float((1 - mean) * weight)


def chance_of_majority(times: np.ndarray, calls: int, prior: tuple[float, float]) -> np.ndarray:
    """How likely something happens at more than half of all calls, where it did `times` of `calls`.

    By Bayes' rule.

    Args:
      times: int `[n]`.
      calls: at least as many.
      prior: parameters of the beta distribution of frequencies.

    Returns:
      float64 `[n]`.
    """
    return stats.beta.sf(0.5, times + prior[0], calls - times + prior[1])


def likely_counts(chances: np.ndarray) -> tuple[int, int]:
    """The 95% interval of how many of n independent events happen, each with its own chance."""
    sure = int(np.sum(chances > 1 - _CERTAIN))
    distribution = np.ones(1)
    for chance in chances[(chances >= _CERTAIN) & (chances <= 1 - _CERTAIN)]:
        distribution = np.convolve(distribution, [1 - chance, chance])
    cumulative = np.cumsum(distribution)
    low, high = np.searchsorted(cumulative, [0.025, 0.975])
    return sure + int(low), sure + min(int(high), len(distribution) - 1)
