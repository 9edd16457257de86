"""What an attack on a sample says of the images that it did not see."""

from fsgan_tf.attacks.parts.sample import Sample
from fsgan_tf.evaluation.checks.verdicts import judged
from fsgan_tf.results.findings import AttackResult, Check, Findings


def rest_is_bounded(result: Findings, attack: AttackResult, sample: Sample) -> Check:
    """Warns where a random sample lost images, since the others then would too.

    Args:
      result: of the evaluation.
      attack: one that ran on a sample.
      sample: that sample.

    Returns:
      The check, whose detail says the bound.
    """
    fooled = int(attack.fooled[sample.drawn].sum())
    unseen = sample.num_unseen
    share, points = attack.share_of_unseen, 100 * attack.unseen_share(result.num_examples)
    found = judged(
        "warn" if fooled and unseen else "pass",
        f"{attack.name} fooled {int(attack.fooled[sample.nearest].sum())} of the "
        f"{len(sample.nearest)} images nearest to an error and {fooled} of {len(sample.drawn)} "
        f"drawn from the {sample.num_others} others, so that with 95% confidence it "
        f"would fool at most {share:.1%} of the {unseen} that it did not see, which is "
        f"{points:.1f} points of the worst-case accuracy.",
        holds="The images left out can hardly change the figure by more than this bound.",
        doubt="The images left out would fall too: run square, which attacks every survivor.",
    )
    return Check(f"{attack.name}_bounds_the_rest", *found)
