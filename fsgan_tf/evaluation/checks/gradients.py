"""Is there a gradient to follow, and does it speak of more than one point?"""

import numpy as np
import tensorflow as tf

from fsgan_tf import stateless_random
from fsgan_tf.attacks.parts import losses
from fsgan_tf.attacks.parts.batches import in_batches
from fsgan_tf.evaluation.checks.evidence import Evidence
from fsgan_tf.evaluation.checks.verdicts import Finding, judged

# Share of examples without a usable gradient above which gradient attacks say little.
_FEW_GRADIENTS = 0.05
# Pintor et al., arXiv:2106.09947: r = 8/255, so that each pixel moves by up to 4/255. They draw 100
# times; over a batch of images the mean hardly moves beyond 10.
_NOISE_WIDTH, _NUM_DRAWS, _DRAWS_TOGETHER = 8 / 255, 10, 5
# An undefended network lets the lead change by 0.13, and robust ones by 0.03 to 0.05 (WRN-10-2 on
# CIFAR-10); a loss of pure noise changes by 1.
_NOISY, _VERY_NOISY = 0.25, 0.5


def gradients_exist(evidence: Evidence) -> Finding:
    """AutoAttack's flag for zero gradients; Pintor et al.'s unavailable gradients."""
    sample, correct = evidence.sample, evidence.sample.correct
    cross_entropy, margin = (
        sample.rows(gradient).reshape(sample.count, -1)[correct]
        for gradient in (evidence.slope, evidence.gradient(losses.margin))
    )
    total = int(correct.sum())
    no_slope, no_margin = (
        int(np.sum(~gradient.any(axis=1))) for gradient in (cross_entropy, margin)
    )
    broken = int(np.sum(~np.isfinite(cross_entropy + margin).all(axis=1)))
    # One image of a few is chance, unless it is all.
    many = broken or no_slope > max(_FEW_GRADIENTS * total, 1) or no_slope == total > 0
    return judged(
        "fail" if many else "warn" if no_slope or no_margin else "pass",
        f"Of {total} images classified correctly, {no_slope} have a cross-entropy gradient of "
        f"exactly zero, {no_margin} such a margin gradient, and {broken} one that is not finite.",
        holds="On every image there is a gradient for attacks to follow.",
        doubt="Gradient attacks are blind on these images: trust attacks on a margin where only "
        "cross-entropy has no gradient, and gradient-free ones (square) elsewhere.",
    )


def loss_is_smooth(evidence: Evidence) -> Finding:
    """Pintor et al.'s unstable predictions: how much the loss differs a little way off.

    The loss is the lead of the true class, in logits, and an image counts for 1 at most: close to
    the boundary the lead is close to 0, and any change of it relatively large. It counts for 1 too
    where an answer nearby is no number.
    """
    sample = evidence.sample
    classifier, threat_model = evidence.evaluator.classifier, evidence.evaluator.threat_model
    lead = losses.true_class_lead(sample.labels, sample.logits)
    changes = []
    for first in range(0, _NUM_DRAWS, _DRAWS_TOGETHER):
        draws = range(first, first + _DRAWS_TOGETHER)
        noise = [
            stateless_random.uniform(sample.images.shape, tf.constant([evidence.result.seed, draw]))
            - 0.5
            for draw in draws
        ]
        together = [len(draws), 1, 1, 1]
        noisy = tf.tile(sample.images, together) + _NOISE_WIDTH * tf.concat(noise, 0)
        together_at_most = _DRAWS_TOGETHER * evidence.evaluator.batch_size
        logits = in_batches(classifier.logits, together_at_most, threat_model.clip(noisy))
        moved = losses.true_class_lead(tf.tile(sample.labels, together[:1]), logits)
        changes += [sample.rows(_relative(one - lead, lead)) for one in tf.split(moved, len(draws))]
    relative = np.mean(changes, axis=0)[sample.correct]
    change = float(np.mean(np.minimum(relative, 1))) if len(relative) else 0.0
    return judged(
        "fail" if change > _VERY_NOISY else "warn" if change > _NOISY else "pass",
        f"Noise of up to {255 * _NOISE_WIDTH / 2:g}/255 in each pixel changes the true class's "
        f"lead by {change:.1%} in the mean over {len(relative)} images and {_NUM_DRAWS} draws.",
        holds="The gradient at an image describes its surroundings too.",
        doubt="The mean over these draws still changes by chance: raise --eot."
        if classifier.draws
        else "The gradient tells little of what lies a step away: smooth the loss over several "
        "draws, or rely on gradient-free attacks (square, spsa1000).",
    )


def _relative(change: tf.Tensor, lead: tf.Tensor) -> tf.Tensor:
    """The change as a share of the lead: none of 0 is 0, and what is no number is infinite."""
    share = tf.where(change == 0, 0.0, tf.abs(change) / tf.abs(lead))
    return tf.where(tf.math.is_nan(share), np.inf, share)
