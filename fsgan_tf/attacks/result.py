"""What an evaluation found, in NumPy and numbers."""

import dataclasses
import math
from typing import Any

import numpy as np

from fsgan_tf.threat_model import ThreatModel

_Z_95 = 1.959963984540054


@dataclasses.dataclass(frozen=True)
class Check:
    """One reason to believe or to doubt the figures.

    Attributes:
      name: what was checked.
      verdict: `pass`, `warn`, `fail` or `skipped`.
      detail: one sentence: what was seen and, unless it passed, what to do.
    """

    name: str
    verdict: str
    detail: str


@dataclasses.dataclass(frozen=True)
class AttackResult:
    """What one attack did.

    Attributes:
      name: the attack's.
      parameters: the attack's.
      accuracy: share of all examples that are classified cleanly and withstand it; unless
        `standalone`, those that also withstand every attack run before it.
      standalone: whether `accuracy` speaks of this attack alone.
      seconds: wall-clock time.
      fooled: bool `[n]`, examples of which this attack has a verified adversarial image. Examples
        it never saw are False.
      refused: claimed successes that verification refused.
    """

    name: str
    parameters: dict[str, Any]
    accuracy: float
    standalone: bool
    seconds: float
    fooled: np.ndarray
    refused: int


@dataclasses.dataclass(frozen=True)
class Result:
    """What an evaluation found.

    Attributes:
      threat_model: of the attacks.
      seed: of the random starts.
      clean_correct: bool `[n]`, examples classified correctly without attack.
      attacks: in the order in which they ran.
      checks: verdicts on the figures.
    """

    threat_model: ThreatModel
    seed: int
    clean_correct: np.ndarray
    attacks: tuple[AttackResult, ...]
    checks: tuple[Check, ...] = ()

    @property
    def num_examples(self) -> int:
        """How many examples were evaluated."""
        return len(self.clean_correct)

    @property
    def clean_accuracy(self) -> float:
        """Share of examples classified correctly without attack."""
        return float(np.mean(self.clean_correct))

    @property
    def robust(self) -> np.ndarray:
        """Which examples withstand every attack and none, bool `[n]`."""
        robust = self.clean_correct.copy()
        for attack in self.attacks:
            robust &= ~attack.fooled
        return robust

    @property
    def worst_case_accuracy(self) -> float:
        """Share of examples robust to every attack; never the smallest accuracy of the attacks."""
        return float(np.mean(self.robust))

    @property
    def confidence_interval_95(self) -> tuple[float, float]:
        """Wilson interval of the worst-case accuracy."""
        return wilson_interval(int(self.robust.sum()), self.num_examples)

    def accuracy(self, attack_name: str) -> float:
        """`AttackResult.accuracy` of the attack of that name."""
        return {attack.name: attack.accuracy for attack in self.attacks}[attack_name]


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """95% interval of a proportion (Wilson 1927), which stays sound at 0 and 1.

    Args:
      successes: at most `trials`.
      trials: at least 1.

    Returns:
      Lower and upper end, in [0, 1].
    """
    share = successes / trials
    z2 = _Z_95**2
    centre = share + z2 / (2 * trials)
    radius = _Z_95 * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    denominator = 1 + z2 / trials
    return max(0.0, (centre - radius) / denominator), min(1.0, (centre + radius) / denominator)
