import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf import settings
from fsgan_tf.attacks import by_names, catalogue, evaluate, suite
from fsgan_tf.attacks.attacked_classifier import AttackedClassifier, is_misclassified
from fsgan_tf.errors import UserError
from fsgan_tf.threat_model import ThreatModel

EPSILON = 8 / 255
ALL_ATTACKS = {
    **{attack.name: attack for name in settings.SUITES for attack in suite(name, EPSILON)},
    "spsa5": by_names(["spsa5"], EPSILON)[0],
}


@pytest.mark.parametrize("name", ALL_ATTACKS)
def test_contract_of_every_attack(name, network, network_labels, images, threat_model):
    (attack,) = by_names([name], threat_model.epsilon)
    classifier = AttackedClassifier(network)
    state = [weight.copy() for weight in network.get_weights()]
    labels = tf.constant(network_labels)

    def run(key, order=None):
        chosen = np.arange(len(images)) if order is None else order
        seeds = tf.stack([tf.fill([len(chosen)], np.int64(key)), tf.constant(chosen)], axis=1)
        return attack.run(
            classifier,
            threat_model,
            tf.constant(images[chosen]),
            tf.gather(labels, chosen),
            seeds,
            restart=0,
        )

    attempt = run(key=3)
    assert attempt.images.shape == images.shape
    assert attempt.images.dtype == tf.float32
    assert threat_model.is_feasible(attempt.images, images).numpy().all()
    wrong = is_misclassified(network(attempt.images, training=False), labels)
    np.testing.assert_array_equal(attempt.success, wrong)
    clean_wrong = is_misclassified(network(images, training=False), labels)
    assert np.sum(wrong) > np.sum(clean_wrong)
    assert not np.any(clean_wrong & ~wrong)

    again = run(key=3)
    np.testing.assert_array_equal(again.images, attempt.images)
    order = np.arange(len(images))[::-1].copy()
    np.testing.assert_array_equal(run(3, order).success, attempt.success.numpy()[order])

    for before, after in zip(state, network.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)

    assert attack.name == name
    assert attack.cost >= 1
    assert attack.parameters["restarts"] == attack.restarts
    assert "name" not in attack.parameters


ITERATIVE = ["pgd20", "cw20", "apgd_ce", "apgd_t", "fab_t", "square", "spsa20"]
GRADIENT_FREE = ["square", "spsa20"]


@pytest.mark.parametrize("name", ITERATIVE)
def test_an_undefended_network_falls_to_0(name, network, images):
    labels = network(images, training=False).numpy().argmax(axis=1).astype(np.int32)
    result = evaluate(network, images, labels, ThreatModel(0.1), by_names([name], 0.1))
    assert result.clean_accuracy == 1
    assert result.worst_case_accuracy == 0


@pytest.mark.parametrize("name", ITERATIVE[2:])
def test_as_strong_as_pgd_where_gradients_are_honest(name, honest, images, labels, threat_model):
    attacks = by_names([name, "pgd20"], threat_model.epsilon)
    result = evaluate(honest, images, labels, threat_model, attacks, standalone=True)
    assert 0 < result.accuracy(name) <= result.accuracy("pgd20") < result.clean_accuracy


@pytest.mark.parametrize("name", GRADIENT_FREE)
def test_stronger_than_pgd_where_gradients_lie(name, honest, images, labels, threat_model):
    def rounding(pixels):
        return honest(tf.round(pixels * 50) / 50)

    attacks = by_names([name, "pgd20"], threat_model.epsilon)
    result = evaluate(rounding, images, labels, threat_model, attacks, standalone=True)
    assert result.accuracy(name) < result.accuracy("pgd20")


def test_suites_are_those_of_the_flag():
    assert catalogue.suite_names() == list(settings.SUITES)


def test_paper_white_box_is_the_papers():
    attacks = {attack.name: attack.parameters for attack in suite("paper_white_box", EPSILON)}
    assert list(attacks) == ["fgsm", "pgd10", "pgd20", "pgd100", "cw20", "cw100"]
    assert attacks.pop("fgsm") == {
        "loss": "cross_entropy",
        "num_steps": 1,
        "step_size": EPSILON,
        "random_start": False,
        "restarts": 1,
    }
    for name, parameters in attacks.items():
        assert parameters["loss"] == ("margin" if name.startswith("cw") else "cross_entropy")
        assert parameters["num_steps"] == int(name.lstrip("pgdcw"))
        assert parameters["step_size"] == pytest.approx(2 / 255)
        assert parameters["random_start"]
        assert parameters["restarts"] == 10


def test_strong_is_autoattacks_standard_version():
    """fra31/auto-attack at a392200, `autoattack.py`: 100 iterations, 9 targets, 5,000 queries."""
    attacks = {attack.name: attack for attack in suite("strong", EPSILON)}
    assert list(attacks) == ["apgd_ce", "apgd_t", "fab_t", "square"]
    assert [attack.restarts for attack in attacks.values()] == [1, 9, 9, 1]
    steps = [attacks[name].parameters["num_steps"] for name in ("apgd_ce", "apgd_t", "fab_t")]
    assert steps == [100, 100, 100]
    assert attacks["square"].parameters["num_queries"] == 5000
    costs = [attack.cost for attack in attacks.values()]
    assert costs == sorted(costs)


def test_restarts_and_step_size_can_be_chosen():
    attacks = suite("quick", EPSILON, restarts=3, step_size=0.01)
    assert [attack.restarts for attack in attacks] == [1, 3, 3]
    assert [attack.parameters["step_size"] for attack in attacks] == [EPSILON, 0.01, 0.01]


def test_names_are_stripped_and_taken_once():
    assert [a.name for a in by_names([" pgd7", "cw3", "pgd7"], EPSILON)] == ["pgd7", "cw3"]


@pytest.mark.parametrize("name", ["pgd", "pgd0", "pgd-1", "cw20x", "autoattack", ""])
def test_unknown_attack_is_refused_with_those_there_are(name):
    with pytest.raises(UserError, match=r"unknown attack .*fgsm, pgdN, cwN and spsaN"):
        by_names(["fgsm", name], EPSILON)


def test_other_bad_input_is_refused():
    with pytest.raises(UserError, match=r"unknown suite 'fast'; there are quick"):
        suite("fast", EPSILON)
    with pytest.raises(UserError, match="no attack is named"):
        by_names([], EPSILON)
    with pytest.raises(UserError, match="at most epsilon"):
        by_names(["pgd2"], EPSILON, step_size=2 * EPSILON)
