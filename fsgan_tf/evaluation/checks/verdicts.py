"""What a check says of what it saw, and from when on it objects."""

from typing import NamedTuple

from fsgan_tf.results.findings import Findings

# One image more or less is chance, however small the sample.
CHANCE = 1


class Finding(NamedTuple):
    """A `Check` without its name, which is that of the function that found it.

    Attributes:
      verdict: `pass`, `warn`, `fail` or `skipped`.
      detail: one sentence: what was seen.
      advice: one sentence: what to do about it, or what a pass lets one conclude.
    """

    verdict: str
    detail: str
    advice: str


def judged(verdict: str, detail: str, *, holds: str, doubt: str) -> Finding:
    """Of a check that ran, with the advice that fits its verdict."""
    return Finding(verdict, detail, holds if verdict == "pass" else doubt)


def skipped(missing: str, *, advice: str) -> Finding:
    """Of a check that lacked something."""
    return Finding("skipped", missing, advice)


def level(number: int, share: float, notable: float, large: float) -> str:
    """`pass` up to one image or a notable share, `warn` up to a large one, else `fail`."""
    if number <= CHANCE or share <= notable:
        return "pass"
    return "fail" if share > large else "warn"


class Further(NamedTuple):
    """What a further attack found among images that no attack had fooled.

    Attributes:
      fooled: of those tried.
      tried: the nearest to an error.
      standing: how many there were to try.
      withstood: of how many these were drawn.
    """

    fooled: int
    tried: int
    standing: int
    withstood: int

    def points(self, result: Findings) -> float:
        """What it stands for of the worst-case accuracy, as a share of all images.

        Of m that stand, g newly fooled are g/m of it; those not tried count as standing.
        """
        return self.fooled / max(self.standing, 1) * result.worst_case_accuracy

    def __str__(self) -> str:
        """A phrase on whom was tried."""
        of = f"{self.standing} images"
        if self.standing < self.withstood:
            of = f"{self.standing} images drawn from the {self.withstood}"
        nearest = f"the {self.tried} nearest to an error of " if self.tried < self.standing else ""
        return f"{nearest}{of} that withstood every attack"
