import dataclasses
import io
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf.attacks.parts import attacked_classifier
from fsgan_tf.attacks.parts.attack import Attempt
from fsgan_tf.attacks.parts.attacked_classifier import AttackedClassifier, is_misclassified
from fsgan_tf.attacks.parts.source import TransferSource
from fsgan_tf.attacks.registry import by_names
from fsgan_tf.errors import UserError
from fsgan_tf.evaluation.engine import Evaluator, _random_key
from fsgan_tf.threat_model import ThreatModel


class FixedAttack:
    """Returns what it is apart to, and claims success on everything."""

    name = "fixed"
    restarts = 1
    cost = 1
    parameters: dict = {}

    def __init__(self, found):
        self._found = found

    def run(self, classifier, threat_model, images, labels, seeds, restart):
        del classifier, threat_model, labels, seeds
        return Attempt(self._found(images), tf.ones(len(images), tf.bool))


def _attacked(logits_fn, images, labels, threat_model, attacks, **options):
    """What `evaluate` finds, without the checks."""
    return Evaluator(logits_fn, threat_model, len(images)).attack(
        images, labels, attacks, **options
    )


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
        result = Evaluator(network, ball, batch_size).attack(
            images, network_labels, attacks, seed=4, standalone=standalone
        )
        np.testing.assert_array_equal(result.robust, expected)


def test_cheap_attacks_run_first_and_the_others_see_survivors(
    network, network_labels, images, ball
):
    attacks = by_names(["cw9", "pgd3", "fgsm"], ball.epsilon)
    evaluator = Evaluator(network, ball, 8)
    cascade = evaluator.attack(images, network_labels, attacks)
    assert [attack.name for attack in cascade.attacks] == ["fgsm", "pgd3", "cw9"]
    assert [attack.standalone for attack in cascade.attacks] == [True, False, False]
    assert np.sum([attack.fooled for attack in cascade.attacks], axis=0).max() == 1
    accuracies = [cascade.clean_accuracy, *(attack.accuracy for attack in cascade.attacks)]
    assert accuracies == sorted(accuracies, reverse=True)
    assert accuracies[-1] == cascade.worst_case_accuracy

    standalone = evaluator.attack(images, network_labels, attacks, standalone=True)
    for attack in standalone.attacks:
        assert attack.standalone
        alone = evaluator.attack(images, network_labels, by_names([attack.name], ball.epsilon))
        assert attack.accuracy == alone.worst_case_accuracy
        np.testing.assert_array_equal(attack.fooled, alone.attacks[0].fooled)


def test_restarts_only_add_to_what_is_fooled(network, network_labels, images, ball):
    evaluator = Evaluator(network, ball, 8)

    def fooled(restarts, seed):
        attacks = by_names(["pgd1"], ball.epsilon, restarts=restarts)
        return evaluator.attack(images, network_labels, attacks, seed=seed).attacks[0].fooled

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

    result = Evaluator(honest, threat_model, 8).attack(images, labels, [Counting(None)])
    correct, robust = np.flatnonzero(result.clean_correct), np.flatnonzero(result.robust)
    assert len(robust) < len(correct)
    np.testing.assert_array_equal(np.concatenate(batches), [*correct, *robust, *robust])


def test_same_seed_same_result_other_seed_other_starts(network, network_labels, images, ball):
    attacks = by_names(["pgd1", "cw1"], ball.epsilon)
    evaluator = Evaluator(network, ball, 8)

    def outcome(seed):
        result = evaluator.attack(images, network_labels, attacks, seed=seed)
        return np.stack(list(_fooled(result).values()))

    np.testing.assert_array_equal(outcome(1), outcome(1))
    assert any((outcome(1) != outcome(seed)).any() for seed in range(2, 8))


def test_an_examples_seed_is_of_the_attack_the_restart_and_its_index(honest, images, labels, ball):
    def seeds(batch_size, chosen):
        found = {}

        class Noting(FixedAttack):
            restarts = 2

            def run(self, classifier, threat_model, images, labels, seeds, restart):
                found.update({(restart, seed[1]): tuple(seed) for seed in seeds.numpy()})
                return super().run(classifier, threat_model, images, labels, seeds, restart)

        Evaluator(honest, ball, batch_size).attack(
            images[:chosen], labels[:chosen], [Noting(lambda pixels: pixels)], seed=2
        )
        return found

    many, few = seeds(24, 24), seeds(5, 13)
    assert len(set(many.values())) == len(many) > len(few) > 10
    assert few == {place: many[place] for place in few}


def test_random_keys_differ():
    keys = {_random_key(s, a, r) for s in range(3) for a in ("pgd10", "cw10") for r in range(3)}
    assert len(keys) == 18
    assert max(keys) < 2**63


@pytest.mark.parametrize(
    ("count", "sizes"), [(1, [2]), (64, [64]), (65, [64, 2]), (100, [64, 36]), (127, [64, 64])]
)
def test_a_rest_is_padded_little(count, sizes, honest, threat_model):
    evaluator = Evaluator(honest, threat_model, 64)
    indices = np.arange(100, 100 + count)
    batches = list(evaluator.batches(indices))
    assert [len(batch) for batch in batches] == sizes
    np.testing.assert_array_equal(np.unique(np.concatenate(batches)), indices)


def test_small_batches_find_what_full_ones_find(network, images, network_labels, ball):
    (attack,) = by_names(["cw60"], ball.epsilon)
    whole, parts = (
        Evaluator(network, ball, size).attack(images, network_labels, [attack])
        for size in (len(images), 16)
    )
    np.testing.assert_array_equal(whole.robust, parts.robust)
    assert 0 < whole.robust.sum() < whole.clean_correct.sum()


def test_evaluating_again_traces_nothing_and_sees_new_weights(
    network, network_labels, images, ball
):
    traces = []

    def logits_fn(pixels):
        traces.append(pixels.shape)
        return network(pixels, training=False)

    evaluator = Evaluator(logits_fn, ball, 8)
    first = evaluator.attack(
        images, network_labels, by_names(["fgsm", "pgd2", "cw2"], ball.epsilon)
    )
    # The forward pass, whose trace every gradient differentiates.
    assert len(traces) == 1
    head = network.layers[-1]
    head.set_weights([-weight for weight in head.get_weights()])
    second = evaluator.attack(
        images[:13],
        network_labels[:13],
        by_names(["pgd5", "cw3"], ball.epsilon, restarts=2),
        seed=9,
    )
    assert len(traces) == 1
    assert second.clean_accuracy < first.clean_accuracy


def test_claims_are_verified(honest, images, labels, threat_model):
    dark = tf.zeros_like(images)[:1]

    def verdict(found):
        result = Evaluator(honest, threat_model, 8).attack(images, labels, [FixedAttack(found)])
        return result.attacks[0].fooled.sum(), result.attacks[0].refused.sum()

    num_correct = Evaluator(honest, threat_model, 8).correct(images, labels).sum()
    # All black is class 0 to the classifier, so other labels are fooled, but it is out of reach.
    assert verdict(lambda pixels: 0 * pixels + dark) == (0, num_correct)
    assert verdict(lambda pixels: pixels * np.nan) == (0, num_correct)
    # Feasible, but classified as before.
    assert verdict(lambda pixels: pixels) == (0, num_correct)


def test_a_wrong_view_with_fused_normalisation_flatters_nobody(
    network, network_labels, images, threat_model, monkeypatch
):
    """Attacks climb the view; what counts is what the classifier as it was given says."""
    attacks = by_names(["pgd5", "fab_t"], threat_model.epsilon)
    right = Evaluator(network, threat_model, 24).attack(images, network_labels, attacks)
    assert right.clean_accuracy > 0
    assert right.worst_case_accuracy < right.clean_accuracy

    def wrong_view(model):
        """Answers with the next class."""
        return keras.Sequential([model, keras.layers.Lambda(lambda z: tf.roll(z, 1, axis=1))])

    monkeypatch.setattr(attacked_classifier, "with_fused_normalization", wrong_view)
    wrong = Evaluator(network, threat_model, 24).attack(images, network_labels, attacks)
    np.testing.assert_array_equal(wrong.clean_correct, right.clean_correct)
    assert all(attack.refused.any() for attack in wrong.attacks)
    logits = network(wrong.examples.images, training=False).numpy()
    np.testing.assert_array_equal(wrong.examples.predictions, logits.argmax(axis=1))
    assert (wrong.examples.predictions != wrong.examples.labels).all()


def test_unclaimed_successes_count(honest, images, labels, threat_model):
    class Modest(FixedAttack):
        def run(self, classifier, threat_model, images, labels, seeds, restart):
            (fgsm,) = by_names(["fgsm"], threat_model.epsilon)
            found = fgsm.run(classifier, threat_model, images, labels, seeds, restart).images
            return Attempt(found, tf.zeros(len(images), tf.bool))

    modest = _attacked(honest, images, labels, threat_model, [Modest(None)])
    proud = _attacked(honest, images, labels, threat_model, by_names(["fgsm"], 0.05))
    assert modest.worst_case_accuracy == proud.worst_case_accuracy < proud.clean_accuracy


def test_linear_classifier_has_its_exact_robust_accuracy(honest, images, labels, threat_model):
    """A margin in quadrant brightness above 2 epsilon cannot be attacked; below, it always can."""
    brightness = honest(images).numpy() / 20
    true = brightness[np.arange(24), labels]
    brightness[np.arange(24), labels] = -np.inf
    margin = true - brightness.max(axis=1)
    result = _attacked(honest, images, labels, threat_model, by_names(["fgsm", "pgd20"], 0.05))
    np.testing.assert_array_equal(result.clean_correct, margin > 0)
    np.testing.assert_array_equal(result.robust, margin > 2 * threat_model.epsilon)


def test_logits_that_are_not_a_number_are_no_robustness(images, threat_model):
    def logits_fn(pixels):
        logits = tf.reshape(pixels, [-1, 64])[:, :4] * [1.0, 0.0, 0.0, 0.0]
        return tf.where(pixels[:, :1, 0, 0] < 0.4, np.nan, logits)

    answered = np.mean(images[:, 0, 0, 0] >= 0.4)
    result = _attacked(logits_fn, images, np.zeros(24, int), threat_model, by_names(["pgd2"], 0.05))
    assert result.clean_accuracy == pytest.approx(answered)


@pytest.fixture
def brightness_100():
    """Four uint8 images of brightness 100, and a classifier that errs from 100.2 on."""

    def logits_fn(pixels):
        brightness = 255 * tf.reduce_mean(pixels, axis=[1, 2, 3])
        return tf.stack([tf.zeros_like(brightness), brightness - 100.2], axis=1)

    return logits_fn, np.full((4, 2, 2, 1), 100, np.uint8), np.zeros(4, np.int32)


@pytest.mark.parametrize(
    ("rise", "epsilon", "in_8_bits"),
    [(0.3, 1.2, False), (0.6, 1.2, True), (0.6, 0.7, False), (1.0, 1.0, True)],
    ids=[
        "rounds to the image",
        "rounds to what fools",
        "rounds back into the ball",
        "is in 8 bits",
    ],
)
def test_rounding_to_8_bits_is_verified_too(rise, epsilon, in_8_bits, brightness_100):
    threat_model = ThreatModel(epsilon / 255)
    attack = FixedAttack(lambda pixels: pixels + rise / 255)
    for standalone in (False, True):
        result = Evaluator(brightness_100[0], threat_model, 3).attack(
            *brightness_100[1:], [attack], standalone=standalone
        )
        assert result.attacks[0].fooled.all()
        np.testing.assert_array_equal(result.attacks[0].fooled_8bit, in_8_bits)
        assert result.attacks[0].accuracy == 0
        assert result.attacks[0].accuracy_8bit == 1 - in_8_bits
        assert result.worst_case_accuracy_8bit == 1 - in_8_bits


def test_accuracy_in_8_bits_follows_the_rule_of_accuracy(brightness_100):
    def raising(name, rise, cost, where):
        attack = FixedAttack(lambda pixels: pixels + rise / 255)
        attack.name, attack.cost = name, cost

        def run(classifier, threat_model, images, labels, seeds, restart):
            chosen = tf.reduce_any(seeds[:, 1, None] == tf.constant(where, tf.int64), axis=1)
            found = tf.where(chosen[:, None, None, None], images + rise / 255, images)
            return Attempt(found, chosen)

        attack.run = run
        return attack

    attacks = [raising("first", 0.3, 1, [0]), raising("second", 0.6, 2, [0, 1])]
    evaluator = Evaluator(brightness_100[0], ThreatModel(1 / 255), 4)
    cascade = evaluator.attack(*brightness_100[1:], attacks)
    alone = evaluator.attack(*brightness_100[1:], attacks, standalone=True)
    assert [attack.accuracy for attack in cascade.attacks] == [0.75, 0.5]
    assert [attack.accuracy_8bit for attack in cascade.attacks] == [1, 0.75]
    assert cascade.worst_case_accuracy_8bit == 0.75
    assert [attack.accuracy for attack in alone.attacks] == [0.75, 0.5]
    assert [attack.accuracy_8bit for attack in alone.attacks] == [1, 0.5]
    assert alone.worst_case_accuracy_8bit == 0.5
    for result in (cascade, alone):
        assert result.examples.attacks == ("first", "second")
        assert result.examples.images[:, 0, 0, 0] * 255 == pytest.approx([100.3, 100.6])


def test_the_first_verified_image_of_each_fooled_example_is_kept(
    network, network_labels, images, ball
):
    result = Evaluator(network, ball, 7).attack(
        images, network_labels, by_names(["pgd2", "cw5"], ball.epsilon, restarts=2), standalone=True
    )
    found = result.examples
    by_attack = _fooled(result)
    np.testing.assert_array_equal(found.indices, np.flatnonzero(np.any([*by_attack.values()], 0)))
    assert 0 < len(found.indices) < result.clean_correct.sum()
    for index, name in zip(found.indices, found.attacks, strict=True):
        assert name == ("pgd2" if by_attack["pgd2"][index] else "cw5")
    np.testing.assert_array_equal(found.clean_images, images[found.indices])
    np.testing.assert_array_equal(found.labels, network_labels[found.indices])
    assert ball.is_feasible(found.images, found.clean_images).numpy().all()
    assert found.images.dtype == np.float32
    predictions = network(found.images, training=False).numpy().argmax(axis=1)
    np.testing.assert_array_equal(found.predictions, predictions)
    assert (found.predictions != found.labels).all()


def test_nothing_fooled_leaves_no_images(honest, images, labels, threat_model):
    attack = FixedAttack(lambda pixels: pixels)
    found = Evaluator(honest, threat_model, 8).attack(images, labels, [attack]).examples
    assert found.images.shape == (0, 8, 8, 1)
    assert found.attacks == ()


def assert_same(first, second):
    """Whether two results are alike bit for bit, but for the seconds."""
    arrays = ("fooled", "fooled_8bit", "refused")
    apart = dict.fromkeys(("seconds", *arrays))
    for one, other in zip(first.attacks, second.attacks, strict=True):
        assert dataclasses.replace(one, **apart) == dataclasses.replace(other, **apart)
        for name in arrays:
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for name, array in vars(first.examples).items():
        np.testing.assert_array_equal(array, getattr(second.examples, name))


def test_two_devices_find_what_one_finds(network, network_labels, images, ball):
    """A copy of the classifier, and of the source transferred from, on each."""
    devices = [device.name for device in tf.config.list_logical_devices("CPU")]
    assert len(devices) == 2
    places, traces = {}, []

    def copies(scale):
        made = []
        for device in devices:
            with tf.device(device):
                model = keras.models.clone_model(network)
                model.set_weights([scale * weight for weight in network.get_weights()])

            def logits_fn(pixels, model=model):
                traces.append(pixels.shape)
                return model(pixels, training=False)

            made.append(AttackedClassifier(logits_fn, device))
        return tuple(made)

    class Placed(FixedAttack):
        def run(self, classifier, threat_model, images, labels, seeds, restart):
            places.setdefault(classifier.device, []).append(images.device)
            time.sleep(0.05)  # So that no device takes all the batches.
            return super().run(classifier, threat_model, images, labels, seeds, restart)

    twins = copies(0.9)

    def evaluate_on(classifiers, source_copies):
        attacks = by_names(
            ["cw2", "transfer_cw2"],
            ball.epsilon,
            restarts=2,
            sources=[TransferSource("twin", source_copies, "runs/twin", "")],
        )
        attacks.append(Placed(lambda pixels: pixels))
        return Evaluator(classifiers, ball, 4).attack(images, network_labels, attacks)

    both = evaluate_on(copies(1.0), twins)
    # The forward passes of the classifier and of the source, on each device.
    assert len(traces) == 2 * (1 + 1)
    alone = evaluate_on(network, (AttackedClassifier(twins[0].logits),))
    assert_same(both, alone)
    for device in devices:
        assert places[device]
        assert all(place.endswith(device) for place in places[device])


def test_an_error_on_one_of_two_devices_is_not_swallowed(network, network_labels, images, ball):
    devices = [device.name for device in tf.config.list_logical_devices("CPU")]
    evaluator = Evaluator([AttackedClassifier(network, d) for d in devices], ball, 4)

    def fail(pixels):
        raise RuntimeError("no luck")

    with pytest.raises(RuntimeError, match="no luck"):
        evaluator.attack(images, network_labels, [FixedAttack(fail)])


def test_uint8_images_are_those_over_255(honest, images, labels, threat_model):
    integers = np.round(images * 255).astype(np.uint8)
    attacks = by_names(["pgd3"], 0.05)
    from_integers = _attacked(honest, integers, labels, threat_model, attacks)
    from_floats = _attacked(
        honest, integers.astype(np.float32) / np.float32(255), labels, threat_model, attacks
    )
    np.testing.assert_array_equal(from_integers.robust, from_floats.robust)


def test_progress_prints_a_line_an_attack_where_there_is_no_terminal(
    honest, images, labels, threat_model, capsys
):
    attacks = by_names(["fgsm", "pgd2"], 0.05)
    result = _attacked(honest, images, labels, threat_model, attacks, progress=True)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0] == f"fgsm: {round(24 * result.accuracy('fgsm'))} images withstood it"
    _attacked(honest, images, labels, threat_model, attacks)
    assert capsys.readouterr().out == ""


def test_progress_shows_a_bar_on_a_terminal(
    honest, images, labels, threat_model, monkeypatch, capsys
):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    result = _attacked(
        honest, images, labels, threat_model, by_names(["fgsm"], 0.05), progress=True
    )
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
        (lambda x, y: (x.astype(np.int64), y), "int64"),
        (lambda x, y: (x, y.astype(np.float32)), "integers"),
        (lambda x, y: (x, y - 1), "integers from 0"),
        (lambda x, y: (x, y + 1), "labels go up to 4"),
    ],
)
def test_bad_examples_are_refused(change, message, honest, images, labels, threat_model):
    with pytest.raises(UserError, match=message):
        Evaluator(honest, threat_model, 24).attack(
            *change(images, labels), by_names(["fgsm"], 0.05)
        )
