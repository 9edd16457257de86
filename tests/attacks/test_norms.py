"""What every attack keeps to in every norm that it knows, and what it finds on a linear classifier.

In l_inf, `test_contract.py` and each attack's own tests do.
"""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf import norms
from fsgan_tf.attacks import registry
from fsgan_tf.attacks.parts.attacked_classifier import AttackedClassifier, is_misclassified
from fsgan_tf.attacks.parts.source import TransferSource
from fsgan_tf.attacks.registry import by_names, suite
from fsgan_tf.attacks.square import Square
from fsgan_tf.attacks.suites import SUITES
from fsgan_tf.errors import UserError
from fsgan_tf.evaluation.engine import Evaluator
from fsgan_tf.threat_model import ThreatModel
from tests.classifier_fixtures import NUM_CLASSES

EPSILON = {"l2": 0.25, "l1": 1.5}
NAMES = {
    kind.name: kind.name.replace("ATTACK", "pgd5").removesuffix("N") + "5" * kind.name.endswith("N")
    for kind in registry.kinds()
}
KNOWN = [
    (name, norm)
    for kind in registry.kinds()
    for norm in kind.norms[1:]
    for name in [NAMES[kind.name]]
]
# Those that find the best perturbation of a linear classifier.
EXACT = ["pgd20", "cw20", "apgd_ce", "apgd_t", "fab_t"]


@pytest.fixture(scope="module")
def small():
    """Two classifiers of like weights, compiled once, and twelve images with labels."""
    keras.utils.set_random_seed(1)
    layers = [keras.Input((8, 8, 1)), keras.layers.Conv2D(8, 3, strides=2, activation="relu")]
    network = keras.Sequential([*layers, keras.layers.Flatten(), keras.layers.Dense(NUM_CLASSES)])
    like = keras.models.clone_model(network)
    like.set_weights([1.05 * weights for weights in network.get_weights()])
    pixels = np.random.default_rng(0).uniform(-0.1, 1.1, (12, 8, 8, 1)).clip(0, 1)
    pixels = pixels.astype(np.float32)
    labels = network(pixels).numpy().argmax(axis=1).astype(np.int32)
    labels[::6] = (labels[::6] + 1) % NUM_CLASSES
    return AttackedClassifier(network), AttackedClassifier(like), pixels, labels


@pytest.mark.parametrize(("name", "norm"), KNOWN)
def test_one_run(name, norm, small):
    classifier, like, images, labels = small
    threat_model = ThreatModel(EPSILON[norm], norm=norm)
    twin = TransferSource("twin", (like,), "runs/twin", "12" * 32)
    (attack,) = by_names([name], threat_model.epsilon, norm=norm, sources=[twin])
    if isinstance(attack, Square):
        attack = dataclasses.replace(attack, num_queries=100, rescaled_schedule=True)

    def run(order):
        seeds = tf.stack([tf.fill([12], np.int64(3)), tf.constant(order, tf.int64)], axis=1)
        taken = tf.constant(images[order]), tf.constant(labels[order])
        return attack.run(classifier, threat_model, *taken, seeds, 0)

    attempt = run(np.arange(12))
    assert attempt.images.dtype == tf.float32
    assert threat_model.is_feasible(attempt.images, images).numpy().all()
    # Also as NumPy sees it, without a tolerance.
    deltas = attempt.images.numpy().astype(np.float64) - images
    sizes = np.linalg.norm(deltas.reshape(12, -1), {"l2": 2, "l1": 1}[norm], axis=1)
    assert sizes.max() <= threat_model.epsilon
    wrong = is_misclassified(classifier.given_logits(attempt.images), labels).numpy()
    clean_wrong = is_misclassified(classifier.given_logits(images), labels).numpy()
    np.testing.assert_array_equal(attempt.success, wrong)
    assert not np.any(clean_wrong & ~wrong)
    assert wrong.sum() > clean_wrong.sum()
    backwards = np.arange(12)[::-1].copy()
    np.testing.assert_array_equal(run(backwards).success, wrong[backwards])


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_a_linear_classifier_has_its_exact_robust_accuracy(norm, name, honest, images, labels):
    """Its lead falls by epsilon times the dual norm of its gradient, and by no more."""
    epsilon = {"l2": 0.1, "l1": 0.55}[norm]
    # A logit's gradient is 20 / 16 on the 16 pixels of its quadrant.
    most = epsilon * 20 / 16 * {"l2": 32**0.5, "l1": 1}[norm]
    logits = honest(images).numpy()
    true = logits[np.arange(24), labels].copy()
    logits[np.arange(24), labels] = -np.inf
    lead = true - logits.max(axis=1)
    assert np.abs(lead - most).min() > 1e-2
    evaluator = Evaluator(honest, ThreatModel(epsilon, norm=norm), 24)
    result = evaluator.attack(images, labels, by_names([name], epsilon, norm=norm))
    np.testing.assert_array_equal(result.robust, lead > most)
    assert 0 < result.robust.sum() < result.clean_correct.sum()
    assert not result.attacks[0].refused.any()


def test_the_l1_version_of_autoattack_has_other_restarts():
    attacks = {attack.name: attack for attack in suite("strong", 12, norm="l1")}
    assert [attack.restarts for attack in attacks.values()] == [5, 5, 9, 1]
    attacks = {attack.name: attack for attack in suite("strong", 0.5, norm="l2")}
    assert [attack.restarts for attack in attacks.values()] == [1, 9, 9, 1]


def test_steps_are_as_madry_has_them_where_the_ball_is_round():
    for norm, expected in (("linf", [0.1, 0.025, 0.025]), ("l2", [0.1, 0.025, 0.0125])):
        attacks = by_names(["fgsm", "pgd10", "cw20"], 0.1, norm=norm)
        assert [attack.step_size for attack in attacks] == pytest.approx(expected)
    (told,) = by_names(["pgd10"], 12, norm="l1", step_size=2.0)
    assert told.step_size == 2
    with pytest.raises(UserError, match="at most epsilon"):
        by_names(["pgd10"], 0.5, norm="l2", step_size=2.0)


def test_which_attacks_know_which_norms():
    known = {kind.name: kind.norms for kind in registry.kinds()}
    assert {name for name, able in known.items() if "l1" not in able} == {"a3", "pma", "spsaN"}
    assert all(able[:2] == norms.NAMES[:2] for able in known.values())
    with pytest.raises(UserError, match=r"pma attacks in linf, l2 alone, not in l1; .* apgd_ce, "):
        by_names(["pgd5", "pma"], 12, norm="l1")
    with pytest.raises(UserError, match="not in l1"):
        suite("strongest", 12, norm="l1")
    sources = [TransferSource("twin", (), "runs/twin", "12" * 32)]
    for name, named in SUITES.items():
        assert len(suite(name, 0.5, norm="l2", sources=sources)) == len(named.attacks)


def test_an_attack_that_says_nothing_knows_linf_alone(monkeypatch):
    kind = registry.Kind("mine", "mine", "phrase", "outputs", object)
    monkeypatch.setattr(registry, "kinds", lambda: (kind,))
    with pytest.raises(UserError, match="mine attacks in linf alone, not in l2"):
        by_names(["mine"], 0.5, norm="l2")
