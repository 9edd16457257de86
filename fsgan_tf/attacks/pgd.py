"""PGD: projected gradient ascent on the cross-entropy (Madry et al. 2018, arXiv:1706.06083).

In l_2 a step goes along the gradient, in l_1 along the signs of its largest values (SLIDE,
arXiv:1904.13000).
"""

import dataclasses

from fsgan_tf.attacks.parts.attack import Attack, Wanted
from fsgan_tf.attacks.parts.projected_gradient import ProjectedGradient
from fsgan_tf.attacks.parts.settings import ClimbingSettings

NAME = "pgdN"
HELP = "N projected steps up the cross-entropy from a random start"
ACCESS = "gradients"
NORMS = ("linf", "l2", "l1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(ClimbingSettings):
    """Restarts and step size."""


def make(wanted: Wanted, settings: Settings) -> list[Attack]:
    """See `fsgan_tf.attacks`."""
    return [
        ProjectedGradient(
            wanted.name,
            loss="cross_entropy",
            num_steps=wanted.num_steps,
            step_size=settings.step_within(wanted),
            random_start=True,
            restarts=settings.restarts,
        )
    ]
