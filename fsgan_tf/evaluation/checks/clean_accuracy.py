"""Does the classifier classify at all? A bad one has a robust accuracy that says nothing."""

import numpy as np
from scipy.stats import binom

from fsgan_tf.evaluation.checks.evidence import Evidence
from fsgan_tf.evaluation.checks.verdicts import Finding, judged

# A guess would do as well with at least this probability; fewer images cannot tell.
_LIKELY, _ENOUGH = 0.01, 30


def clean_accuracy_above_chance(evidence: Evidence) -> Finding:
    """Clean accuracy near that of guessing comes of pixels or labels that the model never saw.

    Where one class has most of the images, naming it each time is no better than a guess either.
    """
    correct, num_classes = evidence.result.clean_correct, int(evidence.sample.logits.shape[1])
    count, any_class = len(correct), 1 / num_classes
    commonest = float(np.bincount(evidence.labels).max()) / count
    guessed = _is_likely(correct, any_class)
    doubtful = "fail" if guessed and count >= _ENOUGH else "warn"
    too_few = correct.mean() > any_class and count < _ENOUGH
    return judged(
        doubtful if guessed or _is_likely(correct, commonest) else "pass",
        f"{correct.mean():.1%} of {count} images are classified correctly without attack; guessing "
        f"among {num_classes} classes gives {any_class:.1%}, and naming the commonest one each "
        f"time {commonest:.1%}.",
        holds="The classifier is better than chance on these images.",
        doubt="Naming the commonest class each time does about as well, and no attack changes such "
        "an answer: evaluate on about as many images of each class."
        if not guessed
        else "So few images cannot tell it from guessing: evaluate on more."
        if too_few
        else "The classifier is no better than chance on these images: check the pixels it takes "
        "(--input_range, --mean, --std, --channel_order), the order of its classes, and "
        "whether it is trained.",
    )


def _is_likely(correct: np.ndarray, chance: float) -> bool:
    """Whether guesses that are each right with this chance could be right as often."""
    return float(binom.sf(int(correct.sum()) - 1, len(correct), chance)) > _LIKELY


def answers_are_numbers(evidence: Evidence) -> Finding:
    """An answer of NaN counts as wrong, though it may only tell of a division by zero."""
    result, examples, evaluator = evidence.result, evidence.result.examples, evidence.evaluator
    some = evidence.drawn(np.arange(len(examples.labels)), evidence.size)
    broken = np.zeros(len(examples.labels), bool)
    for batch in evaluator.batches(some):
        pixels, _ = evaluator.take(examples.images, examples.labels, batch)
        broken[batch] = np.isnan(evaluator.classifier.given_logits(pixels)).any(axis=1)
    return judged(
        "fail" if result.unanswered or broken.any() else "pass",
        f"The classifier answers NaN on {result.unanswered} of {result.num_examples} images "
        f"without attack, and on {int(broken.sum())} of {len(some)} adversarial images.",
        holds="Every answer is a number.",
        doubt="Such images count as misclassified: find the layer that makes NaN, or the images "
        "that it makes it of.",
    )
