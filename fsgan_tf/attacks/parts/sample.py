"""An attack that costs too much for every image: which ones it sees, and what of the others."""

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np


class Sample(NamedTuple):
    """Whom an attack was run on, as positions among the examples evaluated.

    Attributes:
      nearest: int `[m]`, those whose true class leads least without attack.
      drawn: int `[d]`, a random sample of the others, without repetition.
      num_others: of which `drawn` is the sample.
    """

    nearest: np.ndarray
    drawn: np.ndarray
    num_others: int

    @property
    def num_unseen(self) -> int:
        """How many examples that stood it was not run on."""
        return self.num_others - len(self.drawn)


@runtime_checkable
class Sampling(Protocol):
    """An attack that the engine runs on a sample of what stands.

    Attributes:
      most_sampled: no sample is larger.
    """

    @property
    def most_sampled(self) -> int: ...  # noqa: D102

    def sample(self, standing: np.ndarray, leads: np.ndarray, seed: int) -> Sample:
        """Chooses.

        Args:
          standing: int `[n]`, positions of the examples to choose among.
          leads: float `[n]`, the true class's lead of each without attack.
          seed: of the evaluation.

        Returns:
          The sample. Unlike what happens to an example, it depends on the others that stand.
        """
        ...


def nearest_and_drawn(
    standing: np.ndarray, leads: np.ndarray, seed: int, *, nearest: int, drawn: int
) -> Sample:
    """So many of least lead, and so many of the rest by chance; see `Sampling.sample`."""
    ordered = standing[np.argsort(leads, kind="stable")]
    first, others = ordered[:nearest], np.sort(ordered[nearest:])
    chosen = np.random.default_rng(seed).permutation(others)[:drawn]
    return Sample(np.sort(first), np.sort(chosen), len(others))
