"""APGD; with PyTorch and AUTO_ATTACK_REFERENCE=FOLDER, also against the authors' code (slow)."""

import importlib.util
import itertools
import os
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf import stateless_random
from fsgan_tf.attacks.parts import auto_pgd, losses
from fsgan_tf.attacks.parts.attacked_classifier import AttackedClassifier, is_misclassified
from fsgan_tf.attacks.parts.auto_pgd import AutoPGD
from fsgan_tf.attacks.parts.step_sizes import Intervals, intervals
from fsgan_tf.attacks.parts.targets import likeliest_wrong_class
from fsgan_tf.attacks.registry import by_names
from fsgan_tf.evaluation.engine import Evaluator
from fsgan_tf.threat_model import ThreatModel

CE = AutoPGD("apgd_ce", loss="cross_entropy", num_steps=100, restarts=1)
TARGETED = AutoPGD("apgd_t", loss="targeted_dlr", num_steps=100, restarts=9)
UNTARGETED = AutoPGD("apgd_dlr", loss="dlr", num_steps=100, restarts=1)

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
        ThreatModel(epsilon),
        *(tf.constant(value) for value in (images, labels, targets, _seeds(len(images)))),
        tf.constant(num_steps),
        Intervals(*map(tf.constant, intervals(num_steps))),
    )


def _start(images, epsilon):
    """The random start, in NumPy: noise stretched until it touches the ball's surface."""
    starts = []
    for image, seed in zip(images, _seeds(len(images)), strict=True):
        noise = 2 * stateless_random.uniform(list(image.shape), tf.constant(seed)).numpy() - 1
        starts.append(image + np.float32(epsilon) * noise / np.abs(noise).max())
    return np.clip(np.stack(starts), 0, 1)


# The step rule, against a port of it on wavy logits.


class _Waves:
    """Logits A sin(F x) + b of the pixels x, and a loss's gradient by hand."""

    def __init__(self, num_pixels, num_classes, bias):
        generator = np.random.default_rng(5)
        self.frequencies = (3 * generator.normal(size=(num_pixels, 16))).astype(np.float32)
        self.amplitudes = (0.5 * generator.normal(size=(16, num_classes))).astype(np.float32)
        self.biases = np.eye(num_classes, dtype=np.float32)[0] * np.float32(bias)

    def logits(self, pixels):
        phases = tf.reshape(pixels, [-1, len(self.frequencies)]) @ self.frequencies
        return tf.sin(phases) @ self.amplitudes + self.biases

    def loss_and_gradient(self, pixels, labels, targets, loss):
        phases = pixels.reshape(len(pixels), -1) @ self.frequencies
        logits = np.sin(phases) @ self.amplitudes + self.biases
        by_loss = {"cross_entropy": self._cross_entropy, "targeted_dlr": self._targeted_dlr}
        value, by_logits = by_loss[loss](logits.astype(np.float64), labels, targets)
        by_pixels = ((by_logits @ self.amplitudes.T) * np.cos(phases)) @ self.frequencies.T
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


# p_j of section 4.1 times 100; the authors' code rounds every interval down, to at least 1. Short
# climbs have checkpoints where long ones rarely go: after a first step that lowered the loss, and
# where every step raised it but none to a new maximum.
_CHECKPOINTS = {
    100: [22, 41, 57, 70, 80, 87, 93, 99],
    50: [11, 21, 30, 38, 45],
    8: [1, 2, 3, 4, 5, 6, 7, 8],
}


def _port(problem, images, epsilon, labels, targets, loss, num_steps):
    """Algorithm 1 of arXiv:2003.01690, one example at a time, all losses kept."""
    checkpoints = _CHECKPOINTS[num_steps]
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


@pytest.mark.parametrize("num_steps", [100, 50, 8])
@pytest.mark.parametrize("loss", ["cross_entropy", "targeted_dlr"])
def test_the_path_is_that_of_algorithm_1(loss, num_steps):
    problem, epsilon = _Waves(12, num_classes=5, bias=5), 0.1
    images = np.random.default_rng(2).uniform(0, 1, (24, 2, 2, 3)).astype(np.float32)
    labels = np.zeros(24, np.int32)
    targets = (1 + np.arange(24, dtype=np.int32)) % 4 + 1
    (best, best_loss, step_size, fooled), halvings = _port(
        problem, images, epsilon, labels, targets, loss, num_steps
    )
    loss_fn = {
        "cross_entropy": auto_pgd._cross_entropy,
        "targeted_dlr": losses.targeted_dlr,
    }[loss]
    end = _climb(problem.logits, epsilon, images, labels, targets, loss_fn, num_steps)
    # A loss or a gradient that is 0 but for rounding may send a late step the other way.
    most = 0.95
    np.testing.assert_array_equal(end.success, fooled)
    standing = ~fooled
    assert len({tuple(steps) for steps in np.array(halvings, object)[standing]}) > 1
    same_pace = np.isclose(end.pace.step_size, step_size, rtol=1e-6)[standing]
    same_pixels = np.isclose(end.best.pixels, best, atol=1e-6)[standing]
    assert same_pace.mean() > most
    assert same_pixels.mean() > most
    np.testing.assert_allclose(end.best_loss.numpy()[standing], best_loss[standing], rtol=1e-5)


# The attack.


def test_parameters_and_cost():
    assert TARGETED.parameters == {"loss": "targeted_dlr", "num_steps": 100, "restarts": 9}
    assert (CE.cost, TARGETED.cost) == (101, 909)


@pytest.mark.parametrize("attack", [CE, TARGETED], ids=lambda attack: attack.name)
def test_at_least_as_strong_as_pgd20(attack, network, network_labels, images, ball):
    pgd = by_names(["pgd20"], ball.epsilon)
    result = Evaluator(network, ball, 24).attack(
        images, network_labels, [attack, *pgd], standalone=True
    )
    assert result.accuracy(attack.name) <= result.accuracy("pgd20") < result.clean_accuracy
    assert result.worst_case_accuracy > 0


@pytest.mark.parametrize(
    ("attack", "num_classes"),
    [*itertools.product([CE, TARGETED], [2, 3, 4]), (UNTARGETED, 2), (UNTARGETED, 3)],
    ids=lambda value: getattr(value, "name", value),
)
def test_linear_classifier_has_its_exact_robust_accuracy(
    attack, num_classes, honest, images, labels, threat_model
):
    """Fewer than 4 classes have no DLR loss, and all of these have fewer than 9 targets."""
    images, labels = images[labels < num_classes], labels[labels < num_classes]
    brightness = honest(images).numpy()[:, :num_classes] / 20
    true = brightness[np.arange(len(labels)), labels]
    brightness[np.arange(len(labels)), labels] = -np.inf
    margin = true - brightness.max(axis=1)
    result = Evaluator(lambda pixels: honest(pixels)[:, :num_classes], threat_model, 8).attack(
        images, labels, [attack]
    )
    np.testing.assert_array_equal(result.robust, margin > 2 * threat_model.epsilon)
    assert 0 < result.robust.sum() < result.clean_correct.sum()


@pytest.mark.parametrize("num_classes", [2, 4])
def test_a_target_too_many_does_nothing(num_classes, honest, images, labels, threat_model):
    labels = labels % num_classes

    def attempt(restart):
        return _run(
            TARGETED,
            lambda pixels: honest(pixels)[:, :num_classes],
            threat_model,
            images,
            labels,
            restart,
        )

    last, beyond = attempt(num_classes - 2), attempt(num_classes - 1)
    assert np.abs(last.images - images).max() > 0
    np.testing.assert_array_equal(beyond.images, images)
    assert not beyond.success.numpy().any()


def test_each_restart_climbs_towards_its_own_target(honest, images, labels):
    """Of three classes, since the margin alone raises nothing but the target's logit."""
    images, labels = images[labels < 3], labels[labels < 3]
    classifier = AttackedClassifier(lambda pixels: honest(pixels)[:, :3])
    clean = classifier.logits(images).numpy()
    clean[np.arange(len(labels)), labels] = -np.inf
    ranked = np.argsort(-clean, axis=1)
    for rank in range(2):
        attempt = _run(TARGETED, classifier, ThreatModel(0.001), images, labels, rank)
        moved = (classifier.logits(attempt.images) - classifier.logits(images)).numpy()
        standing = ~attempt.success.numpy()
        assert standing.sum() > 10
        np.testing.assert_array_equal(moved.argmax(axis=1)[standing], ranked[standing, rank])


@pytest.mark.parametrize("attack", [CE, TARGETED], ids=lambda attack: attack.name)
def test_every_image_is_feasible_and_every_claim_true(attack, network, network_labels, images):
    threat_model = ThreatModel(epsilon=0.01)
    dark_and_bright = np.concatenate([images - images.min(), images - images.max() + 1])
    labels = np.concatenate([network_labels] * 2)
    attempt = _run(attack, network, threat_model, dark_and_bright, labels)
    assert threat_model.is_feasible(attempt.images, dark_and_bright).numpy().all()
    wrong = is_misclassified(network(attempt.images), tf.constant(labels)).numpy()
    np.testing.assert_array_equal(attempt.success, wrong)
    assert 0 < wrong.sum() < len(labels)


@pytest.mark.parametrize("attack", [CE, TARGETED], ids=lambda attack: attack.name)
def test_an_outcome_follows_from_image_label_and_seed_alone(
    attack, network, network_labels, images, ball
):
    classifier = AttackedClassifier(network)
    outcome = _run(attack, classifier, ball, images, network_labels)
    again = _run(attack, classifier, ball, images, network_labels)
    np.testing.assert_array_equal(outcome.images, again.images)
    chosen = np.resize([20, 3, 7, 1, 12], 24)
    others = _run(
        attack,
        classifier,
        ball,
        images[chosen],
        network_labels[chosen],
        seeds=_seeds(24)[chosen],
    )
    np.testing.assert_array_equal(others.images, outcome.images.numpy()[chosen])
    np.testing.assert_array_equal(others.success, outcome.success.numpy()[chosen])
    reseeded = _run(attack, classifier, ball, images, network_labels, seeds=_seeds(24, key=8))
    assert (reseeded.images.numpy() != outcome.images.numpy()).any(axis=(1, 2, 3)).all()


def _wrong_near_grey(pixels):
    """The loss rises with the mean, but class 1 wins between 0.48 and 0.52 only."""
    mean = tf.reduce_mean(pixels, axis=[1, 2, 3])
    inside = tf.cast(tf.abs(mean - 0.5) < 0.02, tf.float32)
    return tf.stack([0 * mean, 20 * inside - 10, mean - 2], axis=1)


def test_the_first_success_is_kept_and_stops_the_loop_when_all_have_one():
    images = np.stack([np.full((8, 8, 1), grey, np.float32) for grey in (0.5, 0.3)])
    labels = np.zeros(2, np.int32)

    def climb(chosen):
        given = images[chosen], labels[chosen], labels[chosen]
        return _climb(_wrong_near_grey, 0.05, *given, auto_pgd._cross_entropy)

    both, one = climb([0, 1]), climb([0])
    np.testing.assert_array_equal(both.success, [True, False])
    np.testing.assert_allclose(both.best.pixels, [_start(images, 0.05)[0], images[1] + 0.05], 1e-6)
    assert both.step == 100
    assert one.step == 0
    np.testing.assert_array_equal(one.best.pixels[0], both.best.pixels[0])


def test_a_gradient_that_is_not_a_number_leaves_the_other_pixels_their_step(
    honest, images, labels, threat_model
):
    def logits_fn(pixels):
        # The root's derivative at 0 is infinite, times 0.
        return honest(pixels) + tf.sqrt(0.0 * pixels[:, 0, 0])

    attempt = _run(CE, logits_fn, threat_model, images, labels)
    assert threat_model.is_feasible(attempt.images, images).numpy().all()
    expected = _run(CE, honest, threat_model, images, labels).success.numpy()
    assert expected.any()
    # One of 16 pixels of class 0's quadrant stays at its random start.
    assert np.sum(expected ^ attempt.success.numpy()) <= 1


@pytest.mark.parametrize("attack", [CE, TARGETED], ids=lambda attack: attack.name)
def test_a_broken_gradient_is_no_error(attack, honest, images, labels, threat_model):
    attempt = _run(
        attack, lambda pixels: honest(tf.round(pixels * 10) / 10), threat_model, images, labels
    )
    assert threat_model.is_feasible(attempt.images, images).numpy().all()


def test_logits_of_unknown_shape(honest, images, labels, threat_model):
    def logits_fn(pixels):
        return tf.compat.v1.placeholder_with_default(honest(pixels), [None, None])

    found = [_run(TARGETED, fn, threat_model, images[:1], labels[:1]) for fn in (logits_fn, honest)]
    np.testing.assert_array_equal(found[0].images, found[1].images)


def test_one_trace_serves_every_step_count_restart_seed_and_epsilon(
    images, labels, honest, monkeypatch
):
    traces = []

    def counting(pixels):
        traces.append(pixels.shape)
        return honest(pixels)

    classifier = AttackedClassifier(counting)
    loops = mock.Mock(wraps=tf.while_loop)
    monkeypatch.setattr(tf, "while_loop", loops)
    for epsilon, num_steps, restart in [(0.02, 3, 0), (0.05, 7, 1)]:
        for loss in ("cross_entropy", "targeted_dlr"):
            attack = AutoPGD(loss, loss, num_steps, restarts=2)
            seeds = _seeds(24, key=num_steps)
            _run(attack, classifier, ThreatModel(epsilon), images, labels, restart, seeds)
    assert len(traces) == 1
    # One for each loss.
    assert loops.call_count == 2


# The authors' code on the same weights and starts.


@pytest.mark.slow
@pytest.mark.skipif(
    REFERENCE is None or importlib.util.find_spec("torch") is None,
    reason="needs PyTorch, and a clone of fra31/auto-attack in AUTO_ATTACK_REFERENCE",
)
@pytest.mark.parametrize("loss", ["cross_entropy", "targeted_dlr"])
def test_as_strong_as_the_authors_code(loss, monkeypatch):
    import torch

    monkeypatch.syspath_prepend(REFERENCE)
    from autoattack.autopgd_base import APGDAttack_targeted

    generator = np.random.default_rng(0)
    hidden = (0.5 * generator.normal(size=(48, 64))).astype(np.float32)
    output = (0.5 * generator.normal(size=(64, 10))).astype(np.float32)
    images = generator.uniform(0, 1, (256, 4, 4, 3)).astype(np.float32)

    def ours(pixels):
        return tf.nn.relu(tf.reshape(pixels, [-1, 48]) @ hidden) @ output

    def theirs(pixels):
        return torch.relu(pixels.reshape(-1, 48) @ torch.tensor(hidden)) @ torch.tensor(output)

    logits = ours(images)
    labels = tf.argmax(logits, axis=1, output_type=tf.int32).numpy()
    targets = likeliest_wrong_class(logits, tf.constant(labels), 2).numpy()
    epsilon = 0.02
    loss_fn, name = {
        "cross_entropy": (auto_pgd._cross_entropy, "ce"),
        "targeted_dlr": (losses.targeted_dlr, "dlr-targeted"),
    }[loss]
    end = _climb(ours, epsilon, images, labels, targets, loss_fn)

    attack = APGDAttack_targeted(theirs, eps=epsilon, n_iter=100, device="cpu")
    attack.loss, attack.y_target = name, torch.tensor(targets, dtype=torch.long)
    pixels, classes = torch.tensor(images), torch.tensor(labels, dtype=torch.long)
    attack.init_hyperparam(pixels)
    start = torch.tensor(_start(images, epsilon))
    _, standing, best_loss, _ = attack.attack_single_run(pixels, classes, x_init=start)

    standing = standing.numpy().astype(bool)
    assert 0.2 < standing.mean() < 0.9
    np.testing.assert_array_equal(~end.success.numpy(), standing)
    difference = np.abs(end.best_loss.numpy() - best_loss.numpy())[standing]
    print(f"{loss}: {standing.mean():.3f} stand, losses differ by {difference.max():.1e} at most")
    np.testing.assert_array_less(difference, 1e-4)
