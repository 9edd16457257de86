"""PMA: steps up a margin of probabilities (Xie et al. 2025, arXiv:2411.15210).

Source: `attacks/MD.py` and `main.py` of xieyong0/PMA at c386acd with that code's own settings:
`loss_fn="PMargin"`, one pair of runs, 100 steps each, first step 2 epsilon, `use_odi=False`. With p
the softmax of the logits and p_max its largest entry but the true class's p_y, a run takes one step
up p_y, then 49 up -p_y (the first run) or up p_max (the second), then 50 up p_max - p_y. The 2nd
and the 52nd step are 2 epsilon long, and those after them fall along half a cosine to almost 0; the
1st is as long as the 3rd.

Theirs knows l_inf alone. In l_2 the steps go along the gradient and are as long.

Deviations:
- The random start is clipped to the pixel range. Theirs is not, so that an image fooled by its
  start may lie outside.
- An example's random start follows from its own seed, not from its place in the batch.
"""

import dataclasses
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from fsgan_tf.attacks.parts import losses, scheduled_climb
from fsgan_tf.attacks.parts.attack import Access, Attack, Attempt, Wanted, parameters_of
from fsgan_tf.attacks.parts.attacked_classifier import AttackedClassifier
from fsgan_tf.attacks.parts.scheduled_climb import Schedule
from fsgan_tf.settings import Settings
from fsgan_tf.threat_model import ThreatModel

NAME = "pma"
HELP = "two runs of 100 steps up a margin of probabilities"
ACCESS = "gradients"
NORMS = ("linf", "l2")


def make(wanted: Wanted, settings: Settings) -> list[Attack]:
    """See `fsgan_tf.attacks`."""
    del settings  # There are none.
    return [ProbabilityMargin(wanted.name)]


@dataclasses.dataclass(frozen=True)
class ProbabilityMargin:
    """PMA.

    Attributes:
      name: as in `--attacks`.
      num_steps: gradient steps of one run, even.
      restarts: runs; the 1st, 3rd, ... first lower the true class, the others raise the next.
    """

    name: str
    num_steps: int = 100
    restarts: int = 2

    access: ClassVar[Access] = "gradients"
    loss: ClassVar[str] = "probability_margin"

    @property
    def cost(self) -> int:
        """Gradients spent on an image that no run fools."""
        return self.num_steps * self.restarts

    @property
    def parameters(self) -> dict[str, Any]:
        """What results.json says of this attack."""
        return parameters_of(self)

    def once(self, num_steps: int) -> "ProbabilityMargin":
        """See `Climbing.once`; the number of steps is rounded up to an even one."""
        return dataclasses.replace(self, num_steps=num_steps + num_steps % 2, restarts=1)

    def run(
        self,
        classifier: AttackedClassifier,
        threat_model: ThreatModel,
        images: tf.Tensor,
        labels: tf.Tensor,
        seeds: tf.Tensor,
        restart: int,
    ) -> Attempt:
        """Climbs once from a fresh start; see `Attack.run`."""
        return scheduled_climb.climb(
            classifier,
            _loss,
            threat_model,
            images,
            labels,
            seeds,
            tf.zeros([len(labels), 0]),
            schedule(self.num_steps, raise_other=restart % 2 == 1),
        )


def schedule(num_steps: int, *, raise_other: bool) -> Schedule:
    """Step sizes in radii, and the weights of p_y and p_max in the loss of each step.

    Args:
      num_steps: of the run, even.
      raise_other: whether the first half climbs p_max, and not -p_y.

    Returns:
      `[num_steps]` and `[num_steps, 2]`.
    """
    half = num_steps // 2
    index = np.arange(num_steps)
    since = np.where(index > half, index - half - 1, index - 1)
    weights = np.full((num_steps, 2), (-1, 1))
    weights[:half] = (0, 1) if raise_other else (-1, 0)
    weights[0] = (1, 0)
    return Schedule(1 + np.cos(np.pi * since / half), weights)


def _loss(logits: tf.Tensor, labels: tf.Tensor, guides: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    del guides
    true, other = losses.true_and_largest_other(labels, tf.nn.softmax(logits))
    return weights[0] * true + weights[1] * other
