"""Settings that several attacks have. Imports no TensorFlow."""

import dataclasses

from fsgan_tf import settings
from fsgan_tf.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClimbingSettings(settings.Settings):
    """Of attacks that take steps of one length from random starts."""

    restarts: int = settings.setting(1, "Random restarts.", lower=1)
    step_size: float | None = settings.setting(
        None, "Length of a step, in pixels of [0,1]; epsilon/4 by default.", above=0, fraction=True
    )

    def step_within(self, epsilon: float) -> float:
        """The step size; epsilon/4 by default, which is 2/255 at 8/255 as in the paper.

        Raises:
          UserError: it is larger than epsilon.
        """
        step_size = epsilon / 4 if self.step_size is None else self.step_size
        if step_size > epsilon:
            raise UserError(
                f"the step size is {step_size:g}; it must be above 0 and at most epsilon "
                f"({epsilon:g})"
            )
        return step_size
