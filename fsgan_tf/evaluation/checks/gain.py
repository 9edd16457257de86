"""What a further attack gains on the images that the evaluation left standing."""

from fsgan_tf.attacks.parts.attack import Attack
from fsgan_tf.evaluation.checks.evidence import Evidence
from fsgan_tf.evaluation.checks.verdicts import Finding, Further, judged, level

# Points of worst-case accuracy. Ten restarts of PGD-20 instead of one take 1.8 points from Madry's
# network (its challenge's table), so one or two more take less than a point; what takes five was
# missing from the evaluation.
_NOTABLE_GAIN, _LARGE_GAIN = 0.01, 0.05


def gain(
    evidence: Evidence,
    attack: Attack,
    called: str,
    *,
    holds: str,
    doubt: str,
    notable: float = _NOTABLE_GAIN,
) -> Finding:
    """Whether the figure would fall notably if the evaluation had an attack more.

    Args:
      evidence: what stands; some of it is attacked, see `Evidence.further`.
      attack: the further one.
      called: how the reader knows it.
      holds: advice where it gains nothing notable.
      doubt: advice where it does.
      notable: points of worst-case accuracy, as a share, that may go unremarked.

    Returns:
      What the check found.
    """
    return judged_gain(
        evidence, evidence.further(attack), called, holds=holds, doubt=doubt, notable=notable
    )


def judged_gain(
    evidence: Evidence,
    found: Further,
    called: str,
    *,
    holds: str,
    doubt: str,
    notable: float = _NOTABLE_GAIN,
) -> Finding:
    """`gain`, of what the attack has found already."""
    share = found.points(evidence.result)
    return judged(
        level(found.fooled, share, notable, _LARGE_GAIN),
        f"Of {found}, {called} fools {found.fooled}, which is {100 * share:.1f} points of the "
        "worst-case accuracy.",
        holds=holds,
        doubt=doubt,
    )


def is_notable(found: Further, evidence: Evidence) -> bool:
    """Whether `judged_gain` would not pass."""
    return level(found.fooled, found.points(evidence.result), _NOTABLE_GAIN, _LARGE_GAIN) != "pass"
