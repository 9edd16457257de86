import time

import numpy as np
import pytest
import tensorflow as tf
from cleverhans.tf2.attacks import spsa as cleverhans

from fsgan_tf import stateless_random
from fsgan_tf.attacks.parts.attacked_classifier import AttackedClassifier, is_misclassified
from fsgan_tf.attacks.parts.projected_gradient import random_start
from fsgan_tf.attacks.spsa import SPSA, _largest_divisor
from fsgan_tf.threat_model import ThreatModel


def _spsa(num_steps, num_samples=128, **options):
    return SPSA(f"spsa{num_steps}", num_steps, num_samples, **options)


def _seeds(count, key=7):
    return tf.stack([tf.fill([count], np.int64(key)), tf.range(count, dtype=tf.int64)], axis=1)


def _run(attack, classifier, threat_model, images, labels, key=7, chosen=None):
    chosen = np.arange(len(images)) if chosen is None else chosen
    if not isinstance(classifier, AttackedClassifier):
        classifier = AttackedClassifier(classifier)
    return attack.run(
        classifier,
        threat_model,
        tf.constant(images[chosen]),
        tf.constant(labels[chosen]),
        tf.gather(_seeds(len(images), key), chosen),
        restart=0,
    )


class _CleverHansOptimizer:
    """CleverHans' SPSAAdam without the Keras constructor that refuses it, with our directions."""

    beta_1, beta_2, epsilon, lr = 0.9, 0.999, 1e-7, 0.01
    _num_iters = 1

    def __init__(self, seed, num_samples, delta):
        self._seed = seed
        self._num_samples = num_samples // 2
        self._delta = delta
        self._step = 0

    def _get_delta(self, x, delta):
        seed = tf.random.fold_in(self._seed, np.int64(self._step), alg="philox")
        self._step += 1
        uniform = stateless_random.uniform([self._num_samples, *x.shape[1:]], seed)
        return delta * tf.sign(2 * uniform - 1)

    _compute_gradients = cleverhans.SPSAAdam._compute_gradients
    _apply_gradients = cleverhans.SPSAAdam._apply_gradients
    init_state = cleverhans.SPSAAdam.init_state
    minimize = cleverhans.SPSAAdam.minimize


def _cleverhans(monkeypatch, logits_fn, threat_model, image, start, label, seed, attack, stop):
    """CleverHans' attack on one image `[1, h, w, c]`, its start and samples replaced by ours."""

    def loss_fn(pixels, label):
        logits = logits_fn(pixels)
        return -cleverhans.margin_logit_loss(logits, label, nb_classes=logits.shape[-1])

    optimizer = _CleverHansOptimizer(seed, attack.num_samples, attack.delta)
    with monkeypatch.context() as patch:
        # Only the start is still drawn by it.
        patch.setattr(cleverhans.tf.random, "uniform", lambda *_, **__: start - image)
        return cleverhans.projected_optimization(
            loss_fn,
            tf.constant(image),
            tf.constant([label]),
            threat_model.epsilon,
            attack.num_steps,
            optimizer,
            clip_min=0.0,
            clip_max=1.0,
            early_stop_loss_threshold=0.0 if stop else None,
        )


@pytest.fixture(scope="module")
def colourful():
    """Images [6, 4, 5, 3], some pixels at 0 and 1, and a classifier in two layers."""
    generator = np.random.default_rng(3)
    images = np.clip(generator.uniform(-0.2, 1.2, (6, 4, 5, 3)), 0, 1).astype(np.float32)
    first = tf.constant(generator.normal(size=(60, 16)), tf.float32)
    second = tf.constant(generator.normal(size=(16, 5)), tf.float32)

    def logits_fn(pixels):
        return tf.tanh(tf.reshape(pixels - 0.5, [-1, 60]) @ first) @ second

    labels = logits_fn(images).numpy().argmax(axis=1).astype(np.int32)
    return images, labels, logits_fn


@pytest.mark.parametrize("num_steps", [1, 2, 7])
def test_iterates_are_those_of_cleverhans(num_steps, colourful, monkeypatch):
    images, labels, logits_fn = colourful
    threat_model = ThreatModel(epsilon=0.02)
    attack, seeds = _spsa(num_steps), _seeds(6)
    start = random_start(threat_model, tf.constant(images), seeds)
    classifier = AttackedClassifier(logits_fn)
    for index in range(6):
        # Alone, so that no other image stops or keeps it going.
        one = slice(index, index + 1)
        path = attack.descend(
            classifier,
            threat_model,
            tf.constant(images[one]),
            start[one],
            tf.constant(labels[one]),
            seeds[one],
        )
        expected = _cleverhans(
            monkeypatch,
            logits_fn,
            threat_model,
            images[one],
            start[one],
            labels[index],
            seeds[index],
            attack,
            stop=bool(path.success[0]),
        )
        np.testing.assert_allclose(path.last, expected, atol=1e-5)
        assert np.abs(path.last - start[one]).max() > 0.009


def test_first_success_is_that_of_cleverhans(colourful, monkeypatch):
    """In a batch, where the others go on after it."""
    images, labels, logits_fn = colourful
    threat_model = ThreatModel(epsilon=0.03)
    attack, seeds = _spsa(20), _seeds(6)
    start = random_start(threat_model, tf.constant(images), seeds)
    attempt = _run(attack, logits_fn, threat_model, images, labels)
    fooled = np.flatnonzero(attempt.success.numpy())
    at_start = is_misclassified(logits_fn(start), tf.constant(labels)).numpy()
    assert 0 < len(fooled) < 6
    assert not at_start.any()
    for index in fooled:
        one = slice(index, index + 1)
        expected = _cleverhans(
            monkeypatch,
            logits_fn,
            threat_model,
            images[one],
            start[one],
            labels[index],
            seeds[index],
            attack,
            stop=True,
        )
        np.testing.assert_allclose(attempt.images[one], expected, atol=1e-5)


def test_without_success_the_lowest_margin_is_kept(threat_model):
    """Adam overshoots a valley: the last iterate is not the lowest."""

    def valley(pixels):
        mean = tf.reduce_mean(pixels, axis=[1, 2, 3])
        return tf.stack([1 + tf.abs(mean - 0.515), tf.zeros_like(mean)], axis=1)

    classifier = AttackedClassifier(valley)
    grey = tf.fill([1, 2, 2, 1], 0.5)

    def path(num_steps):
        attack = _spsa(num_steps)
        return attack.descend(classifier, threat_model, grey, grey, tf.constant([0]), _seeds(1))

    def true_logit(pixels):
        return float(valley(pixels)[0, 0])

    last = [true_logit(path(num_steps).last) for num_steps in range(5)]
    assert last[-1] > min(last)
    assert true_logit(path(4).best) == min(last)
    assert not path(4).success[0]


def test_samples_depend_on_seed_and_step_and_not_on_chunks(colourful):
    images, labels, logits_fn = colourful
    threat_model = ThreatModel(epsilon=0.02)

    def found(max_batch, key=7):
        seen = tf.Variable(tf.zeros(100, tf.int32))

        def watched(pixels):
            seen.scatter_nd_add([[tf.shape(pixels)[0]]], [1])
            return logits_fn(pixels)

        attack = _spsa(3, num_samples=12, max_batch=max_batch)
        attempt = _run(attack, watched, threat_model, images, labels, key)
        # The six images themselves are judged together.
        return attempt.images.numpy(), set(np.flatnonzero(seen)) - {6}

    expected, widths = found(max_batch=1024)
    assert widths == {6 * 12}
    for max_batch, samples in [(2, 2), (5, 4), (30, 24)]:
        images_found, widths = found(max_batch)
        assert widths == {samples}
        np.testing.assert_allclose(images_found, expected, atol=1e-5)
    assert np.abs(found(1024, key=8)[0] - expected).max() > 0.01


@pytest.mark.parametrize(
    ("number", "limit", "divisor"), [(64, 64, 64), (64, 63, 32), (7, 6, 1), (128, 8, 8), (5, 0, 1)]
)
def test_largest_divisor(number, limit, divisor):
    assert _largest_divisor(number, limit) == divisor


@pytest.mark.parametrize("max_batch", [4, 16])
def test_one_chunk_at_a_time(max_batch, colourful):
    """Loops over chunks must not run several at once, or `max_batch` bounds nothing."""
    images, labels, logits_fn = colourful
    running, most = [], []

    def slow(pixels):
        running.append(1)
        most.append(len(running))
        time.sleep(0.01)
        running.pop()
        return pixels

    def watched(pixels):
        # Stateless, or TensorFlow itself would keep the calls apart.
        seen = tf.numpy_function(slow, [pixels], tf.float32, stateful=False)
        return logits_fn(tf.ensure_shape(seen, pixels.shape))

    attack = _spsa(1, num_samples=16, max_batch=max_batch)
    _run(attack, watched, ThreatModel(0.02), images, labels)
    assert len(most) == 1 + 6 * 16 // max_batch + 1
    assert max(most) == 1


def test_feasible_and_the_same_bits_by_seed_in_any_company(colourful):
    images, labels, logits_fn = colourful
    threat_model = ThreatModel(epsilon=0.06)
    attack = _spsa(10)
    attempt = _run(attack, logits_fn, threat_model, images, labels)
    assert threat_model.is_feasible(attempt.images, images).numpy().all()
    wrong = is_misclassified(logits_fn(attempt.images), tf.constant(labels))
    np.testing.assert_array_equal(attempt.success, wrong)

    again = _run(attack, logits_fn, threat_model, images, labels)
    np.testing.assert_array_equal(again.images, attempt.images)
    for chosen in (np.arange(6)[::-1], np.resize([3, 5], 6)):
        part = _run(attack, logits_fn, threat_model, images, labels, chosen=chosen)
        np.testing.assert_allclose(part.images, attempt.images.numpy()[chosen], atol=1e-5)


def test_two_classes(honest, images, labels, threat_model):
    def two(pixels):
        return honest(pixels)[:, :2]

    labels = labels % 2
    attempt = _run(_spsa(5), two, threat_model, images, labels)
    wrong = is_misclassified(two(attempt.images), tf.constant(labels)).numpy()
    clean_wrong = is_misclassified(two(images), tf.constant(labels)).numpy()
    assert clean_wrong.sum() < wrong.sum() < len(images)


def test_steps_stop_when_all_are_fooled(honest, images, labels):
    calls = tf.Variable(0)

    def counting(pixels):
        calls.assign_add(1)
        return honest(pixels)

    counted = []
    for chosen_labels in (labels, (labels + 1) % 4):
        calls.assign(0)
        attack = _spsa(5, num_samples=8)
        _run(attack, counting, ThreatModel(0.01), images[-4:], chosen_labels[-4:])
        counted.append(calls.numpy())
    # The start; each step's samples and its iterate.
    assert counted == [1 + 5 * 2, 1]


def test_one_trace_serves_every_number_of_steps_and_epsilon(honest, images, labels):
    traces = []

    def counting(pixels):
        traces.append(pixels.shape)
        return honest(pixels)

    classifier = AttackedClassifier(counting)
    for epsilon, num_steps, delta, key in [(0.02, 1, 0.01, 1), (0.05, 3, 0.02, 2)]:
        attack = _spsa(num_steps, delta=delta)
        _run(attack, classifier, ThreatModel(epsilon), images, labels, key)
    assert len(traces) == 1


def test_cost_parameters_and_bad_values():
    attack = SPSA("spsa1000", num_steps=1000)
    assert attack.cost == 64_000
    assert attack.parameters == {
        "num_steps": 1000,
        "num_samples": 128,
        "learning_rate": 0.01,
        "delta": 0.01,
        "restarts": 1,
    }
    with pytest.raises(ValueError, match="must be even"):
        _spsa(1, num_samples=7)
    with pytest.raises(ValueError, match="max_batch is 1"):
        _spsa(1, max_batch=1)
