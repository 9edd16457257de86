"""FAB against linear programming, a NumPy port of its steps and (slow) the authors' code."""

import importlib.util
import os
import sys
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
from scipy.optimize import linprog

from fsgan_tf.attacks import fab_t
from fsgan_tf.attacks.fab_t import FastAdaptiveBoundary
from fsgan_tf.attacks.parts.attacked_classifier import AttackedClassifier, is_misclassified
from fsgan_tf.attacks.parts.targets import likeliest_wrong_class
from fsgan_tf.attacks.registry import by_names
from fsgan_tf.evaluation.run_and_diagnose import evaluate
from fsgan_tf.threat_model import ThreatModel

REFERENCE = os.environ.get("AUTO_ATTACK_REFERENCE")
CONSTANTS = {"alpha_max": 0.1, "eta": 1.05, "beta": 0.9}


def _attack(restarts=3, num_steps=100):
    return FastAdaptiveBoundary("fab_t", num_steps=num_steps, restarts=restarts, **CONSTANTS)


def _run(attack, classifier, threat_model, images, labels, restart=0):
    seeds = tf.zeros([len(images), 2], tf.int64)
    return attack.run(
        classifier, threat_model, tf.constant(images), tf.constant(labels), seeds, restart
    )


def _search(classifier, images, labels, targets, **changed):
    arguments = {"num_steps": 100, "good_enough": 0.0, **CONSTANTS, **changed}
    return fab_t.search(
        classifier,
        ThreatModel(epsilon=0.1),
        tf.constant(images),
        tf.constant(labels),
        tf.constant(targets),
        **arguments,
    )


# The projection.


def _least_norm(point, value, gradient, lower, upper):
    """min r subject to value + <w, d> = 0, |d_i| <= r and the box; None without a solution."""
    size = len(point)
    eye, ones = np.eye(size), np.ones((size, 1))
    solution = linprog(
        np.append(np.zeros(size), 1),
        A_ub=np.block([[eye, -ones], [-eye, -ones]]),
        b_ub=np.zeros(2 * size),
        A_eq=np.append(gradient, 0)[None],
        b_eq=[-value],
        bounds=[*zip(lower - point, upper - point, strict=True), (0, None)],
    )
    return solution.x[-1] if solution.status == 0 else None


def _hyperplanes(count, size, lower, upper):
    generator = np.random.default_rng(size)
    points = generator.uniform(lower, upper, (count, size))
    at_an_edge = generator.random(points.shape) < 0.2
    points = np.where(at_an_edge, generator.choice([lower, upper], points.shape), points)
    gradients = generator.normal(size=(count, size)) * 10 ** generator.uniform(-2, 2, (count, 1))
    gradients[generator.random(gradients.shape) < 0.2] = 0
    values = generator.normal(size=count) * np.abs(gradients).sum(axis=1) * 0.4
    return [array.astype(np.float32) for array in (points, values, gradients)]


@pytest.mark.parametrize(("lower", "upper"), [(0.0, 1.0), (-1.0, 2.0)])
@pytest.mark.parametrize("size", [1, 2, 9])
def test_projection_solves_the_linear_programme(size, lower, upper):
    points, values, gradients = _hyperplanes(60, size, lower, upper)
    range_alone = ThreatModel(0.1, lower, upper)
    steps = range_alone.step_to_hyperplane(
        tf.constant(points), tf.constant(values), tf.constant(gradients)
    ).numpy()
    assert (steps[gradients == 0] == 0).all()
    assert (points + steps >= lower - 1e-6).all()
    assert (points + steps <= upper + 1e-6).all()
    reached = 0
    for point, value, gradient, step in zip(points, values, gradients, steps, strict=True):
        norm = _least_norm(point, value, gradient, lower, upper)
        left = value + gradient @ step
        if norm is None:
            # As near as the box allows, and still on the same side.
            corner = np.where(gradient * value < 0, upper, lower)
            np.testing.assert_allclose(step, np.where(gradient == 0, 0, corner - point), atol=1e-6)
            assert left * value >= 0
        else:
            reached += 1
            assert np.abs(step).max() == pytest.approx(norm, abs=1e-5)
            assert left == pytest.approx(0, abs=1e-5 * max(1.0, np.abs(gradient).sum().item()))
    assert 10 < reached < 60


def test_projection_where_there_is_nothing_to_do():
    points = tf.fill([3, 4], 0.5)
    gradients = tf.constant([[1.0, -2, 0, 3], [0.0] * 4, [0.0] * 4])
    steps = ThreatModel(0.1).step_to_hyperplane(points, tf.constant([0.0, 2, -2]), gradients)
    np.testing.assert_array_equal(steps, np.zeros([3, 4]))


def test_projection_by_hand():
    """0.3 is missing: the first pixel gives 2 x 0.05 at its edge, the second all the rest."""
    steps = ThreatModel(0.1).step_to_hyperplane(
        tf.constant([[0.95, 0.5, 0.5]]), tf.constant([-0.3]), tf.constant([[2.0, -1, 0]])
    )
    np.testing.assert_allclose(steps, [[0.05, -0.2, 0]], atol=1e-6)


# The steps.


class TanhNetwork:
    """Three logits of six pixels, `tanh(x A) B`, and their gradient by hand."""

    def __init__(self):
        generator = np.random.default_rng(3)
        self.inner = generator.normal(size=(6, 5)).astype(np.float32)
        self.outer = generator.normal(size=(5, 3)).astype(np.float32)

    def __call__(self, pixels):
        return tf.tanh(tf.reshape(pixels, [-1, 6]) @ self.inner) @ self.outer

    def logits(self, point):
        return np.tanh(point @ self.inner) @ self.outer

    def lead(self, point, label, target):
        """z_t - z_y and its gradient."""
        hidden = np.tanh(point @ self.inner)
        weights = self.outer[:, target] - self.outer[:, label]
        return hidden @ weights, self.inner @ ((1 - hidden**2) * weights)


def _numpy_projection(point, gradient, offset):
    """The step of least norm to {x: <w, x> = b} within [0, 1], by bisection of the norm."""

    def step(norm):
        side = np.sign(offset - gradient @ point)
        return np.clip(point + side * np.sign(gradient) * norm, 0, 1) - point

    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        short = abs(gradient @ step(middle)) < abs(offset - gradient @ point)
        low, high = (middle, high) if short else (low, middle)
    return step(high)


def _numpy_search(network, image, label, target, num_steps, alpha_max, eta, beta):
    """Algorithm 1 of arXiv:1907.02044 for one image, restricted to one target, in float64."""
    point, best, best_norm = image, image, np.inf
    for _ in range(num_steps):
        lead, gradient = network.lead(point, label, target)
        offset = gradient @ point - lead
        on = _numpy_projection(point, gradient, offset)
        from_image = _numpy_projection(image, gradient, offset)
        lengths = np.maximum([np.abs(on).max(), np.abs(from_image).max()], 1e-8)
        alpha = min(lengths[0] / lengths.sum(), alpha_max)
        point = (1 - alpha) * (point + eta * on) + alpha * (image + eta * from_image)
        point = np.clip(point, 0, 1)
        if network.logits(point).argmax() != label:
            norm = np.abs(point - image).max()
            if norm < best_norm:
                best, best_norm = point, norm
            point = (1 - beta) * image + beta * point
    return best, best_norm


@pytest.fixture(scope="module")
def tanh_examples():
    network = TanhNetwork()
    images = np.random.default_rng(5).uniform(0, 1, (40, 6)).astype(np.float32)
    images[::4] = np.round(images[::4])
    labels = network.logits(images).argmax(axis=1).astype(np.int32)
    targets = (labels + 1 + np.arange(40, dtype=np.int32) % 2) % 3
    return network, AttackedClassifier(network), images, labels, targets


@pytest.mark.parametrize(
    ("num_steps", "constants"),
    [
        (1, CONSTANTS),
        (2, CONSTANTS),
        (15, CONSTANTS),
        (15, {"alpha_max": 0.5, "eta": 1.3, "beta": 0.6}),
    ],
)
def test_steps_are_those_of_the_algorithm(num_steps, constants, tanh_examples):
    network, classifier, images, labels, targets = tanh_examples
    found = _search(
        classifier,
        images.reshape(-1, 2, 3, 1),
        labels,
        targets,
        num_steps=num_steps,
        **constants,
    )
    best, norms = zip(
        *(
            _numpy_search(network, *example, num_steps, **constants)
            for example in zip(images.astype(np.float64), labels, targets, strict=True)
        ),
        strict=True,
    )
    assert np.isfinite(norms).sum() > 20
    np.testing.assert_allclose(found.norms, norms, rtol=2e-4)
    np.testing.assert_allclose(tf.reshape(found.images, [40, 6]), np.array(best), atol=2e-4)
    distances = np.abs(found.images.numpy().reshape(40, 6) - images).max(axis=1)
    np.testing.assert_array_equal(distances, np.where(np.isfinite(norms), found.norms, 0))


def test_a_linear_boundary_is_met_at_its_distance(honest, images, labels):
    """|z_t - z_y| over the gradient's l_1 norm, which is 20 for each of two quadrants."""
    logits = honest(images).numpy()
    labels = logits.argmax(axis=1).astype(np.int32)
    targets = likeliest_wrong_class(tf.constant(logits), tf.constant(labels), 0).numpy()
    rows = np.arange(24)
    distances = (logits[rows, labels] - logits[rows, targets]) / 40
    classifier = AttackedClassifier(honest)
    once = _search(classifier, images, labels, targets, num_steps=1)
    np.testing.assert_allclose(once.norms, 1.05 * distances, rtol=1e-4)
    # The second step starts at 0.9 x 1.05 = 0.945 distances; the steps after it gain nothing.
    alpha = (1 - 0.945) / (1 - 0.945 + 1)
    nearest = (1 - alpha) * (0.945 + 1.05 * (1 - 0.945)) + alpha * 1.05
    norms = _search(classifier, images, labels, targets).norms
    np.testing.assert_allclose(norms, nearest * distances, rtol=1e-4)
    # Every image is good enough after the first step; nothing is done after that.
    stopped = _search(classifier, images, labels, targets, good_enough=1.0)
    np.testing.assert_array_equal(stopped.images, once.images)


# The attack.


def test_claims_hold_and_the_rest_is_untouched(network, network_labels, images, ball):
    attempt = _run(_attack(), AttackedClassifier(network), ball, images, network_labels)
    success = attempt.success.numpy()
    clean_wrong = is_misclassified(network(images), tf.constant(network_labels)).numpy()
    assert clean_wrong.sum() < success.sum() < len(images)
    wrong = is_misclassified(network(attempt.images), tf.constant(network_labels))
    np.testing.assert_array_equal(wrong, success)
    untouched = ~success | clean_wrong
    np.testing.assert_array_equal(attempt.images.numpy()[untouched], images[untouched])
    assert np.abs(attempt.images - images).max() <= np.float32(ball.epsilon)
    assert ball.is_feasible(attempt.images, images).numpy().all()


def test_epsilon_stops_the_search_but_does_not_steer_it(network, network_labels, images):
    """What is within reach follows from norms alone."""
    classifier = AttackedClassifier(network)
    for epsilon in (0.005, 0.02):
        attempt = _run(_attack(), classifier, ThreatModel(epsilon), images, network_labels)
        targets = likeliest_wrong_class(classifier.logits(images), tf.constant(network_labels), 0)
        norms = _search(classifier, images, network_labels, targets).norms
        np.testing.assert_array_equal(attempt.success, norms <= epsilon)


def test_an_image_does_not_depend_on_those_beside_it(network, network_labels, images):
    """The batch goes on searching for the others, which must not change what is found already."""
    classifier, ball = AttackedClassifier(network), ThreatModel(0.02)
    together = _run(_attack(), classifier, ball, images, network_labels)
    assert 0 < together.success.numpy().sum() < len(images)
    for index in np.flatnonzero(together.success):
        one = slice(index, index + 1)
        alone = _run(_attack(), classifier, ball, images[one], network_labels[one])
        np.testing.assert_allclose(alone.images[0], together.images[index], atol=1e-6)


def test_it_is_at_least_as_strong_as_pgd(network, network_labels, images, ball):
    attacks = [*by_names(["pgd20"], ball.epsilon), _attack()]
    result = evaluate(
        network,
        images,
        network_labels,
        epsilon=ball.epsilon,
        attacks=attacks,
        standalone=True,
    )
    pgd, strong = (attack.fooled for attack in result.attacks)
    assert 0 < pgd.sum() < result.clean_correct.sum()
    assert (strong | ~pgd).all()


def test_it_sees_through_saturated_logits(honest, images, labels, threat_model):
    """Where cross-entropy has no gradient; a scale of the logits changes no projection."""
    result = evaluate(
        lambda x: 1e4 * honest(x),
        images,
        labels,
        epsilon=threat_model.epsilon,
        attacks=["pgd20", _attack()],
        standalone=True,
    )
    honest_result = evaluate(
        honest, images, labels, epsilon=threat_model.epsilon, attacks=[_attack()]
    )
    np.testing.assert_array_equal(result.attacks[1].fooled, honest_result.attacks[0].fooled)
    assert result.accuracy("fab_t") < result.accuracy("pgd20")


@pytest.mark.parametrize("gradient", [0.0, np.nan])
def test_without_a_gradient_it_finds_nothing(gradient, honest, images, labels, threat_model):
    @tf.custom_gradient
    def spoiled(pixels):
        return tf.identity(pixels), lambda upstream: upstream * gradient

    broken = AttackedClassifier(lambda x: honest(spoiled(x)))
    clean_wrong = is_misclassified(honest(images), tf.constant(labels)).numpy()
    attempt = _run(_attack(num_steps=3), broken, threat_model, images, labels)
    np.testing.assert_array_equal(attempt.success, clean_wrong)
    np.testing.assert_array_equal(attempt.images, images)
    rounding = AttackedClassifier(lambda x: honest(tf.round(x * 20) / 20))
    attempt = _run(_attack(num_steps=3), rounding, threat_model, images, labels)
    assert threat_model.is_feasible(attempt.images, images).numpy().all()


def test_a_target_that_does_not_exist_finds_nothing(honest, images, labels, threat_model):
    classifier = AttackedClassifier(honest)
    attempt = _run(_attack(9), classifier, threat_model, images, labels, restart=2)
    assert attempt.success.numpy().any()
    for restart in (3, 8):
        attempt = _run(_attack(9), classifier, threat_model, images, labels, restart=restart)
        np.testing.assert_array_equal(attempt.images, images)
        assert not attempt.success.numpy().any()


def test_two_classes_have_one_target(honest, images, labels):
    def binary(pixels):
        return honest(pixels)[:, :2]

    result = evaluate(binary, images, labels % 2, epsilon=0.3, attacks=[_attack(9, num_steps=10)])
    assert result.clean_accuracy > 0
    assert result.worst_case_accuracy == 0


def test_one_trace_serves_every_constant_target_and_epsilon(images, labels, honest, monkeypatch):
    traces = []

    def counting(pixels):
        traces.append(pixels.shape)
        return honest(pixels)

    classifier = AttackedClassifier(counting)
    loops = mock.Mock(wraps=tf.while_loop)
    monkeypatch.setattr(tf, "while_loop", loops)
    for epsilon, num_steps, restart in [(0.02, 3, 0), (0.05, 5, 1), (0.05, 2, 2)]:
        shifted = (labels + restart).astype(np.int32) % 4
        attack = _attack(num_steps=num_steps)
        _run(attack, classifier, ThreatModel(epsilon), images, shifted, restart)
    assert len(traces) == 1
    assert loops.call_count == 1


def test_parameters_and_cost():
    attack = _attack(restarts=9)
    assert attack.parameters == {"num_steps": 100, "restarts": 9, **CONSTANTS}
    # After targeted APGD, whose 9 x 100 gradients need no pass beside them.
    assert attack.cost == 1350


# The authors' code.


@pytest.fixture
def authors_attack(monkeypatch):
    """`FABAttack_PT`, targeted and of one target, and PyTorch."""
    if REFERENCE is None or importlib.util.find_spec("torch") is None:
        pytest.skip("needs PyTorch, and the authors' code in AUTO_ATTACK_REFERENCE")
    monkeypatch.syspath_prepend(REFERENCE)
    import torch
    from autoattack.fab_pt import FABAttack_PT

    yield torch, FABAttack_PT
    for name in [name for name in sys.modules if name.split(".")[0] == "autoattack"]:
        del sys.modules[name]


@pytest.mark.slow
@pytest.mark.parametrize("target_rank", [0, 1])
def test_norms_are_those_of_the_authors_code(target_rank, tanh_examples, authors_attack):
    torch, attack_class = authors_attack
    network, classifier, images, labels, _ = tanh_examples
    inner, outer = (torch.from_numpy(weights) for weights in (network.inner, network.outer))

    def predict(pixels):
        return torch.tanh(pixels.reshape(-1, 6) @ inner) @ outer

    attack = attack_class(predict, n_iter=100, targeted=True, device="cpu", **CONSTANTS)
    attack.target_class = target_rank + 2
    batch = images.reshape(-1, 2, 3, 1)
    theirs = attack.attack_single_run(
        torch.from_numpy(batch), torch.from_numpy(labels).long(), is_targeted=True
    ).numpy()
    targets = likeliest_wrong_class(
        tf.constant(network.logits(images)), tf.constant(labels), target_rank
    ).numpy()
    ours = _search(classifier, batch, labels, targets)
    found = np.isfinite(ours.norms)
    norms = np.abs(theirs - batch).max(axis=(1, 2, 3))
    np.testing.assert_array_equal(found, norms > 0)
    assert found.sum() > 20
    np.testing.assert_allclose(ours.norms[found], norms[found], rtol=1e-3)


@pytest.mark.slow
def test_projections_are_those_of_the_authors_code(authors_attack):
    torch, _ = authors_attack
    from autoattack.fab_projections import projection_linf

    points, values, gradients = _hyperplanes(200, 50, 0.0, 1.0)
    offsets = np.sum(gradients * points, axis=1) - values
    theirs = projection_linf(*map(torch.from_numpy, (points, gradients, offsets))).numpy()
    ours = ThreatModel(0.1).step_to_hyperplane(
        tf.constant(points), tf.constant(values), tf.constant(gradients)
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
