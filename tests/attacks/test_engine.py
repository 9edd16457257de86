import io
import sys

import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf.attacks import Evaluator, by_names, evaluate
from fsgan_tf.attacks.attack import Attempt
from fsgan_tf.attacks.attacked_classifier import is_misclassified
from fsgan_tf.attacks.engine import _random_key
from fsgan_tf.errors import UserError


class FixedAttack:
    """Returns what it is told to, and claims success on everything."""

    name = "fixed"
    restarts = 1
    cost = 1
    parameters: dict = {}

    def __init__(self, found):
        self._found = found

    def run(self, classifier, threat_model, images, labels, seeds, restart):
        del classifier, threat_model, labels, seeds
        return Attempt(self._found(images), tf.ones(len(images), tf.bool))


def _fooled(result):
    return {attack.name: attack.fooled for attack in result.attacks}


def _plain_loop(network, images, labels, threat_model, attacks, seed):
    """Every attack and restart on every image, nothing compacted: which stay correct."""
    evaluator = Evaluator(network, threat_model, len(images))
    logits = network(images, training=False)
    robust = ~is_misclassified(logits, tf.constant(labels)).numpy()
    for attack in attacks:
        for restart in range(attack.restarts):
            key = _random_key(seed, attack.name, restart)
            seeds = np.stack([np.full(len(images), key), np.arange(len(images))], axis=1)
            found = attack.run(
                evaluator.classifier,
                threat_model,
                tf.constant(images),
                tf.constant(labels),
                tf.constant(seeds),
                restart,
            ).images
            logits = network(found, training=False)
            robust &= ~is_misclassified(logits, tf.constant(labels)).numpy()
    return robust


@pytest.mark.parametrize("batch_size", [5, 100])
def test_compacting_survivors_changes_nothing(batch_size, network, network_labels, images, ball):
    attacks = by_names(["fgsm", "pgd3", "cw5"], ball.epsilon, restarts=3)
    expected = _plain_loop(network, images, network_labels, ball, attacks, seed=4)
    assert 0 < expected.sum() < len(images)
    for standalone in (False, True):
        result = Evaluator(network, ball, batch_size).evaluate(
            images, network_labels, attacks, seed=4, standalone=standalone
        )
        np.testing.assert_array_equal(result.robust, expected)


def test_cheap_attacks_run_first_and_the_others_see_survivors(
    network, network_labels, images, ball
):
    attacks = by_names(["cw9", "pgd3", "fgsm"], ball.epsilon)
    evaluator = Evaluator(network, ball, 8)
    cascade = evaluator.evaluate(images, network_labels, attacks)
    assert [attack.name for attack in cascade.attacks] == ["fgsm", "pgd3", "cw9"]
    assert [attack.standalone for attack in cascade.attacks] == [True, False, False]
    assert np.sum([attack.fooled for attack in cascade.attacks], axis=0).max() == 1
    accuracies = [cascade.clean_accuracy, *(attack.accuracy for attack in cascade.attacks)]
    assert accuracies == sorted(accuracies, reverse=True)
    assert accuracies[-1] == cascade.worst_case_accuracy

    standalone = evaluator.evaluate(images, network_labels, attacks, standalone=True)
    for attack in standalone.attacks:
        assert attack.standalone
        alone = evaluator.evaluate(images, network_labels, by_names([attack.name], ball.epsilon))
        assert attack.accuracy == alone.worst_case_accuracy
        np.testing.assert_array_equal(attack.fooled, alone.attacks[0].fooled)


def test_restarts_only_add_to_what_is_fooled(network, network_labels, images, ball):
    evaluator = Evaluator(network, ball, 8)

    def fooled(restarts, seed):
        attacks = by_names(["pgd1"], ball.epsilon, restarts=restarts)
        return evaluator.evaluate(images, network_labels, attacks, seed=seed).attacks[0].fooled

    gained = 0
    for seed in range(8):
        one, many = fooled(1, seed), fooled(12, seed)
        assert (many | ~one).all()
        gained += many.sum() - one.sum()
    assert gained > 0


def test_a_restart_spends_nothing_on_what_is_fooled(honest, images, labels, threat_model):
    batches = []

    class Counting(FixedAttack):
        restarts = 3

        def run(self, classifier, threat_model, images, labels, seeds, restart):
            batches.append(np.unique(seeds[:, 1]))
            (fgsm,) = by_names(["fgsm"], threat_model.epsilon)
            return fgsm.run(classifier, threat_model, images, labels, seeds, restart)

    result = Evaluator(honest, threat_model, 8).evaluate(images, labels, [Counting(None)])
    correct, robust = np.flatnonzero(result.clean_correct), np.flatnonzero(result.robust)
    assert len(robust) < len(correct)
    np.testing.assert_array_equal(np.concatenate(batches), [*correct, *robust, *robust])


def test_same_seed_same_result_other_seed_other_starts(network, network_labels, images, ball):
    attacks = by_names(["pgd1", "cw1"], ball.epsilon)
    evaluator = Evaluator(network, ball, 8)

    def outcome(seed):
        result = evaluator.evaluate(images, network_labels, attacks, seed=seed)
        return np.stack(list(_fooled(result).values()))

    np.testing.assert_array_equal(outcome(1), outcome(1))
    assert any((outcome(1) != outcome(seed)).any() for seed in range(2, 8))


def test_random_keys_differ():
    keys = {_random_key(s, a, r) for s in range(3) for a in ("pgd10", "cw10") for r in range(3)}
    assert len(keys) == 18
    assert max(keys) < 2**63


def test_evaluating_again_traces_nothing_and_sees_new_weights(
    network, network_labels, images, ball
):
    traces = []

    def logits_fn(pixels):
        traces.append(pixels.shape)
        return network(pixels, training=False)

    evaluator = Evaluator(logits_fn, ball, 8)
    first = evaluator.evaluate(
        images, network_labels, by_names(["fgsm", "pgd2", "cw2"], ball.epsilon)
    )
    # The forward pass, and the gradient of each loss.
    assert len(traces) == 3
    network.set_weights([-weight for weight in network.get_weights()])
    second = evaluator.evaluate(
        images[:13],
        network_labels[:13],
        by_names(["pgd5", "cw3"], ball.epsilon, restarts=2),
        seed=9,
    )
    assert len(traces) == 3
    assert second.clean_accuracy < first.clean_accuracy


def test_batch_normalisation_statistics_stay(network, network_labels, images, ball):
    before = network.get_weights()
    evaluate(network, images, network_labels, ball, by_names(["pgd3"], ball.epsilon))
    for old, new in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_claims_are_verified(honest, images, labels, threat_model):
    dark = tf.zeros_like(images)[:1]

    def verdict(found):
        result = Evaluator(honest, threat_model, 8).evaluate(images, labels, [FixedAttack(found)])
        return result.attacks[0].fooled.sum(), result.attacks[0].refused

    num_correct = Evaluator(honest, threat_model, 8).correct(images, labels).sum()
    # All black is class 0 to the classifier, so other labels are fooled, but it is out of reach.
    assert verdict(lambda pixels: 0 * pixels + dark) == (0, num_correct)
    assert verdict(lambda pixels: pixels * np.nan) == (0, num_correct)
    # Feasible, but classified as before.
    assert verdict(lambda pixels: pixels) == (0, num_correct)


def test_unclaimed_successes_count(honest, images, labels, threat_model):
    class Modest(FixedAttack):
        def run(self, classifier, threat_model, images, labels, seeds, restart):
            (fgsm,) = by_names(["fgsm"], threat_model.epsilon)
            found = fgsm.run(classifier, threat_model, images, labels, seeds, restart).images
            return Attempt(found, tf.zeros(len(images), tf.bool))

    modest = evaluate(honest, images, labels, threat_model, [Modest(None)])
    proud = evaluate(honest, images, labels, threat_model, by_names(["fgsm"], 0.05))
    assert modest.worst_case_accuracy == proud.worst_case_accuracy < proud.clean_accuracy


def test_linear_classifier_has_its_exact_robust_accuracy(honest, images, labels, threat_model):
    """A margin in quadrant brightness above 2 epsilon cannot be attacked; below, it always can."""
    brightness = honest(images).numpy() / 20
    true = brightness[np.arange(24), labels]
    brightness[np.arange(24), labels] = -np.inf
    margin = true - brightness.max(axis=1)
    result = evaluate(honest, images, labels, threat_model, by_names(["fgsm", "pgd20"], 0.05))
    np.testing.assert_array_equal(result.clean_correct, margin > 0)
    np.testing.assert_array_equal(result.robust, margin > 2 * threat_model.epsilon)


def test_logits_that_are_not_a_number_are_no_robustness(images, threat_model):
    result = evaluate(
        lambda pixels: tf.reshape(pixels, [-1, 64])[:, :4] * np.nan,
        images,
        np.zeros(24, int),
        threat_model,
        by_names(["pgd2"], 0.05),
    )
    assert result.clean_accuracy == 0


def test_uint8_images_are_those_over_255(honest, images, labels, threat_model):
    integers = np.round(images * 255).astype(np.uint8)
    attacks = by_names(["pgd3"], 0.05)
    from_integers = evaluate(honest, integers, labels, threat_model, attacks)
    from_floats = evaluate(
        honest, integers.astype(np.float32) / np.float32(255), labels, threat_model, attacks
    )
    np.testing.assert_array_equal(from_integers.robust, from_floats.robust)


def test_progress_prints_a_line_an_attack_where_there_is_no_terminal(
    honest, images, labels, threat_model, capsys
):
    attacks = by_names(["fgsm", "pgd2"], 0.05)
    result = evaluate(honest, images, labels, threat_model, attacks, progress=True)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0] == f"fgsm: {round(24 * result.accuracy('fgsm'))} images withstood it"
    evaluate(honest, images, labels, threat_model, attacks)
    assert capsys.readouterr().out == ""


def test_progress_shows_a_bar_on_a_terminal(
    honest, images, labels, threat_model, monkeypatch, capsys
):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    result = evaluate(honest, images, labels, threat_model, by_names(["fgsm"], 0.05), progress=True)
    shown = terminal.getvalue()
    correct, robust = result.clean_correct.sum(), result.robust.sum()
    assert "fgsm: 100%" in shown
    assert f"{correct}/{correct}" in shown
    assert f"standing={robust}" in shown
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (x[0], y), "do not fit"),
        (lambda x, y: (x, y[1:]), "do not fit"),
        (lambda x, y: (x[:0], y[:0]), "at least 1"),
        (lambda x, y: (x * 255, y), r"pixels lie in \["),
        (lambda x, y: (x * np.float32(np.nan), y), "pixels lie in"),
        (lambda x, y: (x.astype(np.float64), y), "float64"),
        (lambda x, y: (x, y.astype(np.float32)), "integers"),
        (lambda x, y: (x, y - 1), "integers from 0"),
        (lambda x, y: (x, y + 1), "labels go up to 4"),
    ],
)
def test_bad_examples_are_refused(change, message, honest, images, labels, threat_model):
    with pytest.raises(UserError, match=message):
        evaluate(honest, *change(images, labels), threat_model, by_names(["fgsm"], 0.05))
