"""Does the classifier classify at all? A bad one has a robust accuracy that says nothing."""

import numpy as np
from scipy.stats import binom

from fsgan_tf.evaluation.checks.evidence import Evidence, judged
from fsgan_tf.results.findings import Check

# A guess would do as well with at least this probability; fewer images cannot tell.
_LIKELY, _ENOUGH = 0.01, 30


def clean_accuracy_above_chance(evidence: Evidence) -> Check:
    """Clean accuracy near that of guessing comes of pixels or labels that the model never saw."""
    correct = evidence.result.clean_correct
    count, num_classes = len(correct), int(evidence.sample.logits.shape[1])
    by_chance = float(binom.sf(int(correct.sum()) - 1, count, 1 / num_classes))
    doubtful = "fail" if count >= _ENOUGH else "warn"
    too_few = correct.mean() > 1 / num_classes and count < _ENOUGH
    return judged(
        "clean_accuracy_above_chance",
        doubtful if by_chance > _LIKELY else "pass",
        f"{correct.mean():.1%} of {count} images are classified correctly without attack; guessing "
        f"among {num_classes} classes gives {1 / num_classes:.1%}.",
        holds="The classifier is better than chance on these images.",
        doubt="So few images cannot tell it from guessing: evaluate on more."
        if too_few
        else "The classifier is no better than chance on these images: check the pixels it takes "
        "(--input_range, --mean, --std, --channel_order), the order of its classes, and "
        "whether it is trained.",
    )


def answers_are_numbers(evidence: Evidence) -> Check:
    """An answer of NaN counts as wrong, though it may only tell of a division by zero."""
    logits = evidence.sample.rows(evidence.sample.logits)
    unanswered = int(np.isnan(logits).any(axis=1).sum())
    return judged(
        "answers_are_numbers",
        "fail" if unanswered else "pass",
        f"The classifier answers NaN on {unanswered} of {len(logits)} images.",
        holds="Every answer is a number.",
        doubt="Such images count as misclassified: find the layer that makes NaN, or the images "
        "that it makes it of.",
    )
