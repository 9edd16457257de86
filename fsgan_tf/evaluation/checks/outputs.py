"""Does the classifier answer as attacks need it: with logits, the same ones each time?"""

import numpy as np
import tensorflow as tf

from fsgan_tf.evaluation.checks.evidence import Evidence
from fsgan_tf.evaluation.checks.verdicts import Finding, judged

# AutoAttack's flags: outputs above -1e-5 whose sums are 1 to 1e-5 are probabilities (here 1e-3, for
# classifiers in bfloat16), and logits 1e-4 apart, relative to the largest, random.
_SUM_OF_PROBABILITIES, _SAME_LOGITS = 1e-3, 1e-4
# Calls to average over, at least: fewer leave a gradient that is mostly noise. AutoAttack's version
# for random classifiers takes 20.
_FEWEST_DRAWS = 10


def logits_not_probabilities(evidence: Evidence) -> Finding:
    """AutoAttack's flag for softmax outputs."""
    logits = evidence.sample.rows(evidence.sample.logits)
    sums = logits.sum(axis=1)
    probabilities = logits.min() >= 0 and np.allclose(sums, 1, atol=_SUM_OF_PROBABILITIES)
    return judged(
        "fail" if probabilities else "pass",
        f"The smallest output is {logits.min():.3g}; an image's outputs sum to {sums.min():.3g} to "
        f"{sums.max():.3g}.",
        holds="The outputs are not probabilities, on which the losses' gradients would vanish.",
        doubt="Give the outputs before the softmax: on probabilities the losses' gradients vanish.",
    )


def same_output_twice(evidence: Evidence) -> Finding:
    """AutoAttack's flag for randomized classifiers."""
    sample, classifier = evidence.sample, evidence.evaluator.classifier
    # Of several draws, `logits` is their mean.
    call = classifier.given_logits if classifier.draws else classifier.logits
    once = evidence.batched(call, sample.images) if classifier.draws else sample.logits
    scale = max(1.0, float(tf.reduce_max(tf.abs(once))))
    again = evidence.batched(call, sample.images)
    difference = float(tf.reduce_max(tf.abs(again - once))) / scale
    seen = (
        f"Two calls on the same {sample.count} images gave logits up to {difference:.2g} apart, "
        "relative to the largest."
    )
    if difference > _SAME_LOGITS and classifier.draws:
        return judged(
            "pass" if classifier.draws >= _FEWEST_DRAWS else "warn",
            f"{seen} So each gradient and loss was averaged over {classifier.draws} "
            f"{'calls' if classifier.draws > 1 else 'call'}, and "
            f"images were judged by most of {evidence.evaluator.calls} calls.",
            holds="The classifier is random and was measured as one.",
            doubt=f"Fewer than {_FEWEST_DRAWS} calls tell an attack too little: give --eot=20.",
        )
    return judged(
        "fail" if difference > _SAME_LOGITS else "pass",
        seen,
        holds="The classifier answers alike each time, so attacks are judged by the one they "
        "attacked.",
        doubt="The classifier is random: give --eot=20, which averages each gradient over 20 calls "
        "(expectation over transformation) and lets most of many calls judge an image.",
    )
