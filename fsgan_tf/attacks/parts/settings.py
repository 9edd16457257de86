"""Settings that several attacks have. Imports no TensorFlow."""

import dataclasses
from typing import TYPE_CHECKING

from fsgan_tf import settings
from fsgan_tf.errors import UserError

if TYPE_CHECKING:
    from fsgan_tf.attacks.parts.attack import Wanted


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClimbingSettings(settings.Settings):
    """Of attacks that take steps of one length from random starts."""

    restarts: int = settings.setting(1, "Random restarts.", lower=1)
    step_size: float | None = settings.setting(
        None,
        "Length of a step, in epsilon's unit; epsilon/4 by default, and 2.5 epsilon/N in l2 and "
        "l1.",
        above=0,
        fraction=True,
    )

    def step_within(self, wanted: "Wanted") -> float:
        """The step size, in the norm's unit; see `default_step`.

        Raises:
          UserError: it is larger than epsilon.
        """
        if self.step_size is None:
            return default_step(wanted.norm, wanted.epsilon, wanted.num_steps)
        if self.step_size > wanted.epsilon:
            raise UserError(
                f"the step size is {self.step_size:g}; it must be above 0 and at most epsilon "
                f"({wanted.epsilon:g})"
            )
        return self.step_size


def default_step(norm: str, epsilon: float, num_steps: int) -> float:
    """The length of a step where none is asked for.

    In l_inf epsilon/4, which is 2/255 at 8/255 as in the paper. Elsewhere 2.5 epsilon over the
    number of steps, at most epsilon, as Madry et al. have it in l_2 (arXiv:1706.06083, appendix):
    a step of epsilon/4 leads from side to side of a ball whose surface is round.
    """
    return epsilon / 4 if norm == "linf" else min(2.5 / num_steps, 1) * epsilon
