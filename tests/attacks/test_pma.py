"""PMA against a port of its authors' loop, one image at a time."""

import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf.attacks.parts.attacked_classifier import AttackedClassifier
from fsgan_tf.attacks.pma import ProbabilityMargin, schedule
from fsgan_tf.attacks.registry import by_names
from fsgan_tf.evaluation.engine import Evaluator
from fsgan_tf.threat_model import ThreatModel

from . import waves

EPSILON = 0.1


def _port(problem, image, seed, run):
    """`perturb` of xieyong0/PMA's `attacks/MD.py` with label 0: where it ends, and if it fools."""
    x = waves.random_start(image, seed, EPSILON)
    for i in range(100):
        logits, by_pixels = problem.at(x)
        if logits.argmax() != 0:
            return x, True
        p = np.exp(logits - logits.max())
        p /= p.sum()
        jacobian = np.diag(p) - np.outer(p, p)
        other = 1 + p[1:].argmax()
        if i < 1:
            by_logits = jacobian[0]
        elif i < 50:
            by_logits = jacobian[other] if run else -jacobian[0]
        else:
            by_logits = jacobian[other] - jacobian[0]
        since = i - 50 - 1 if i > 50 else i - 1
        alpha = 2 * EPSILON * 0.5 * (1 + np.cos(since / 50 * np.pi))
        x = waves.step(x, by_pixels(by_logits), alpha, image, EPSILON)
    return x, problem.at(x)[0].argmax() != 0


@pytest.mark.parametrize("run", [0, 1])
def test_the_path_is_that_of_the_authors_loop(run):
    problem = waves.Waves(12, num_classes=5, lead=4)
    images = np.random.default_rng(2).uniform(0, 1, (40, 2, 2, 3)).astype(np.float32)
    seeds = waves.seeds(40)
    attempt = ProbabilityMargin("pma").run(
        AttackedClassifier(problem.logits),
        ThreatModel(EPSILON),
        *map(tf.constant, (images, np.zeros(40, np.int32), seeds)),
        run,
    )
    expected = [_port(problem, *both, run) for both in zip(images, seeds, strict=True)]
    ends, fooled = map(np.stack, zip(*expected, strict=True))
    assert 5 < fooled.sum() < 35
    np.testing.assert_array_equal(attempt.success, fooled)
    # A gradient that is 0 but for rounding may send a step the other way.
    assert np.isclose(attempt.images, ends, atol=1e-6).mean() > 0.95


def test_the_schedule():
    sizes, weights = schedule(100, raise_other=False)
    assert sizes[1] == sizes[51] == 2
    assert sizes[0] == sizes[2] < 2
    assert (np.diff(sizes[1:51]) < 0).all()
    assert 0 < sizes[50] < sizes[99] < 0.01
    np.testing.assert_array_equal(
        weights[[0, 1, 49, 50, 99]], [[1, 0], *[[-1, 0]] * 2, *[[-1, 1]] * 2]
    )
    np.testing.assert_array_equal(schedule(100, raise_other=True).weights[[1, 49]], [[0, 1]] * 2)


def test_parameters_and_cost():
    (attack,) = by_names(["pma"], EPSILON)
    assert attack.parameters == {"num_steps": 100, "restarts": 2}
    assert attack.cost == 200


def test_at_least_as_strong_as_pgd20(network, network_labels, images, ball):
    attacks = by_names(["pma", "pgd20"], ball.epsilon)
    result = Evaluator(network, ball, 24).attack(images, network_labels, attacks, standalone=True)
    assert result.accuracy("pma") <= result.accuracy("pgd20") < result.clean_accuracy
