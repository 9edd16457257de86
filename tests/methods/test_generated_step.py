"""The generator's step, recomputed apart from its code: separate tapes, NumPy between them."""

import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from fsgan_tf.methods.parts.optimal_transport import transport_cost
from tests.small_training import BATCH_SIZE, batch, dataset, run
from tests.small_training import build_small as build

NAME = "generated_step"
STEP = 7  # lambda is 7 there.


def _at_step(method):
    method.classifier_optimizer.iterations.assign(STEP)
    return method


def _unit(gradients):
    return gradients / np.sqrt(np.mean(gradients**2, axis=(1, 2, 3), keepdims=True))


class ByHand:
    """One step of a twin: the images, the loss, and the gradients that either network takes."""

    def __init__(self, method, data, ot_weight=0.0):
        self.method, self.data, self.epsilon = method, data, method.threat_model.epsilon
        x, self.labels = data["image"].numpy(), data["label"]
        noise_seed, latent_seed = method.step_seeds(2)
        shape = tf.shape(data["image"])
        noise = method.threat_model.random_perturbation(shape, noise_seed).numpy()
        self.start = tf.constant(np.clip(x + 2 * noise, 0, 1))
        still = build(NAME).classifier
        still.set_weights(method.classifier.get_weights())
        with tf.GradientTape() as tape:
            tape.watch(self.start)
            loss = self._cross_entropy(still(self.start, training=True))
        gradient = tape.gradient(loss, self.start).numpy()
        self.sign = np.sign(gradient)
        if method.frozen:
            step = self.sign
        else:
            step = self._generated(x, _unit(gradient), latent_seed)
        moved = self.start.numpy() + self.epsilon * step
        self.free = (moved > 0) & (moved < 1)
        self.images = tf.constant(np.clip(moved, 0, 1).astype(np.float32))
        self._losses(ot_weight)

    def _cross_entropy(self, logits):
        return tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(self.labels, tf.cast(logits, tf.float32))
        )

    def _generated(self, x, gradient, latent_seed):
        from fsgan_tf import stateless_random

        latents = stateless_random.normal([BATCH_SIZE, 3], latent_seed)
        features = [gradient, (self.start.numpy() - x) / self.epsilon, (x - 0.5) / 0.25]
        inputs = [np.concatenate(features, -1).astype(np.float32), latents, gradient]
        with tf.GradientTape() as self.generator_tape:
            self.soft = self.method.generator(list(map(tf.constant, inputs)), training=True)
        corner = self.method.settings.generator_output == "corner"
        return np.sign(self.soft) if corner else self.soft.numpy()

    def _losses(self, ot_weight):
        classifier = self.method.classifier
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(self.images)
            before = classifier(self.start, training=True)
            after = classifier(self.images, training=True)
            loss = self._cross_entropy(after) + STEP * tf.reduce_mean((after - before) ** 2)
            if ot_weight:
                loss += ot_weight * transport_cost(before, after, of="probabilities")
        self.gradients = tape.gradient(loss, classifier.trainable_variables)
        self.by_images = tape.gradient(loss, self.images).numpy()
        before, after = before.numpy(), after.numpy()
        picked = after[np.arange(BATCH_SIZE), self.labels]
        self.cross_entropy = np.mean(scipy.special.logsumexp(after, axis=1) - picked)
        self.consistency = np.mean((after - before) ** 2)
        self.loss = float(loss)

    def generator_gradients(self):
        """Down minus the mean of direction times step: a corner's gradient is the tanh's."""
        direction = _unit(self.by_images) * self.free / self.by_images.size
        return self.generator_tape.gradient(
            self.soft, self.method.generator.trainable_variables, tf.constant(-direction)
        )


def _spied(method, network, monkeypatch):
    found = []
    monkeypatch.setattr(
        method.optimizers_by_network[network], "apply", lambda g, _: found.extend(g)
    )
    return found


def _assert_close(found, expected, share):
    difference = tf.linalg.global_norm([a - b for a, b in zip(found, expected, strict=True)])
    assert float(difference) < share * float(tf.linalg.global_norm(expected))


@pytest.mark.parametrize(
    "flags",
    [{}, {"generator_output": "tanh"}, {"generator_update": "frozen_sign"}, {"ot_weight": 2}],
    ids=["corner", "tanh", "control", "with L_ot"],
)
def test_a_step_is_both_networks_gradients_of_one_loss(flags, monkeypatch):
    method, twin = (_at_step(build(NAME, **flags)) for _ in range(2))
    descent = _spied(method, "classifier", monkeypatch)
    ascent = _spied(method, "generator", monkeypatch)
    reports = run(method, dataset(1), 1)
    expected = ByHand(twin, batch(), flags.get("ot_weight", 0.0))
    assert reports["loss"] == pytest.approx(expected.loss, rel=1e-3)
    assert reports["cross_entropy"] == pytest.approx(expected.cross_entropy, rel=1e-3)
    assert reports["consistency"] == pytest.approx(expected.consistency, rel=1e-2)
    parts = expected.cross_entropy + STEP * expected.consistency
    assert (expected.loss > parts + 1e-4) == ("ot_weight" in flags)
    _assert_close(descent, expected.gradients, 0.01)
    if method.frozen:
        assert not ascent
    else:
        _assert_close(ascent, expected.generator_gradients(), 0.02)


def test_a_corner_moves_every_pixel_by_the_whole_step_and_tanh_by_a_part():
    data, seed = batch(), tf.constant([1, 2])
    sizes = {}
    for output in ("corner", "tanh"):
        method = build(NAME, generator_output=output)
        _, step, gradients = method._attack(data["image"], data["label"], seed)
        sizes[output] = np.abs(step) / method.threat_model.epsilon
        agreement = np.mean(np.sign(step) == np.sign(gradients))
        # Without training it is nearly the sign.
        assert 0.6 < agreement < 1
    np.testing.assert_allclose(sizes["corner"], 1, rtol=1e-5)
    assert sizes["tanh"].max() <= 1
    assert sizes["tanh"].mean() < 0.9


def test_the_control_is_the_sign_at_as_many_passes_and_its_generator_stays():
    control, learnt = build(NAME, generator_update="frozen_sign"), build(NAME)
    data, seed = batch(), tf.constant([1, 2])
    _, step, gradients = control._attack(data["image"], data["label"], seed)
    np.testing.assert_array_equal(step, control.threat_model.epsilon * np.sign(gradients))
    assert control.forward_equivalents == {"classifier": 7, "generator": 0}
    assert learnt.forward_equivalents == {"classifier": 7, "generator": 3}
    reports = run(control, dataset(1), 1)
    assert reports["sign_agreement"] == 1
    assert control.generator_displacement() == 0
    run(learnt, dataset(1), 1)
    assert learnt.generator_displacement() > 0


def test_the_generator_learns_to_raise_the_loss_of_a_classifier_that_stays():
    method = build(
        NAME, classifier_learning_rate=1e-30, weight_decay=0, generator_learning_rate=0.01
    )
    data = batch()
    reached = []
    for _ in range(12):
        method.reset_means()
        reached.append(float(method.train_step(data)["cross_entropy"]))
    assert np.mean(reached[-3:]) > np.mean(reached[:3])
