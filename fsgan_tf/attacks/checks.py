"""Signs that a robust accuracy should not be believed, each with a verdict.

Most are run on one batch of the evaluated examples. Where a check comes from is said at each;
"on evaluating" is Carlini et al., On Evaluating Adversarial Robustness, arXiv:1902.06705.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf
from cleverhans.tf2.utils import compute_gradient

from fsgan_tf.attacks import losses
from fsgan_tf.attacks.attack import Attack
from fsgan_tf.attacks.attacked_classifier import is_misclassified
from fsgan_tf.attacks.projected_gradient import ProjectedGradient, climb
from fsgan_tf.attacks.result import Check, Result

if TYPE_CHECKING:
    from fsgan_tf.attacks.engine import Evaluator

# Logits of one image that differ by more, relative to the largest, are random (AutoAttack: 1e-4).
_SAME_LOGITS = 1e-4
# Share of examples without a usable gradient above which gradient attacks say little.
_FEW_GRADIENTS = 0.05
# Share of the images fooled by one step that an iterative attack may miss by bad luck.
_BAD_LUCK, _WEAKER = 0.02, 0.10
# Gap between margin and cross-entropy attacks. Adversarially trained classifiers show 1 to 3
# points; Feature-Scatter, which AutoAttack takes from 60.6% to 36.6%, shows 9.
_NOTABLE_GAP, _LARGE_GAP = 0.05, 0.15
_MANY_REFUSED = 0.01


def run(
    evaluator: "Evaluator",
    images: np.ndarray,
    labels: np.ndarray,
    attacks: Sequence[Attack],
    result: Result,
) -> Iterator[Check]:
    """Yields the verdict of every check.

    Args:
      evaluator: the classifier and the threat model.
      images: those evaluated, `[n, h, w, c]`, float32 in [0, 1] or uint8.
      labels: integer `[n]`.
      attacks: those that ran.
      result: what they found.
    """
    sample = _Sample(evaluator, images, labels)
    yield _logits_not_probabilities(sample)
    yield _same_output_twice(sample)
    yield _gradients_exist(sample)
    yield _single_step_below_clean(evaluator, sample)
    yield _iterative_beats_single_step(evaluator, images, labels, attacks, result)
    yield _margin_agrees_with_cross_entropy(result)
    yield _successes_verified(result)


class _Sample:
    """The first batch of examples; `count` of them are there, the rest repeats them."""

    def __init__(self, evaluator: "Evaluator", images: np.ndarray, labels: np.ndarray):
        self.classifier = evaluator.classifier
        self.count = min(len(labels), evaluator.batch_size)
        batch = next(evaluator.batches(np.arange(self.count)))
        self.images, self.labels = evaluator.take(images, labels, batch)
        self.logits = self.classifier.logits(self.images)

    def number(self, flags: tf.Tensor) -> int:
        """How many of the sample's bool `[b]` flags are set."""
        return int(np.sum(flags.numpy()[: self.count]))


def _logits_not_probabilities(sample: _Sample) -> Check:
    logits = sample.logits.numpy()
    sums_to_one = np.allclose(logits.sum(axis=1), 1, atol=1e-3)
    if sums_to_one and logits.min() >= 0:
        return Check(
            "logits_not_probabilities",
            "fail",
            "Outputs are at least 0 and sum to 1, so they are probabilities: the attacks' losses "
            "then have vanishing gradients. Give the outputs before the softmax.",
        )
    return Check("logits_not_probabilities", "pass", "Outputs do not look like probabilities.")


def _same_output_twice(sample: _Sample) -> Check:
    again = sample.classifier.logits(sample.images)
    difference = float(tf.reduce_max(tf.abs(again - sample.logits)))
    scale = max(1.0, float(tf.reduce_max(tf.abs(sample.logits))))
    if difference > _SAME_LOGITS * scale:
        return Check(
            "same_output_twice",
            "fail",
            f"Two calls on the same images gave logits {difference:.3g} apart: the classifier is "
            "random, and attacks must average over its draws (expectation over transformation).",
        )
    return Check("same_output_twice", "pass", "Two calls on the same images agree.")


def _gradients_exist(sample: _Sample) -> Check:
    """AutoAttack's flag for zero gradients; on evaluating, section 4.2."""
    gradient = compute_gradient(
        sample.classifier.recording_logits_fn,
        losses.cross_entropy,
        sample.images,
        sample.labels,
        False,
    )
    pixel_axes = [1, 2, 3]
    zero = sample.number(tf.reduce_all(gradient == 0, axis=pixel_axes))
    broken = sample.number(tf.reduce_any(~tf.math.is_finite(gradient), axis=pixel_axes))
    detail = (
        f"Of {sample.count} images, {zero} have a cross-entropy gradient of exactly zero and "
        f"{broken} one that is not finite."
    )
    if not zero and not broken:
        return Check("gradients_exist", "pass", detail)
    many = broken > 0 or zero > _FEW_GRADIENTS * sample.count
    return Check(
        "gradients_exist",
        "fail" if many else "warn",
        f"{detail} Gradient attacks on that loss see nothing there: trust margin losses and "
        "gradient-free attacks.",
    )


def _single_step_below_clean(evaluator: "Evaluator", sample: _Sample) -> Check:
    """An attack that helps the classifier points away from the errors, as masked gradients do.

    Here every image is attacked, misclassified ones too, and the final image counts.
    """
    threat_model = evaluator.threat_model
    attacked = climb(
        sample.classifier,
        threat_model,
        sample.images,
        sample.images,
        sample.labels,
        loss="cross_entropy",
        num_steps=1,
        step_size=threat_model.epsilon,
        stop_when_fooled=False,
    ).last
    clean = 1 - sample.number(is_misclassified(sample.logits, sample.labels)) / sample.count
    wrong = is_misclassified(sample.classifier.logits(attacked), sample.labels)
    single_step = 1 - sample.number(wrong) / sample.count
    detail = (
        f"On {sample.count} images the accuracy is {clean:.1%} without attack and "
        f"{single_step:.1%} under FGSM."
    )
    if single_step > clean:
        return Check(
            "single_step_below_clean",
            "fail",
            f"{detail} The attack helps, so the gradient misleads: it is masked.",
        )
    return Check("single_step_below_clean", "pass", detail)


def _iterative_beats_single_step(
    evaluator: "Evaluator",
    images: np.ndarray,
    labels: np.ndarray,
    attacks: Sequence[Attack],
    result: Result,
) -> Check:
    """What one step fools, many smaller steps must fool (on evaluating, section 4.2)."""
    name = "iterative_beats_single_step"
    single = next((attack for attack in result.attacks if attack.name == "fgsm"), None)
    iterative = next((attack for attack in attacks if _climbs_cross_entropy(attack)), None)
    if single is None or iterative is None:
        return Check(name, "skipped", "Needs fgsm and an iterative attack among the attacks.")
    fooled = np.flatnonzero(single.fooled)[: evaluator.batch_size]
    if not len(fooled):
        return Check(name, "pass", "One step fooled nothing.")
    withstood = int(evaluator.evaluate(images[fooled], labels[fooled], [iterative]).robust.sum())
    detail = f"Of {len(fooled)} images that fgsm fools, {iterative.name} fails on {withstood}."
    if withstood <= max(1, _BAD_LUCK * len(fooled)):
        return Check(name, "pass", detail)
    return Check(
        name,
        "fail" if withstood > _WEAKER * len(fooled) else "warn",
        f"{detail} Iterating should only help: the gradient is masked, or the step does not fit.",
    )


def _climbs_cross_entropy(attack: Attack) -> bool:
    return (
        isinstance(attack, ProjectedGradient)
        and attack.loss == "cross_entropy"
        and attack.num_steps > 1
    )


def _margin_agrees_with_cross_entropy(result: Result) -> Check:
    """A large gap is a sign of masking: the paper's relatives showed it before they fell."""
    name = "margin_agrees_with_cross_entropy"
    pairs = [
        (pgd, cw)
        for position, pgd in enumerate(result.attacks)
        for cw in result.attacks[position + 1 :]
        if pgd.name.startswith("pgd") and cw.name == pgd.name.replace("pgd", "cw")
    ]
    if not pairs:
        return Check(name, "skipped", "Needs pgdN and cwN, with N the same, among the attacks.")
    pgd, cw = pairs[-1]
    gap = float(np.mean(cw.fooled & ~pgd.fooled))
    detail = f"{cw.name} fools {100 * gap:.1f} points more that {pgd.name} could not."
    if gap <= _NOTABLE_GAP:
        return Check(name, "pass", detail)
    return Check(
        name,
        "fail" if gap > _LARGE_GAP else "warn",
        f"{detail} Cross-entropy attacks overstate this classifier; stronger attacks may well "
        "lower its accuracy further.",
    )


def _successes_verified(result: Result) -> Check:
    refused = sum(attack.refused for attack in result.attacks)
    if not refused:
        return Check("successes_verified", "pass", "Every claimed success was verified.")
    many = refused > _MANY_REFUSED * result.num_examples
    return Check(
        "successes_verified",
        "fail" if many else "warn",
        f"{refused} claimed successes were refused: the image was infeasible, or a fresh call of "
        "the classifier got it right. They count as robust.",
    )
