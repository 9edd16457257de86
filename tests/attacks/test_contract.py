"""What every attack must keep to, whatever it does."""

from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf.attacks import registry
from fsgan_tf.attacks.parts.attacked_classifier import AttackedClassifier, is_misclassified
from fsgan_tf.attacks.parts.source import TransferSource
from fsgan_tf.attacks.registry import by_names
from fsgan_tf.evaluation import saved_examples
from fsgan_tf.evaluation.engine import Evaluator

# One attack of each kind, and those that transfer_ goes before.
NAMES = [
    *(
        kind.name.removesuffix("N") + "5" * kind.name.endswith("N")
        for kind in registry.kinds()
        if not kind.name.endswith("ATTACK")
    ),
    *("transfer_fgsm", "transfer_pgd5", "transfer_cw5"),
    "saved_examples",
]


@pytest.fixture
def make(threat_model, images, tmp_path):
    """Makes the attack of a name on a classifier, whose like another one is to transfer from."""

    def attack(name, logits_fn, like, labels):
        if name != "saved_examples":
            twin = TransferSource("twin", (AttackedClassifier(like),), "runs/twin", "12" * 32)
            (made,) = by_names([name], threat_model.epsilon, sources=[twin])
            return made
        found = Evaluator(logits_fn, threat_model, 24).attack(
            images, labels, by_names(["pgd20"], threat_model.epsilon)
        )
        path = tmp_path / "examples.npz"
        saved_examples.save(path, found, dataset_sha256="34" * 32, classifier_sha256="")
        return saved_examples.load(str(path), images.shape[1:], "34" * 32)

    return attack


@pytest.fixture
def like_network(network):
    """The network with other weights than its own, but not by much."""
    other = keras.models.clone_model(network)
    generator = np.random.default_rng(0)
    other.set_weights([w * generator.uniform(0.9, 1.1, w.shape) for w in network.get_weights()])
    return other


@pytest.mark.parametrize("name", NAMES)
def test_one_run(name, make, network, like_network, network_labels, images, threat_model):
    attack = make(name, network, like_network, network_labels)
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
    wrong = is_misclassified(network(attempt.images, training=False), labels).numpy()
    clean_wrong = is_misclassified(network(images, training=False), labels).numpy()
    assert wrong.sum() > clean_wrong.sum()
    if name != "saved_examples":  # It has images of what was classified correctly alone.
        np.testing.assert_array_equal(attempt.success, wrong)
        assert not np.any(clean_wrong & ~wrong)

    again = run(key=3)
    np.testing.assert_array_equal(again.images, attempt.images)
    order = np.arange(len(images))[::-1].copy()
    np.testing.assert_array_equal(run(3, order).success, attempt.success.numpy()[order])

    for before, after in zip(state, network.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)

    assert attack.name.partition("@")[0] == name
    assert attack.parameters["restarts"] == attack.restarts
    assert "name" not in attack.parameters


@pytest.mark.parametrize("name", NAMES)
def test_batches_and_survivors_decide_nothing(
    name, make, network, like_network, network_labels, images, threat_model, monkeypatch
):
    attack = make(name, network, like_network, network_labels)
    alone = Evaluator(network, threat_model, 24).attack(images, network_labels, [attack])
    assert not alone.attacks[0].refused.any()
    assert alone.attacks[0].fooled.sum() > 0

    found = alone.examples
    loops = mock.Mock(wraps=tf.while_loop)
    monkeypatch.setattr(tf, "while_loop", loops)
    every_other = saved_examples.SavedExamples("", "", found.indices[::2], found.images[::2])
    traces = []

    def logits_fn(pixels):
        traces.append(pixels.shape)
        return network(pixels, training=False)

    evaluator = Evaluator(logits_fn, threat_model, 7)
    after = evaluator.attack(images, network_labels, [every_other, attack])
    again = evaluator.attack(images, network_labels, [every_other, attack])
    # Batches of 1, 2, ... and 7 share what is compiled: the classifier and its gradient.
    for count in range(2, 8):
        evaluator.attack(images[:count], network_labels[:count], [attack])
    assert len(traces) <= 2
    assert loops.call_count <= 1
    np.testing.assert_array_equal(after.robust, alone.robust)
    np.testing.assert_array_equal(after.examples.images, again.examples.images)


@pytest.mark.parametrize("name", NAMES)
def test_any_number_of_classes(name, make, images, threat_model):
    for num_classes in (2, 12):
        weights = np.random.default_rng(1).normal(size=(64, num_classes)).astype(np.float32)

        def logits_fn(pixels, weights=weights):
            return tf.reshape(pixels, [-1, 64]) @ weights

        labels = np.argmax(logits_fn(images), axis=1).astype(np.int32)
        attack = make(name, logits_fn, lambda pixels: 0.9 * logits_fn(pixels), labels)
        result = Evaluator(logits_fn, threat_model, 24).attack(images, labels, [attack])
        assert result.clean_accuracy == 1
        assert result.attacks[0].fooled.any()
        assert not result.attacks[0].refused.any()


@pytest.mark.parametrize("name", NAMES)
def test_a_path_that_fools_ends_in_an_image_that_fools(name, make, images, threat_model):
    """The classifier notes what it is asked about, and errs only in a band that paths cross."""
    labels = np.zeros(len(images), np.int32)
    seen = tf.Variable(tf.zeros(len(images), tf.bool))

    def lead(pixels, base):
        rise = tf.reduce_mean(pixels - base, axis=[1, 2, 3])
        return tf.where(rise < 0.022, 50 * rise - 0.3, 0.3 * rise - 0.1)

    def noted_lead(pixels):
        wrong = lead(pixels, images)
        seen.assign(seen | (threat_model.is_feasible(pixels, images) & (wrong > 0)))
        return wrong

    def noting(pixels):
        wrong = tf.cond(
            tf.shape(pixels)[0] == len(images),
            lambda: noted_lead(pixels),
            lambda: pixels[:, 0, 0, 0] - 1,
        )
        return tf.stack([tf.zeros_like(wrong), wrong], axis=1)

    attack = make(name, noting, noting, labels)
    seen.assign(tf.zeros_like(seen))
    seeds = tf.stack([tf.fill([24], np.int64(5)), tf.range(24, dtype=tf.int64)], axis=1)
    found = attack.run(
        AttackedClassifier(noting),
        threat_model,
        tf.constant(images),
        tf.constant(labels),
        seeds,
        restart=0,
    ).images
    noted = seen.numpy()
    if name not in ("fgsm", "transfer_fgsm", "saved_examples"):
        assert noted.any()
    fooled = lead(found, images).numpy() > 0
    assert not np.any(noted & ~fooled)
