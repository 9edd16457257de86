"""Does the classifier answer as attacks need it: with logits, the same ones each time?"""

import numpy as np
import tensorflow as tf

from fsgan_tf.evaluation.checks.evidence import Evidence, judged
from fsgan_tf.evaluation.result import Check

# AutoAttack's flags: outputs above -1e-5 whose sums are 1 to 1e-5 are probabilities (here 1e-3, for
# classifiers in bfloat16), and logits 1e-4 apart, relative to the largest, random.
_SUM_OF_PROBABILITIES, _SAME_LOGITS = 1e-3, 1e-4


def logits_not_probabilities(evidence: Evidence) -> Check:
    """AutoAttack's flag for softmax outputs."""
    logits = evidence.sample.rows(evidence.sample.logits)
    sums = logits.sum(axis=1)
    probabilities = logits.min() >= 0 and np.allclose(sums, 1, atol=_SUM_OF_PROBABILITIES)
    return judged(
        "logits_not_probabilities",
        "fail" if probabilities else "pass",
        f"The smallest output is {logits.min():.3g}; an image's outputs sum to {sums.min():.3g} to "
        f"{sums.max():.3g}.",
        holds="The outputs are not probabilities, on which the losses' gradients would vanish.",
        doubt="Give the outputs before the softmax: on probabilities the losses' gradients vanish.",
    )


def same_output_twice(evidence: Evidence) -> Check:
    """AutoAttack's flag for randomized classifiers."""
    sample = evidence.sample
    again = evidence.evaluator.classifier.logits(sample.images)
    scale = max(1.0, float(tf.reduce_max(tf.abs(sample.logits))))
    difference = float(tf.reduce_max(tf.abs(again - sample.logits))) / scale
    return judged(
        "same_output_twice",
        "fail" if difference > _SAME_LOGITS else "pass",
        f"Two calls on the same {sample.count} images gave logits up to {difference:.2g} apart, "
        "relative to the largest.",
        holds="The classifier answers alike each time, so attacks are judged by the one they "
        "attacked.",
        doubt="The classifier is random: average each gradient and each verdict over its draws "
        "(expectation over transformation), which these attacks do not do.",
    )
