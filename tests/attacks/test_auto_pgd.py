"""APGD; with PyTorch and AUTO_ATTACK_REFERENCE=FOLDER, also against the authors' code (slow)."""

import importlib.util
import os
import sys

import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf import draws
from fsgan_tf.attacks import Evaluator, auto_pgd, by_names
from fsgan_tf.attacks.attacked_classifier import AttackedClassifier, is_misclassified
from fsgan_tf.attacks.auto_pgd import AutoPGD
from fsgan_tf.threat_model import ThreatModel

CE = AutoPGD("apgd_ce", loss="cross_entropy", num_steps=100, restarts=1)
TARGETED = AutoPGD("apgd_t", loss="targeted_dlr", num_steps=100, restarts=9)

REFERENCE = os.environ.get("AUTO_ATTACK_REFERENCE")


def _seeds(count, key=7):
    return np.stack([np.full(count, key), np.arange(count)], axis=1).astype(np.int64)


def _run(attack, classifier, threat_model, images, labels, restart=0, seeds=None):
    if not isinstance(classifier, AttackedClassifier):
        classifier = AttackedClassifier(classifier)
    seeds = _seeds(len(images)) if seeds is None else seeds
    arguments = [tf.constant(value) for value in (images, labels, seeds)]
    return attack.run(classifier, threat_model, *arguments, restart)


def _climb(logits_fn, epsilon, images, labels, targets, loss_fn, num_steps=100):
    """The loop's end, for what `run` does not tell."""
    return auto_pgd._climb(
        AttackedClassifier(logits_fn),
        loss_fn,
        (0.0, 1.0),
        *(tf.constant(value) for value in (images, labels, targets, _seeds(len(images)))),
        tf.constant(epsilon),
        tf.constant(num_steps),
        auto_pgd.Intervals(*map(tf.constant, auto_pgd.intervals(num_steps))),
    )


def _start(images, epsilon):
    """The random start, in NumPy: noise stretched until it touches the ball's surface."""
    starts = []
    for image, seed in zip(images, _seeds(len(images)), strict=True):
        noise = 2 * draws.uniform(list(image.shape), tf.constant(seed)).numpy() - 1
        starts.append(image + np.float32(epsilon) * noise / np.abs(noise).max())
    return np.clip(np.stack(starts), 0, 1)


# The losses.


@pytest.mark.parametrize("num_classes", [4, 10])
def test_targeted_dlr_against_numpy(num_classes):
    generator = np.random.default_rng(0)
    logits = (30 * generator.normal(size=(40, num_classes))).astype(np.float32)
    labels = generator.integers(0, num_classes, 40).astype(np.int32)
    targets = (labels + generator.integers(1, num_classes, 40).astype(np.int32)) % num_classes
    expected = []
    for row, label, target in zip(logits.astype(np.float64), labels, targets, strict=True):
        ordered = sorted(row, reverse=True)
        denominator = ordered[0] - 0.5 * (ordered[2] + ordered[3]) + 1e-12
        expected.append(-(row[label] - row[target]) / denominator)
    loss = auto_pgd.targeted_dlr(*map(tf.constant, (logits, labels, targets)))
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    scaled = auto_pgd.targeted_dlr(*map(tf.constant, (7 * logits + 3, labels, targets)))
    np.testing.assert_allclose(scaled, expected, rtol=1e-4)


def test_equal_logits_have_a_finite_loss():
    zeros = tf.zeros([1, 5])
    assert auto_pgd.targeted_dlr(zeros, tf.constant([0]), tf.constant([1])).numpy() == 0


def test_targeted_margin_by_hand():
    loss = auto_pgd.targeted_margin(
        tf.constant([[5.0, 2.0, 1.0]] * 2), tf.constant([0, 2]), tf.constant([1, 0])
    )
    np.testing.assert_array_equal(loss, [-3, 4])


def test_targets_are_the_likeliest_wrong_classes():
    logits = tf.constant([[4.0, 1.0, 3.0, 2.0], [4.0, 1.0, 3.0, 3.0]])
    labels = tf.constant([0, 2])
    ranked = [auto_pgd.likeliest_wrong_class(logits, labels, rank).numpy() for rank in range(3)]
    np.testing.assert_array_equal(np.transpose(ranked), [[2, 3, 1], [0, 3, 1]])


# The step rule, against a port of it on quadratic logits.


@pytest.mark.parametrize(
    ("num_steps", "expected"), [(100, (22, 3, 6)), (50, (11, 1, 3)), (5, (1, 1, 1))]
)
def test_intervals(num_steps, expected):
    assert auto_pgd.intervals(num_steps) == expected


class _Quadratic:
    """Logits b_k - 2 sum_p w_kp (x_p - m_kp)^2 over the pixels, and a loss's gradient by hand."""

    def __init__(self, num_classes, num_pixels=12):
        generator = np.random.default_rng(5)
        shape = (num_classes, num_pixels)
        self.weights = generator.uniform(0.5, 4, shape).astype(np.float32)
        self.centres = generator.uniform(0, 1, shape).astype(np.float32)
        self.biases = np.zeros(num_classes, np.float32)
        self.biases[0] = 2.5

    def logits(self, pixels):
        flat = tf.reshape(pixels, [-1, 1, self.weights.shape[1]])
        return self.biases - 2 * tf.reduce_sum(self.weights * (flat - self.centres) ** 2, axis=2)

    def loss_and_gradient(self, pixels, labels, targets, loss):
        offset = pixels.reshape(len(pixels), 1, -1) - self.centres
        logits = self.biases - 2 * (self.weights * offset**2).sum(2)
        by_loss = {"cross_entropy": self._cross_entropy, "targeted_dlr": self._targeted_dlr}
        value, by_logits = by_loss[loss](logits.astype(np.float64), labels, targets)
        by_pixels = np.einsum("bk,bkp->bp", by_logits, -4.0 * self.weights * offset)
        return value, by_pixels.reshape(pixels.shape), logits.argmax(1) != labels

    @staticmethod
    def _cross_entropy(logits, labels, targets):
        del targets
        one_hot = np.eye(logits.shape[1])[labels]
        shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        return -np.log((one_hot * shares).sum(1)), shares - one_hot

    @staticmethod
    def _targeted_dlr(logits, labels, targets):
        one_hot = np.eye(logits.shape[1])
        order = np.argsort(-logits, axis=1)
        numerator_by = one_hot[targets] - one_hot[labels]
        denominator_by = one_hot[order[:, 0]] - (one_hot[order[:, 2]] + one_hot[order[:, 3]]) / 2
        numerator = (numerator_by * logits).sum(1, keepdims=True)
        denominator = (denominator_by * logits).sum(1, keepdims=True)
        gradient = numerator_by / denominator - numerator * denominator_by / denominator**2
        return (numerator / denominator)[:, 0], gradient


def _port(problem, images, epsilon, labels, targets, loss, num_steps):
    """Algorithm 1 of arXiv:2003.01690, one example at a time, all losses kept."""
    checkpoints, share, width = [], 0.22, 0.22
    while share < 1:
        checkpoints.append(round(share * num_steps))
        width = max(width - 0.03, 0.06)
        share += width
    ends = []
    for index, start in enumerate(_start(images, epsilon)):
        lower = np.maximum(images[index] - np.float32(epsilon), 0)
        upper = np.minimum(images[index] + np.float32(epsilon), 1)

        def at(pixels, index=index):
            one = slice(index, index + 1)
            value, gradient, wrong = problem.loss_and_gradient(
                pixels[None], labels[one], targets[one], loss
            )
            return value[0], gradient[0], wrong[0]

        value, gradient, fooled = at(start)
        best = best_gradient = None
        best, best_value, best_gradient = start, value, gradient
        # The authors' list of losses starts after the first step and is 0 before.
        history = [0.0]
        x = before = start
        eta = np.float32(2 * epsilon)
        last_eta, last_best_value, last_checkpoint = None, value, 0
        halvings = []
        for step in range(1, num_steps + 1):
            z = np.clip(x + eta * np.sign(gradient).astype(np.float32), lower, upper)
            if step == 1:
                moved = z
            else:
                a = np.float32(0.75)
                moved = np.clip(x + a * (z - x) + (1 - a) * (x - before), lower, upper)
            before, x = x, moved
            value, gradient, wrong = at(x)
            fooled |= wrong
            history.append(value)
            if value > best_value:
                best, best_value, best_gradient = x, value, gradient
            if step in checkpoints:
                length = step - last_checkpoint
                rises = np.sum(np.diff(history[last_checkpoint:]) > 0)
                unchanged = last_eta == eta and last_best_value == best_value
                last_eta, last_best_value, last_checkpoint = eta, best_value, step
                if rises <= 0.75 * length or unchanged:
                    eta = eta / 2
                    x, gradient = best, best_gradient
                    halvings.append(step)
        ends.append((best, best_value, eta, fooled, halvings))
    return [np.stack(column) for column in list(zip(*ends, strict=True))[:4]], [
        end[4] for end in ends
    ]


@pytest.mark.parametrize("num_steps", [100, 50])
@pytest.mark.parametrize("loss", ["cross_entropy", "targeted_dlr"])
def test_the_path_is_that_of_algorithm_1(loss, num_steps):
    problem, epsilon = _Quadratic(num_classes=5), 0.2
    images = np.random.default_rng(2).uniform(0, 1, (24, 2, 2, 3)).astype(np.float32)
    labels = np.zeros(24, np.int32)
    targets = (1 + np.arange(24, dtype=np.int32)) % 4 + 1
    (best, best_loss, step_size, fooled), halvings = _port(
        problem, images, epsilon, labels, targets, loss, num_steps
    )
    loss_fn = {
        "cross_entropy": auto_pgd._cross_entropy,
        "targeted_dlr": auto_pgd.targeted_dlr,
    }[loss]
    end = _climb(problem.logits, epsilon, images, labels, targets, loss_fn, num_steps)
    print(fooled.sum(), sorted(set(map(tuple, halvings))), step_size)
    np.testing.assert_array_equal(end.success, fooled)
    same = ~fooled
    np.testing.assert_allclose(
        end.pace.step_size.numpy()[same], step_size[same], rtol=1e-6
    )
    np.testing.assert_allclose(end.best_loss.numpy()[same], best_loss[same], rtol=1e-4)
    np.testing.assert_allclose(end.best.pixels.numpy()[same], best[same], atol=1e-5)
