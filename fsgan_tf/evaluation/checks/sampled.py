"""What an attack on a sample says of the images that it did not see."""

import numpy as np

from fsgan_tf.evaluation.checks.verdicts import judged
from fsgan_tf.results.findings import AttackResult, Check, Findings


def rest_is_bounded(result: Findings, attack: AttackResult) -> Check:
    """Warns where a random sample lost images, since the others then would too.

    Args:
      result: of the evaluation.
      attack: one that ran on samples.

    Returns:
      The check, whose detail says the bound.
    """
    nearest = np.concatenate([sample.nearest for sample in attack.samples])
    drawn = np.concatenate([sample.drawn for sample in attack.samples])
    others = sum(sample.num_others for sample in attack.samples)
    unseen = others - len(drawn)
    fooled, at_most = int(attack.fooled[drawn].sum()), attack.most_unseen_fooled
    found = judged(
        "warn" if fooled and unseen else "pass",
        f"{attack.name} fooled {int(attack.fooled[nearest].sum())} of the {len(nearest)} images "
        f"nearest to an error and {fooled} of {len(drawn)} drawn from the {others} others, so that "
        f"with 95% confidence it would fool at most {at_most} of the {unseen} others that it did "
        f"not see, which is {100 * at_most / result.num_examples:.1f} points of the worst-case "
        "accuracy.",
        holds="The images left out can hardly change the figure by more than this bound.",
        doubt="The images left out would fall too: run square, which attacks every survivor.",
    )
    return Check(f"{attack.name}_bounds_the_rest", *found)
