"""FGSM-PGI against `FGSM_MEP.py`'s description, recomputed in NumPy over several epochs."""

import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from fsgan_tf.cli import training_flags
from fsgan_tf.methods import FGSMPGI
from fsgan_tf.methods.parts.example_memory import ExampleMemory
from tests.small_training import BATCH_SIZE, IMAGE_SHAPE, NUM_CLASSES, batch, dataset, run
from tests.small_training import build_small as build

NAME = "fgsm_pgi"
SHAPE, CLASSES = (4, 4, 1), 3
# Weights that stay, so that only what is remembered makes two steps differ.
STILL = {"classifier_learning_rate": 1e-30, "weight_decay": 0, "consistency_weight": 5}


def _targets(labels):
    """`_label_smoothing(label, 0.6)`, of ten classes there."""
    one_hot = np.eye(NUM_CLASSES)[labels]
    return one_hot * 0.6 + (one_hot - 1) * ((0.6 - 1) / (NUM_CLASSES - 1))


def _mean_loss(logits, labels):
    return np.mean(-np.sum(_targets(labels) * scipy.special.log_softmax(logits, axis=1), axis=1))


class Authors:
    """The loop's body in NumPy, on TensorFlow's gradient; `all_delta` and `all_momentum`."""

    def __init__(self, method, corners):
        self.classifier, self.epsilon = method.classifier, method.threat_model.epsilon
        self.all_delta, self.all_momentum = corners.copy(), np.zeros_like(corners)

    def step(self, data):
        images, labels, rows = (data[key].numpy() for key in ("image", "label", "index"))
        delta, momentum = self.all_delta[rows], self.all_momentum[rows]
        start = tf.constant(images + delta)
        with tf.GradientTape() as tape:
            tape.watch(start)
            logits = self.classifier(start, training=True)
            loss = tf.nn.softmax_cross_entropy_with_logits(_targets(labels), logits)
            loss = tf.reduce_mean(loss)
        gradient = tape.gradient(loss, start).numpy()
        momentum = gradient / np.abs(gradient).sum() + 0.3 * momentum
        self.all_momentum[rows] = momentum
        self.all_delta[rows] = self._clamped(delta + self.epsilon * np.sign(momentum), images)
        delta = self._clamped(delta + self.epsilon * np.sign(gradient), images)
        after = self.classifier(images + delta, training=True).numpy()
        consistency = np.mean((after - logits.numpy()) ** 2)
        return _mean_loss(after, labels) + 5 * consistency, consistency

    def _clamped(self, delta, images):
        delta = np.clip(delta, -self.epsilon, self.epsilon)
        return np.clip(delta, 0 - images, 1 - images)


def _epochs(count):
    """The same images under the same numbers, cropped otherwise in every epoch."""
    for epoch in range(count):
        for number in range(2):
            data = batch(seed=number)
            yield epoch, {**data, "image": tf.roll(data["image"], epoch, axis=1)}


def _arrays(method):
    return {variable.name: variable.numpy() for variable in method.memory.variables}


def test_its_own_settings_are_the_authors():
    settings = training_flags.parse([f"--method={NAME}"]).method
    assert (settings.label_smoothing, settings.consistency_weight) == (0.4, 10)
    assert (settings.attack_step_size, settings.prior_decay) == (1, 0.3)
    assert (settings.prior_epochs, settings.prior_precision) == (40, "float32")
    assert (settings.classifier_learning_rate, settings.weight_decay) == (0.1, 5e-4)


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_steps_of_several_epochs_are_the_authors(precision, monkeypatch):
    method, twin = (build(NAME, prior_precision=precision, **STILL) for _ in range(2))
    random = np.random.default_rng(1)
    epsilon = method.threat_model.epsilon
    corners = epsilon * np.sign(random.random((80, *IMAGE_SHAPE)) - 0.5).astype(np.float32)
    authors = Authors(twin, corners)
    for _, data in _epochs(3):
        start = tf.constant(corners[data["index"].numpy()])
        monkeypatch.setattr(method, "corner", lambda shape, seed, start=start: start)
        method.reset_means()
        reports = {name: float(value) for name, value in method.train_step(data).items()}
        loss, consistency = authors.step(data)
        # A sign is either way where rounding decides the gradient's.
        assert reports["loss"] == pytest.approx(loss, rel=1e-2)
        assert reports["consistency"] == pytest.approx(consistency, rel=3e-2)
    kept, seen = _arrays(method), 2 * BATCH_SIZE
    assert kept["perturbations"].dtype == precision
    off = np.abs(kept["perturbations"][:seen] - authors.all_delta[:seen]) > 1e-4
    assert np.mean(off) < 0.03
    # Theirs is of the l1 norm, ours of the mean.
    theirs = authors.all_momentum[:seen] * BATCH_SIZE * np.prod(IMAGE_SHAPE)
    assert np.linalg.norm(kept["momenta"][:seen] - theirs) < 0.1 * np.linalg.norm(theirs)
    assert not kept["rounds"][seen:].any()


def test_the_descent_is_both_terms_through_both_passes(monkeypatch):
    method, twin = build(NAME), build(NAME)
    found = []
    monkeypatch.setattr(
        method.classifier_optimizer, "apply", lambda gradients, _: found.extend(gradients)
    )
    run(method, dataset(1), 1)
    data = batch()
    images, labels = data["image"], data["label"]
    start = images + twin.corner(tf.shape(images), twin.step_seeds(1)[0])
    moved = images + _arrays(method)["perturbations"][data["index"].numpy()]
    with tf.GradientTape() as tape:
        before = twin.classifier(start, training=True)
        after = twin.classifier(moved, training=True)
        loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(_targets(labels), after))
        loss += 10 * tf.reduce_mean((after - before) ** 2)
    gradients = tape.gradient(loss, twin.classifier.trainable_variables)
    difference = tf.linalg.global_norm([a - b for a, b in zip(found, gradients, strict=True)])
    assert float(difference) < 0.01 * float(tf.linalg.global_norm(gradients))


def _classifier():
    return keras.Sequential(
        [keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(CLASSES, name="logits")]
    )


def _data(count=12):
    random = np.random.default_rng(0)
    return random.random((count, *SHAPE), np.float32), random.integers(0, CLASSES, count)


def test_a_round_starts_from_new_corners_and_no_momentum():
    method = FGSMPGI(_classifier(), epsilon=0.1, prior_epochs=2)
    starts = []
    original = method.stored
    method.stored = lambda *arguments: starts.append(original(*arguments)) or starts[-1]
    method.compile(run_eagerly=True)
    method.fit(*_data(4), batch_size=4, epochs=5, verbose=0)
    corners = [bool(np.all(np.isclose(np.abs(start), 0.1))) for start, _ in starts]
    still = [not np.any(momentum) for _, momentum in starts]
    assert corners == still == [True, False, True, False, True]
    assert not np.array_equal(starts[0][0], starts[2][0])


def test_arrays_are_numbered_and_each_image_keeps_its_own():
    images, labels = _data()
    method = FGSMPGI(_classifier(), epsilon=0.1)
    method.fit(images, labels, batch_size=4, verbose=0)
    kept = _arrays(method)
    assert kept["rounds"].tolist() == [1] * len(images)
    within = images + kept["perturbations"]
    assert within.min() >= -1e-6
    assert within.max() <= 1 + 1e-6
    assert method.threat_model.is_feasible(within, images).numpy().all()


def test_numbered_batches_train_and_others_are_told_what_to_do():
    pairs = tf.data.Dataset.from_tensor_slices(_data())
    method = FGSMPGI(_classifier(), epsilon=0.1)
    numbered = pairs.enumerate().map(lambda i, p: {"image": p[0], "label": p[1], "index": i})
    with pytest.raises(ValueError, match=r"call method.remember\(NUMBER_OF_IMAGES\)"):
        method.fit(numbered.batch(4), shuffle=False, verbose=0)
    method.remember(12)
    with pytest.raises(ValueError, match=r"dataset.enumerate\(\)"):
        method.fit(pairs.batch(4), shuffle=False, verbose=0)
    numbered = numbered.shuffle(12).batch(4)
    method.fit(numbered, epochs=2, validation_data=pairs.batch(4), shuffle=False, verbose=0)
    assert _arrays(method)["rounds"].tolist() == [1] * 12


@pytest.mark.parametrize("number", [-1, 3])
def test_a_number_that_is_no_image_is_refused(number):
    memory = ExampleMemory(3, {"values": ((2,), "float32")})
    with pytest.raises(tf.errors.InvalidArgumentError, match="index is not from 0 to 2"):
        memory.read(tf.constant([0, number]))


def test_what_keras_saves_holds_the_memory(tmp_path):
    method, other = (FGSMPGI(_classifier(), epsilon=0.1) for _ in range(2))
    method.fit(*_data(), batch_size=4, verbose=0)
    method.save_weights(tmp_path / "all.weights.h5")
    other.remember(12)
    other.load_weights(tmp_path / "all.weights.h5")
    for ours, theirs in zip(other.memory.variables, method.memory.variables, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


def test_replicas_remember_the_images_of_all(mirrored_strategy):
    with mirrored_strategy.scope():
        method = build(NAME)
    method.fit(dataset(1), epochs=1, steps_per_epoch=1, shuffle=False, verbose=0)
    for variable in method.memory.variables:
        first, second = (
            copy.numpy() for copy in mirrored_strategy.experimental_local_results(variable.value)
        )
        np.testing.assert_array_equal(first, second)
        assert np.any(first[:BATCH_SIZE], axis=tuple(range(1, first.ndim))).all()
        assert not first[BATCH_SIZE:].any()
