"""Does accuracy fall with epsilon as it must? Carlini et al., arXiv:1902.06705, section 4."""

import numpy as np

from fsgan_tf.evaluation.checks.evidence import Evidence
from fsgan_tf.evaluation.checks.verdicts import Finding, judged, level

# Accuracy that may come back from one radius to the next, and that may be left where none can be:
# a sign attack of few steps in a large ball misses an image now and then, but not one in ten.
_BAD_LUCK, _BROKEN = 0.02, 0.10


def epsilon_zero_equals_clean(evidence: Evidence) -> Finding:
    """The attack's own loop, with no room to move, finds the errors made without attack."""
    count = evidence.sample.count
    expected = int(evidence.result.clean_correct[evidence.sample.indices].sum())
    found = round(evidence.epsilon_curve.accuracies[0] * count)
    differing = abs(found - expected)
    return judged(
        # A near tie may fall differently in another graph, once; by chance, on a few images.
        ("pass", "warn", "fail")[min(differing, 2)]
        if not evidence.evaluator.classifier.draws
        else level(differing, differing / count, _BAD_LUCK, _BROKEN),
        f"Of {count} images {expected} are classified correctly, and {found} withstand an attack "
        "at epsilon 0.",
        holds="Attacks see the same classifier and the same images as the clean accuracy.",
        doubt="The classifier answers differently from call to call: look for randomness, state, "
        "or layers that work on batch statistics, before believing any figure.",
    )


def single_step_below_clean(evidence: Evidence) -> Finding:
    """An attack that helps the classifier points away from the errors, as masked gradients do.

    Here every image is attacked, misclassified ones too, and the final image counts.
    """
    clean = float(np.mean(evidence.sample.correct))
    single_step = 1 - float(np.mean(evidence.fooled_by_one_step))
    gain = single_step - clean
    return judged(
        level(round(gain * evidence.sample.count), gain, 0, 0),
        f"On {evidence.sample.count} images the accuracy is {clean:.1%} without attack and "
        f"{single_step:.1%} under FGSM.",
        holds="One step along the gradient does not help the classifier.",
        doubt="The attack helps, so the gradient misleads: look for what masks it, and trust "
        "only gradient-free attacks (square).",
    )


def accuracy_falls_with_epsilon(evidence: Evidence) -> Finding:
    """A larger ball contains the smaller one, so it cannot hold fewer adversarial images."""
    curve = evidence.epsilon_curve
    rises = np.diff(curve.accuracies)
    worst = int(np.argmax(rises))
    rise = float(rises[worst])
    return judged(
        level(round(rise * curve.num_examples), rise, _BAD_LUCK, _BROKEN),
        f"Over {len(curve.epsilons)} radii the accuracy falls from {curve.accuracies[0]:.1%} to "
        f"{curve.accuracies[-1]:.1%}; between neighbours it rises by {max(rise, 0):.1%} at most"
        + (
            f", from {curve.epsilons[worst]:.3g} to {curve.epsilons[worst + 1]:.3g}."
            if rise > 0
            else "."
        ),
        holds="The attack makes use of the room it is given.",
        doubt="The attack loses in a larger ball what it found in a smaller one: its gradient or "
        "its step size misleads it, so try other step sizes and gradient-free attacks.",
    )


def epsilon_curve_reaches_zero(evidence: Evidence) -> Finding:
    """At half the widest radius an image can be made solid grey, and then all look alike."""
    curve = evidence.epsilon_curve
    threat_model = evidence.evaluator.threat_model
    half = threat_model.widest(int(np.prod(evidence.sample.images.shape[1:]))) / 2
    at_half = curve.accuracies[curve.epsilons.index(half)]
    labels = evidence.sample.rows(evidence.sample.labels)
    chance = float(np.bincount(labels).max()) / len(labels)
    lowest = min(curve.accuracies)
    above_chance = level(
        round((at_half - chance) * len(labels)), at_half - chance, _BAD_LUCK, _BROKEN
    )
    above_zero = level(round(lowest * len(labels)), lowest, _BAD_LUCK, _BROKEN)
    return judged(
        max(above_chance, above_zero, key=("pass", "warn", "fail").index),
        f"At epsilon {half:g}, where all images can be made alike, {at_half:.1%} are classified "
        f"correctly (one answer for all: {chance:.1%} at most); the lowest is {lowest:.1%}.",
        holds="The attack finds the errors that must exist at so large an epsilon.",
        doubt="Errors exist there for certain and the attack does not find them, so those it does "
        "not find at the given epsilon prove nothing: look for masked gradients.",
    )


def unbounded_attack_fools_all(evidence: Evidence) -> Finding:
    """Pintor et al.'s unconstrained attack failure, arXiv:2106.09947."""
    curve = evidence.epsilon_curve
    left = round(curve.accuracies[-1] * curve.num_examples)
    return judged(
        level(left, curve.accuracies[-1], _BAD_LUCK, _BROKEN),
        f"Free to turn any image into any other (epsilon {curve.epsilons[-1]:g}), the attack fails "
        f"on {left} of {curve.num_examples} images.",
        holds="Where an adversarial image must exist, the attack finds one.",
        doubt="The attack cannot even turn an image into another one: its gradients are masked, or "
        "it is broken, so no accuracy under it is evidence.",
    )
