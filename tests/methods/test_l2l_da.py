"""L2L-DA against the description of its authors' code, composed again by hand."""

import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf.methods import l2l_da
from tests.small_training import BATCH_SIZE, batch, dataset, fit, run
from tests.small_training import build_small as build

SEED = tf.constant([1, 2])
WEIGHT = 0.5
# Steps of half the radius, so that few of them reach it.
FEW_STEPS = {"attack_iterations": 3, "attack_step_size": 0.5, "diversity_weight": WEIGHT}


def _build(**flags):
    """A generator that is loud enough to reach the ball's bound, a classifier far from flat."""
    method = build("l2l_da", **{**FEW_STEPS, **flags})
    for layer, factor in ((method.generator, 100), (method.classifier, 5)):
        kernel = layer.get_layer("output" if layer is method.generator else "logits").kernel
        kernel.assign(factor * kernel)
    return method


def _data():
    """Images of which a third lies at the pixel range's ends, where the last clip acts."""
    data = batch()
    return tf.clip_by_value(1.5 * data["image"] - 0.25, 0, 1), data["label"]


def _cross_entropy(method, images, labels):
    logits = method.classifier(images, training=False)
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))


def _unit_gradient(method, images, labels):
    """Of unit l2 norm an example and channel, in NumPy."""
    with tf.GradientTape() as tape:
        tape.watch(images)
        loss = _cross_entropy(method, images, labels)
    gradient = tape.gradient(loss, images).numpy()
    return gradient / np.sqrt(((gradient + 1e-15) ** 2).sum(axis=(1, 2), keepdims=True))


def _by_hand(method, images, labels, latents, training):
    """The authors' loop: the whole loss in one tape; its gradients by G, and its last images."""
    epsilon = method.threat_model.epsilon
    gradient = np.tile(_unit_gradient(method, images, labels), (2, 1, 1, 1))
    images, labels = tf.tile(images, [2, 1, 1, 1]), tf.tile(labels, [2])
    z1, z2 = latents[:BATCH_SIZE].numpy(), latents[BATCH_SIZE:].numpy()
    z_distance = np.abs(z1 - z2).mean(axis=1) + 1e-8
    delta, total = tf.zeros_like(images), 0.0
    with tf.GradientTape() as tape:
        for _ in range(3):
            seen = tf.concat([images, gradient, delta], axis=-1)
            output = method.generator([seen, latents, labels], training=training)
            delta = tf.maximum(tf.minimum(delta + 0.5 * epsilon * output, epsilon), -epsilon)
            adversarial = tf.maximum(tf.minimum(images + delta, 1.0), 0.0)
            reached = _cross_entropy(method, adversarial, labels)
            distance = tf.abs(adversarial[:BATCH_SIZE] - adversarial[BATCH_SIZE:])
            ratio = tf.reduce_mean(tf.reduce_mean(distance, axis=[1, 2, 3]) / z_distance)
            total += reached + WEIGHT * ratio
            gradient = _unit_gradient(method, tf.constant(adversarial.numpy()), labels)
    return tape.gradient(total, method.generator.trainable_variables), delta, adversarial, ratio


def test_the_settings_are_the_authors():
    """The readme's CIFAR-10 command and adv_defence/config.py of their repository."""
    settings = l2l_da.Settings()
    assert (settings.attack_iterations, settings.attack_step_size) == (10, 0.25)
    assert (settings.latent_dim, settings.diversity_weight) == (8, 0.5)
    assert (settings.classifier_learning_rate, settings.generator_learning_rate) == (0.01, 0.01)
    assert (settings.weight_decay, settings.gradient_clip_norm) == (1e-5, 1)
    assert not settings.generator_lr_decay


@pytest.fixture(scope="module")
def recursion():
    """One recursion in training mode, its gradients and what the generator was given."""
    method = _build()
    images, labels = _data()
    calls = []
    original = method.generator.call

    def call(inputs, training=None, **options):
        calls.append([x.numpy() for x in inputs])
        return original(inputs, training=training, **options)

    method.generator.call = call
    with tf.GradientTape() as tape:
        reached = method.recurse(images, labels, SEED, training=True)
    gradients = tape.gradient(reached.objective, method.generator.trainable_variables)
    method.generator.call = original
    return method, images, labels, reached, gradients, calls


def test_clipping_passes_gradients_at_its_bounds_as_torch_clamp_does():
    x = tf.constant([-2.0, -1.0, 0.5, 1.0, 2.0])
    with tf.GradientTape() as tape:
        tape.watch(x)
        clipped = tf.clip_by_value(x, -1.0, 1.0)
    np.testing.assert_array_equal(tape.gradient(clipped, x), [0, 1, 1, 1, 0])


def test_the_recursion_is_the_authors(recursion):
    """Iterates, and the generator's gradient: the surrogate's is the whole loss's."""
    method, images, labels, reached, gradients, calls = recursion
    latents = tf.constant(calls[0][1])
    expected, delta, adversarial, ratio = _by_hand(method, images, labels, latents, True)
    epsilon = method.threat_model.epsilon
    at_bound = np.isclose(np.abs(delta), epsilon, rtol=1e-6).mean()
    assert 0.1 < at_bound < 0.9
    assert 0.1 < np.isin(adversarial, [0, 1]).mean() < 0.9
    np.testing.assert_allclose(reached.perturbations, delta, atol=1e-5)
    np.testing.assert_allclose(reached.adversarial_images, adversarial, atol=1e-5)
    assert float(reached.diversity) == pytest.approx(float(ratio), rel=1e-3)
    doubled = tf.tile(labels, [2])
    assert float(reached.cross_entropy) == pytest.approx(
        float(_cross_entropy(method, adversarial, doubled)), rel=1e-4
    )
    for ours, theirs in zip(gradients, expected, strict=True):
        scale = np.abs(theirs).max()
        assert scale > 0
        np.testing.assert_allclose(ours / scale, theirs / scale, atol=2e-3)


def test_the_generator_sees_image_gradient_and_perturbation(recursion):
    """In the authors' channel order, the gradient at the iterate before; latents are held."""
    method, images, labels, reached, _, calls = recursion
    assert len(calls) == 3
    doubled, doubled_labels = np.tile(images, (2, 1, 1, 1)), np.tile(labels, 2)
    current = images
    for step, (features, latents, given) in enumerate(calls):
        np.testing.assert_array_equal(features[..., :3], doubled)
        expected = _unit_gradient(method, current, doubled_labels[: len(current)])
        np.testing.assert_allclose(
            features[:BATCH_SIZE, ..., 3:6], expected[:BATCH_SIZE], atol=1e-4
        )
        np.testing.assert_array_equal(latents, calls[0][1])
        np.testing.assert_array_equal(given, doubled_labels)
        if step == 0:
            np.testing.assert_array_equal(features[..., 6:], 0)
            np.testing.assert_array_equal(features[:BATCH_SIZE], features[BATCH_SIZE:])
        if step + 1 < len(calls):
            delta = calls[step + 1][0][..., 6:]
            assert np.abs(delta).max() > 0.2 * method.threat_model.epsilon
            current = tf.constant(np.clip(doubled + delta, 0, 1))
    assert calls[0][1].shape == (2 * BATCH_SIZE, 3)
    assert np.abs(calls[0][1][:BATCH_SIZE] - calls[0][1][BATCH_SIZE:]).min() > 0
    assert np.abs(reached.perturbations - calls[-1][0][..., 6:]).max() > 1e-3


def test_the_classifier_descends_clean_and_both_adversarials_of_before_the_update(monkeypatch):
    """One batch of three parts, mean cross-entropy, gradient clipped to norm 1, then L2."""
    method = _build(generator_learning_rate=1.0)
    twin = _build(generator_learning_rate=1.0)
    images, labels = _data()
    reached = twin.recurse(images, labels, twin.step_seeds(1)[0], training=True)
    trained_on = []
    original = method.classifier.call

    def call(inputs, training=None, **options):
        if training:
            trained_on.append(inputs)
        return original(inputs, training=training, **options)

    monkeypatch.setattr(method.classifier, "call", call)
    reports = method.train_step({"image": images, "label": labels})
    expected = tf.concat([images, reached.adversarial_images], axis=0)
    assert len(trained_on) == 1
    np.testing.assert_allclose(trained_on[0], expected, atol=1e-5)

    before = twin.classifier.get_weights()
    with tf.GradientTape() as tape:
        logits = twin.classifier(trained_on[0], training=True)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.tile(labels, [3]), logits)
        loss = tf.reduce_mean(losses)
    assert float(reports["loss"]) == pytest.approx(float(loss), rel=1e-4)
    parts = {"clean": losses[:BATCH_SIZE], "adversarial": losses[BATCH_SIZE:]}
    for name, part in parts.items():
        assert float(reports[f"{name}_cross_entropy"]) == pytest.approx(
            float(tf.reduce_mean(part)), rel=1e-4
        )
    variables = twin.classifier.trainable_variables
    gradients = tape.gradient(loss, variables)
    norm = np.sqrt(sum(np.sum(np.square(gradient)) for gradient in gradients))
    assert norm > 1.1
    assert len(before) > len(variables)
    for ours, start, gradient in zip(
        method.classifier.trainable_variables, variables, gradients, strict=True
    ):
        step = gradient / norm + 1e-5 * start
        np.testing.assert_allclose(start - 0.01 * step, ours, atol=2e-6)


@pytest.mark.parametrize("clip", [0, 1])
def test_both_gradients_are_clipped(clip):
    method = _build(
        gradient_clip_norm=clip, weight_decay=0, generator_weight_decay=0, diversity_weight=1000
    )
    method.train_step(batch())
    for optimizer in method.optimizers_by_network.values():
        # After one step the momentum is the gradient that was applied.
        norm = float(tf.linalg.global_norm([b.value for b in optimizer.momentum_buffers]))
        if clip:
            assert norm == pytest.approx(1, rel=1e-3)
        else:
            assert norm > 1.1


def test_the_generator_learns_to_attack():
    """Against a classifier that stands still, the cross-entropy that it reaches rises."""
    method = build(
        "l2l_da",
        attack_iterations=2,
        attack_step_size=0.5,
        diversity_weight=0,
        generator_optimizer="adam",
        generator_learning_rate=1e-2,
    )
    kernel = method.classifier.get_layer("logits").kernel
    kernel.assign(5 * kernel)
    method.train_classifier = lambda *_: {"loss": tf.constant(0.0)}
    data = batch()
    clean = float(method.loss_gradient(data["image"], data["label"])[1])
    first = run(method, dataset(1), 1)["generator_cross_entropy"] - clean
    fit(method, dataset(1).repeat(), 30)
    method.reset_means()
    last = run(method, dataset(1), 1)["generator_cross_entropy"] - clean
    assert last > 0.05
    assert last > 2 * abs(first)


def test_perturbing_follows_the_first_latent_in_inference_mode():
    method = _build()
    method.train_step(batch(seed=5))
    images, labels = _data()
    reached = method.recurse(images, labels, SEED, training=False)
    perturbed = method.perturb(images, labels, SEED)
    np.testing.assert_array_equal(perturbed, reached.adversarial_images[:BATCH_SIZE])
    assert np.abs(reached.adversarial_images[BATCH_SIZE:] - perturbed).max() > 1e-3
    others = method.perturb(images, (labels + 1) % 5, SEED)
    assert np.abs(others - perturbed).max() > 1e-3


def test_the_defaults_are_the_authors():
    method = build("l2l_da")
    assert method.settings.attack_iterations == 10
    assert method.settings.attack_step_size == 0.25
    assert method.settings.diversity_weight == 0.5
    assert method.settings.gradient_clip_norm == 1
    for optimizer in method.optimizers_by_network.values():
        assert float(optimizer.learning_rate) == pytest.approx(0.01)
        assert (optimizer.momentum, optimizer.l2) == (0.9, 1e-5)
    assert method.forward_equivalents == {"classifier": 51, "generator": 60}
