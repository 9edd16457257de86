"""Square on the images nearest to an error and on a random sample of the rest.

On classifiers that hide no gradients Square takes most of a suite's time and fools nothing. A
random sample bounds what it would do to the images that it does not see, and the report says the
bound.
"""

import dataclasses

import numpy as np

from fsgan_tf.attacks.parts.attack import Attack, Wanted
from fsgan_tf.attacks.parts.sample import Sample, nearest_and_drawn
from fsgan_tf.attacks.square import Square
from fsgan_tf.settings import Settings

NAME = "square_sample"
HELP = "Square on 64 survivors of least lead and 64 random others, with a bound on the rest"
ACCESS = "outputs"
NORMS = ("linf", "l2", "l1")


def make(wanted: Wanted, settings: Settings) -> list[Attack]:
    """See `fsgan_tf.attacks`."""
    del settings  # There are none.
    return [SampledSquare(wanted.name, num_queries=5000, rescaled_schedule=False)]


@dataclasses.dataclass(frozen=True)
class SampledSquare(Square):
    """Square on some of what stands.

    Attributes:
      nearest: images whose true class leads least without attack.
      drawn: random ones of the others.
    """

    nearest: int = 64
    drawn: int = 64

    @property
    def most_sampled(self) -> int:
        """See `Sampling`."""
        return self.nearest + self.drawn

    def sample(self, standing: np.ndarray, leads: np.ndarray, seed: int) -> Sample:
        """See `Sampling.sample`."""
        return nearest_and_drawn(standing, leads, seed, nearest=self.nearest, drawn=self.drawn)
