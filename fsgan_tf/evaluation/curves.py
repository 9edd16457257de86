"""What a report draws: accuracy against epsilon, and an attack's loss against its steps."""

import dataclasses
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from fsgan_tf.attacks.parts.attacked_classifier import AttackedClassifier, is_misclassified
from fsgan_tf.attacks.parts.batches import padded
from fsgan_tf.attacks.parts.projected_gradient import LOSSES, ProjectedGradient, climb
from fsgan_tf.results.findings import EpsilonCurve, LossCurve
from fsgan_tf.threat_model import ThreatModel

# A path of 2.5 radii reaches any corner of the ball and leaves steps to improve there, as Madry et
# al.'s do (arXiv:1706.06083: 100 steps of 2.5 epsilon / 100).
_SWEEP_STEPS, _SWEEP_LENGTH = 10, 2.5
# Longer attacks are traced this far: what has settled by then stays so.
_TRACED_STEPS = 100
# Iterates of a batch that pass the classifier at once.
_JUDGED_TOGETHER = 11


class Trace(NamedTuple):
    """Every iterate of an attack from the clean image, on n examples and t steps.

    Attributes:
      losses: float32 `[t + 1, n]`, the loss climbed, at the start and after each step.
      fooled: bool `[t + 1, n]`, whether the iterate is feasible and misclassified.
    """

    losses: np.ndarray
    fooled: np.ndarray


def radii(threat_model: ThreatModel, num_values: int) -> tuple[float, ...]:
    """0, epsilon/4, epsilon/2, epsilon, 2 epsilon, ... below half the widest radius, half, all.

    The widest radius turns any image into any other, and half of it turns any image grey: in l_inf
    the pixel range and half of it.

    Args:
      threat_model: the radius, the norm and the pixel range.
      num_values: of an image.
    """
    epsilon = threat_model.epsilon
    width = threat_model.widest(num_values)
    found = {0.0, epsilon / 4, epsilon / 2, epsilon, width / 2, width}
    while 2 * epsilon < width / 2:
        epsilon *= 2
        found.add(epsilon)
    return tuple(sorted(found))


def sweep(
    classifier: AttackedClassifier,
    threat_model: ThreatModel,
    images: tf.Tensor,
    labels: tf.Tensor,
    count: int,
) -> EpsilonCurve:
    """Attacks a batch anew at each of `radii`, by steps up the margin from the clean image.

    A step is a quarter of the radius. No radius profits from what another found, so that the
    curve can show an attack that fails.

    Args:
      classifier: what is attacked.
      threat_model: the radius that the others are fractions and multiples of, and the pixel range.
      images: float32 `[b, h, w, c]` within the pixel range.
      labels: int32 `[b]` true labels.
      count: examples of the batch that count, its first ones.

    Returns:
      The curve; misclassified images count as fooled at every radius.
    """

    def withstanding(rows: np.ndarray, radius: float) -> np.ndarray:
        """Those of the batch's rows whose image stands at a radius."""
        if not len(rows):
            return rows
        chosen = padded(rows, len(labels))
        pixels = tf.gather(images, chosen)
        # A ball of radius 0, which no threat model allows, is what steps of size 0 reach.
        ball = dataclasses.replace(threat_model, epsilon=radius or threat_model.epsilon)
        path = climb(
            classifier,
            ball,
            pixels,
            pixels,
            tf.gather(labels, chosen),
            loss="margin",
            num_steps=_SWEEP_STEPS if radius else 1,
            step_size=_SWEEP_LENGTH * radius / _SWEEP_STEPS,
        )
        wrong = path.success
        if classifier.draws:  # A success of the path is one of every draw.
            wrong = is_misclassified(classifier.logits(path.best), tf.gather(labels, chosen))
        fooled = wrong & ball.is_feasible(path.best, pixels)
        return rows[~fooled.numpy()[: len(rows)]]

    epsilons = radii(threat_model, int(np.prod(images.shape[1:])))
    # What is misclassified without attack need not be attacked at the other radii.
    correct = withstanding(np.arange(count), epsilons[0])
    standing = [correct, *(withstanding(correct, radius) for radius in epsilons[1:])]
    accuracies = tuple(len(rows) / count for rows in standing)
    name = f"{_SWEEP_STEPS} steps on the margin, each epsilon/{_SWEEP_STEPS / _SWEEP_LENGTH:g}"
    return EpsilonCurve(name, epsilons, accuracies, count)


def joined(curves: Iterable[EpsilonCurve]) -> EpsilonCurve:
    """One curve of what several show, each of other examples and of the same radii."""
    parts = list(curves)
    total = sum(part.num_examples for part in parts)
    standing = [[round(share * part.num_examples) for share in part.accuracies] for part in parts]
    accuracies = tuple(sum(counts) / total for counts in zip(*standing, strict=True))
    return dataclasses.replace(parts[0], accuracies=accuracies, num_examples=total)


def trace(
    classifier: AttackedClassifier,
    threat_model: ThreatModel,
    images: tf.Tensor,
    labels: tf.Tensor,
    count: int,
    attack: ProjectedGradient,
) -> Trace:
    """Follows an attack from the clean image, one step after another, for at most 100 steps.

    It judges each iterate for itself, so that it can contradict what the attack keeps and returns.

    Args:
      classifier: what is attacked.
      threat_model: the ball and the pixel range.
      images: float32 `[b, h, w, c]` within the pixel range.
      labels: int32 `[b]` true labels.
      count: examples of the batch that count, its first ones.
      attack: gives the loss, the steps and their size.

    Returns:
      The path.
    """
    path = [images]
    for _ in range(traced_steps(attack)):
        path.append(
            climb(
                classifier,
                threat_model,
                images,
                path[-1],
                labels,
                loss=attack.loss,
                num_steps=1,
                step_size=attack.step_size,
                stop_when_fooled=False,
                judge_last=False,
            ).last
        )
    values, fooled = [], []
    for first in range(0, len(path), _JUDGED_TOGETHER):
        iterates = path[first : first + _JUDGED_TOGETHER]
        pixels, targets = tf.concat(iterates, 0), tf.tile(labels, [len(iterates)])
        logits = classifier.logits(pixels)
        clean = tf.tile(images, [len(iterates), 1, 1, 1])
        wrong = is_misclassified(logits, targets) & threat_model.is_feasible(pixels, clean)
        found = LOSSES[attack.loss](labels=targets, logits=logits)
        values.append(found.numpy().reshape(len(iterates), -1)[:, :count])
        fooled.append(wrong.numpy().reshape(len(iterates), -1)[:, :count])
    return Trace(np.concatenate(values), np.concatenate(fooled))


def traced_steps(attack: ProjectedGradient) -> int:
    """How many of an attack's steps `trace` follows."""
    return min(attack.num_steps, _TRACED_STEPS)


def best_so_far(traced: Trace) -> np.ndarray:
    """The highest loss up to each step, float32 `[t + 1, m]`, of m examples.

    Those are left out whose losses are not all finite, since nothing can be drawn of them.
    """
    finite = np.all(np.isfinite(traced.losses), axis=0)
    return np.maximum.accumulate(traced.losses[:, finite], axis=0)


def loss_curve(attack: ProjectedGradient, traced: Trace) -> LossCurve | None:
    """The mean of `best_so_far`; None where no example has one."""
    best = best_so_far(traced)
    if not best.size:
        return None
    return LossCurve(attack.name, tuple(best.mean(axis=1, dtype=np.float64).tolist()))
