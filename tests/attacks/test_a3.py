"""A3 against a port of its authors' loop, one image at a time."""

import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf import stateless_random
from fsgan_tf.attacks import a3
from fsgan_tf.attacks.parts.attacked_classifier import AttackedClassifier
from fsgan_tf.attacks.registry import by_names
from fsgan_tf.evaluation.engine import Evaluator
from fsgan_tf.threat_model import ThreatModel

from . import waves

EPSILON = 0.1
# By restart: the 7 steps of a direction come on top of `max_iter` once more as margin steps.
STEPS = {0: (0, 8), 1: (7, 15), 2: (7, 15), 3: (7, 25 + 7), 12: (7, 60 + 7)}
# Signs that the target and the true class are given.
SIGNS = {2: (0.8, -0.5, 0.1), 3: (-0.8, -0.1, 0.5), 12: (0.8, -0.8, 0.1)}


def _direction(clean_logits, seed, restart):
    """`randVector_` of one image with label 0, after `sorted_logits` of the clean image."""
    num_classes = len(clean_logits)
    drawn = stateless_random.split(tf.constant(seed), 3)[2]
    uniform = stateless_random.uniform([num_classes + 1], drawn).numpy()
    direction = 2 * uniform[:-1] - 1
    if restart >= 2:
        target, low, high = SIGNS[restart]
        wrong = sorted(range(1, num_classes), key=lambda c: -clean_logits[c])
        direction[0] = num_classes / 10 * (low + (high - low) * uniform[-1])
        rank = restart - 10 if restart > 9 else restart - 1
        direction[wrong[rank % min(num_classes - 1, 9)]] = num_classes / 10 * target
    return direction


def _port(problem, image, seed, restart):
    """`AAA_white_box` with label 0: where it ends, and if it fools."""
    direction = _direction(problem.at(image)[0], seed, restart)
    adi_steps, step_num = STEPS[restart]
    x = waves.random_start(image, seed, EPSILON)
    for i in range(adi_steps + step_num):
        logits, by_pixels = problem.at(x)
        if logits.argmax() != 0:
            return x, True
        if i < adi_steps:
            by_logits, size = direction, EPSILON
        else:
            by_logits = np.zeros(len(logits))
            by_logits[[1 + logits[1:].argmax(), 0]] = 1, -1
            least = EPSILON * (0.1 if step_num <= 10 else 0.001)
            falling = (1 + np.cos(np.pi * (i - adi_steps) / (step_num + 1))) / 2
            size = least + (EPSILON - least) * falling
        x = waves.step(x, by_pixels(by_logits), size, image, EPSILON)
    return x, problem.at(x)[0].argmax() != 0


@pytest.mark.parametrize("restart", STEPS)
def test_the_path_is_that_of_the_authors_loop(restart):
    problem = waves.Waves(12, num_classes=5, lead=4)
    images = np.random.default_rng(2).uniform(0, 1, (40, 2, 2, 3)).astype(np.float32)
    seeds = waves.seeds(40)
    (attack,) = by_names(["a3"], EPSILON)
    attempt = attack.run(
        AttackedClassifier(problem.logits),
        ThreatModel(EPSILON),
        *map(tf.constant, (images, np.zeros(40, np.int32), seeds)),
        restart,
    )
    expected = [_port(problem, *both, restart) for both in zip(images, seeds, strict=True)]
    ends, fooled = map(np.stack, zip(*expected, strict=True))
    assert 5 < fooled.sum() < 35
    np.testing.assert_array_equal(attempt.success, fooled)
    # A gradient that is 0 but for rounding may send a step the other way.
    assert np.isclose(attempt.images, ends, atol=1e-6).mean() > 0.95


def test_each_restart_aims_at_another_class_and_the_last_at_the_likeliest():
    logits = np.arange(10.0, 0, -1, np.float32)[None]
    aimed_at, signs = [], []
    for restart in range(2, 13):
        direction = a3.directions(logits, np.zeros(1, np.int32), waves.seeds(1), restart).numpy()
        aimed_at.append(int(np.flatnonzero(np.isclose(np.abs(direction[0]), 0.8))[0]))
        signs.append(int(np.sign(direction[0, aimed_at[-1]])))
    assert aimed_at == [2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3]
    assert signs[-3:] == [1, 1, 1]
    assert -1 in signs


def test_of_few_classes_the_last_restarts_start_over():
    weights = [
        a3.directions(np.float32([[3, 2, 1]]), np.zeros(1, np.int32), waves.seeds(1), restart)
        for restart in (10, 11, 12)
    ]
    aimed_at = [int(np.flatnonzero(np.isclose(one[0], 0.24))[0]) for one in weights]
    assert aimed_at == [1, 2, 1]


def test_of_many_classes_the_target_always_rises():
    logits = np.random.default_rng(0).normal(size=(6, 200)).astype(np.float32)
    labels = logits.argmax(axis=1).astype(np.int32)
    for restart in range(2, 13):
        weights = a3.directions(logits, labels, waves.seeds(6), restart).numpy()
        np.testing.assert_allclose(weights.max(axis=1), 0.8 * 20)
        assert (weights[np.arange(6), labels] <= 0.1 * 20).all()


def test_the_direction_is_drawn_apart_from_the_start():
    """In l_inf the start takes the seed as it is, in l_2 its two halves."""
    seeds = waves.seeds(1)
    directions = a3.directions(tf.zeros([1, 5]), tf.constant([0]), seeds, 1).numpy()[0]
    for taken in (seeds[0], *stateless_random.split(tf.constant(seeds[0]), 2)):
        uniform = stateless_random.uniform([6], tf.constant(taken)).numpy()
        assert not np.isclose(directions, 2 * uniform[:5] - 1).any()


def test_parameters_and_cost():
    (attack,) = by_names(["a3"], EPSILON)
    assert attack.restarts == 13 == len(attack.parameters["margin_steps"])
    assert attack.cost == 12 * 7 + sum(attack.parameters["margin_steps"])


def test_at_least_as_strong_as_pgd20(network, network_labels, images, ball):
    attacks = by_names(["a3", "pgd20"], ball.epsilon)
    result = Evaluator(network, ball, 24).attack(images, network_labels, attacks, standalone=True)
    assert result.accuracy("a3") <= result.accuracy("pgd20") < result.clean_accuracy
