"""APGD in l_1 against a port, and against its authors' code (slow)."""

import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf.attacks.parts import auto_pgd, sparse_auto_pgd
from fsgan_tf.attacks.parts.attacked_classifier import AttackedClassifier
from fsgan_tf.threat_model import ThreatModel
from tests import authors_code
from tests.attacks.waves import Waves, seeds

COUNT, EPSILON = 24, 0.35


def test_the_parts_of_the_standard_version():
    assert sparse_auto_pgd.parts(100) == [(3, 30, 1), (2, 30, 1), (1, 40, 1)]
    assert sparse_auto_pgd.parts(200) == [(3, 60, 2), (2, 60, 2), (1, 80, 3)]


@pytest.fixture(scope="module")
def problem():
    return Waves(12, num_classes=5, lead=4)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(2).uniform(0, 1, (COUNT, 2, 2, 3)).astype(np.float32)


def _starts(images, epsilon=EPSILON):
    ball = ThreatModel(3 * epsilon, norm="l1")
    return ball.random_start(tf.constant(images), seeds(len(images)), on_the_surface=True).numpy()


def _projected(pixels, image, radius):
    """Of all perturbations with the same subtracted from each size, by bisection."""
    wanted = pixels.astype(np.float64) - image
    sizes, room = np.abs(wanted), np.where(wanted > 0, 1 - image, image)
    low, high = 0.0, max(sizes.max(), 1e-9)
    if np.minimum(sizes, room).sum() > radius:
        for _ in range(100):
            level = (low + high) / 2
            too_long = np.clip(sizes - level, 0, room).sum() > radius
            low, high = (level, high) if too_long else (low, level)
        sizes = sizes - high
    return (image + np.sign(wanted) * np.clip(sizes, 0, room)).astype(np.float32)


def _cross_entropy(logits):
    """Of class 0, and its gradient."""
    shares = np.exp(logits) / np.exp(logits).sum()
    return -np.log(shares[0]), shares - np.eye(len(logits))[0]


def _port(problem, image, start, num_steps, interval_share=0.04):
    """The authors' loop for one image of class 0; whether it is fooled, and the highest loss."""

    def at(pixels):
        logits, by_pixels = problem.at(pixels)
        loss, by_logits = _cross_entropy(logits)
        return loss, by_pixels(by_logits), logits.argmax() != 0

    iterations = [np.ceil(0.3 * num_steps), np.ceil(0.3 * num_steps)]
    iterations.append(num_steps - sum(iterations))
    point = start
    for radius, steps in zip((3 * EPSILON, 2 * EPSILON, EPSILON), iterations, strict=True):
        x = _projected(point, image, radius)
        loss, gradient, wrong = at(x)
        best, best_loss, best_gradient, fooled = x, loss, gradient, wrong
        interval = max(int(interval_share * steps), 1)
        length = radius
        before = np.count_nonzero(x - image)
        for step in range(1, int(steps) + 1):
            sizes = np.abs(gradient)
            least = np.sort(sizes.ravel())[-max(-(-2 * before // 3), 1)]
            kept = np.sign(gradient) * (sizes >= least)
            x = _projected(x + length * kept / (np.abs(kept).sum() + 1e-10), image, radius)
            loss, gradient, wrong = at(x)
            fooled |= wrong
            if loss > best_loss:
                best, best_loss, best_gradient = x, loss, gradient
            if step % interval == 0:
                changed = np.count_nonzero(best - image)
                if changed / before < 0.95:
                    length, x, gradient = radius, best, best_gradient
                else:
                    length = max(length / 1.5, radius / 10)
                before = changed
        point = best
    return fooled, best_loss


@pytest.mark.parametrize("num_steps", [100, 200])
def test_the_path_is_that_of_the_authors(num_steps, problem, images):
    labels = np.zeros(COUNT, np.int32)
    attempt = sparse_auto_pgd.climb(
        AttackedClassifier(problem.logits),
        auto_pgd._cross_entropy,
        ThreatModel(EPSILON, norm="l1"),
        *map(tf.constant, (images, labels, labels, seeds(COUNT))),
        num_steps,
    )
    port = [
        _port(problem, image, start, num_steps)
        for image, start in zip(images, _starts(images), strict=True)
    ]
    fooled, losses = map(np.array, zip(*port, strict=True))
    assert 0.2 < fooled.mean() < 0.8
    np.testing.assert_array_equal(attempt.success, fooled)
    standing = ~fooled
    found = [_cross_entropy(problem.at(image)[0])[0] for image in attempt.images.numpy()[standing]]
    # A gradient that ties but for rounding may send a path another way.
    assert np.isclose(found, losses[standing], rtol=2e-3).mean() >= 0.9


def test_a_loss_or_a_gradient_without_a_number_is_no_error(images):
    labels = np.zeros(COUNT, np.int32)

    def logits_fn(pixels):
        first = tf.reduce_sum(pixels, axis=[1, 2, 3])
        return tf.stack([2 - first, first + tf.sqrt(0 * pixels[:, 0, 0, 0])], axis=1)

    threat_model = ThreatModel(EPSILON, norm="l1")
    attempt = sparse_auto_pgd.climb(
        AttackedClassifier(logits_fn),
        auto_pgd._cross_entropy,
        threat_model,
        *map(tf.constant, (images, labels, labels, seeds(COUNT))),
        10,
    )
    assert threat_model.is_feasible(attempt.images, images).numpy().all()


@pytest.mark.slow
@authors_code.needs("AutoAttack")
def test_as_strong_as_the_authors_code(monkeypatch):
    """Their code on the same weights, images and starts; paths part where theirs rounds up."""
    import torch

    monkeypatch.syspath_prepend(authors_code.AUTO_ATTACK)
    from autoattack.autopgd_base import APGDAttack

    problem, count, epsilon = Waves(192, num_classes=5, lead=5), 128, 1.0
    problem.frequencies /= 3
    images = np.random.default_rng(2).uniform(0, 1, (count, 8, 8, 3)).astype(np.float32)

    def theirs(pixels):
        phases = pixels.reshape(len(pixels), -1) @ torch.tensor(problem.frequencies)
        return torch.sin(phases) @ torch.tensor(problem.amplitudes) + torch.tensor(problem.biases)

    labels = np.zeros(count, np.int32)
    attempt = sparse_auto_pgd.climb(
        AttackedClassifier(problem.logits),
        auto_pgd._cross_entropy,
        ThreatModel(epsilon, norm="l1"),
        *map(tf.constant, (images, labels, labels, seeds(count))),
        100,
    )
    attack = APGDAttack(theirs, n_iter=100, norm="L1", eps=epsilon, loss="ce", device="cpu")
    pixels = torch.tensor(images)
    attack.init_hyperparam(pixels)
    noise = torch.tensor(_starts(images, epsilon)) - pixels
    monkeypatch.setattr(torch, "randn_like", lambda x: noise)
    radii = [3 * epsilon, 2 * epsilon, epsilon]
    _, standing, losses, _ = attack.decr_eps_pgd(
        pixels, torch.tensor(labels).long(), radii, [30, 30, 40]
    )
    standing = standing.numpy().astype(bool)
    ours = ~attempt.success.numpy()
    found = np.array([_cross_entropy(problem.at(image)[0])[0] for image in attempt.images.numpy()])
    both = standing & ours
    print(f"{ours.mean():.3f} and {standing.mean():.3f} stand")
    print(f"mean losses {found[both].mean():.4f} and {losses.numpy()[both].mean():.4f}")
    assert 0.2 < standing.mean() < 0.8
    assert abs(ours.mean() - standing.mean()) <= 0.03
    assert np.mean(ours != standing) < 0.05
    assert found[both].mean() == pytest.approx(losses.numpy()[both].mean(), rel=0.02)
