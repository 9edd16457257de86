"""C&W as papers after Madry et al. call it: projected ascent on Carlini and Wagner's margin."""

import dataclasses

from fsgan_tf.attacks.parts.attack import Attack, Wanted
from fsgan_tf.attacks.parts.projected_gradient import ProjectedGradient
from fsgan_tf.attacks.parts.settings import ClimbingSettings

NAME = "cwN"
HELP = "N projected steps up Carlini and Wagner's margin"
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
            loss="margin",
            num_steps=wanted.num_steps,
            step_size=settings.step_within(wanted),
            random_start=True,
            restarts=settings.restarts,
        )
    ]
