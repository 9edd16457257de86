from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
from cleverhans.tf2.attacks.fast_gradient_method import fast_gradient_method
from cleverhans.tf2.attacks.projected_gradient_descent import projected_gradient_descent

from fsgan_tf.attacks.parts import losses
from fsgan_tf.attacks.parts.attacked_classifier import AttackedClassifier, is_misclassified
from fsgan_tf.attacks.parts.projected_gradient import climb, random_start
from fsgan_tf.attacks.registry import by_names
from fsgan_tf.threat_model import ThreatModel


def _seeds(count, key=7):
    return tf.stack([tf.fill([count], np.int64(key)), tf.range(count, dtype=tf.int64)], axis=1)


@pytest.mark.parametrize("loss", ["cross_entropy", "margin"])
def test_last_iterate_has_the_bits_of_cleverhans_pgd(loss, network, network_labels, images):
    """CleverHans' own attack, its random draw replaced by ours, with the same start therefore."""
    threat_model = ThreatModel(epsilon=0.03)
    step_size, num_steps = 0.007, 7
    noise = threat_model.random_perturbation(images.shape, tf.constant([1, 2]))

    def logits_fn(pixels):
        return network(pixels, training=False)

    draw = "cleverhans.tf2.attacks.projected_gradient_descent.random_lp_vector"
    with mock.patch(draw, return_value=noise):
        expected = projected_gradient_descent(
            logits_fn,
            tf.constant(images),
            eps=threat_model.epsilon,
            eps_iter=step_size,
            nb_iter=num_steps,
            norm=np.inf,
            loss_fn=getattr(losses, loss),
            clip_min=0.0,
            clip_max=1.0,
            y=tf.constant(network_labels),
            rand_init=True,
            sanity_checks=False,
        )
    path = climb(
        AttackedClassifier(network),
        threat_model,
        tf.constant(images),
        threat_model.clip(images + noise),
        tf.constant(network_labels),
        loss=loss,
        num_steps=num_steps,
        step_size=step_size,
        stop_when_fooled=False,
    )
    np.testing.assert_array_equal(path.last, expected)


def test_fgsm_is_cleverhans_fgsm(network, network_labels, images, threat_model):
    (fgsm,) = by_names(["fgsm"], threat_model.epsilon)
    attempt = fgsm.run(
        AttackedClassifier(network),
        threat_model,
        tf.constant(images),
        tf.constant(network_labels),
        _seeds(len(images)),
        restart=0,
    )
    expected = fast_gradient_method(
        lambda pixels: network(pixels, training=False),
        tf.constant(images),
        threat_model.epsilon,
        np.inf,
        clip_min=0.0,
        clip_max=1.0,
        y=tf.constant(network_labels),
    ).numpy()
    misclassified = is_misclassified(network(images), tf.constant(network_labels)).numpy()
    # What is misclassified from the start needs no step.
    expected[misclassified] = images[misclassified]
    assert 0 < misclassified.sum() < len(images)
    # The projection that follows may move a pixel by one unit in the last place.
    np.testing.assert_allclose(attempt.images, expected, atol=1e-7)


def _wrong_in_a_band(pixels):
    """The loss rises with the mean, but class 1 wins between 0.53 and 0.55 only."""
    mean = tf.reduce_mean(pixels, axis=[1, 2, 3])
    inside = tf.cast((mean > 0.53) & (mean < 0.55), tf.float32)
    return tf.stack([0 * mean, 20 * inside - 10, 10 * (mean - 0.6)], axis=1)


def _climb_through_the_band(stop_when_fooled=False, num_steps=4):
    grey = tf.fill([3, 2, 2, 1], 0.5)
    return climb(
        AttackedClassifier(_wrong_in_a_band),
        ThreatModel(epsilon=0.08),
        grey,
        grey,
        tf.zeros([3], tf.int32),
        loss="cross_entropy",
        num_steps=num_steps,
        step_size=0.02,
        stop_when_fooled=stop_when_fooled,
    )


def test_a_success_on_the_way_is_kept():
    path = _climb_through_the_band()
    np.testing.assert_allclose(path.last, 0.58, atol=1e-6)
    np.testing.assert_allclose(path.best, 0.54, atol=1e-6)
    assert path.success.numpy().all()


def test_without_success_the_highest_loss_is_kept():
    path = _climb_through_the_band(num_steps=1)
    np.testing.assert_allclose(path.best, 0.52, atol=1e-6)
    assert not path.success.numpy().any()


def test_stopping_early_changes_no_best_iterate():
    path, stopped = _climb_through_the_band(), _climb_through_the_band(stop_when_fooled=True)
    np.testing.assert_array_equal(stopped.best, path.best)
    np.testing.assert_array_equal(stopped.success, path.success)
    assert np.max(stopped.last) < np.max(path.last)


def _counting(network):
    """The network, and how many images it was asked about."""
    rows = tf.Variable(0)

    def logits_fn(pixels):
        rows.assign_add(tf.shape(pixels)[0])
        return network(pixels, training=False)

    return AttackedClassifier(logits_fn), rows


@pytest.mark.parametrize("loss", ["cross_entropy", "margin"])
def test_fooled_examples_leave_and_change_nothing_for_the_others(
    loss, network, network_labels, images
):
    classifier, rows = _counting(network)
    ball = ThreatModel(epsilon=0.02)

    def path(stop_when_fooled):
        rows.assign(0)
        found = climb(
            classifier,
            ball,
            images,
            images,
            network_labels,
            loss=loss,
            num_steps=35,
            step_size=ball.epsilon / 20,
            stop_when_fooled=stop_when_fooled,
        )
        return found, int(rows)

    (whole, all_rows), (left, fewer_rows) = path(False), path(True)
    np.testing.assert_array_equal(left.success, whole.success)
    np.testing.assert_allclose(left.best, whole.best, atol=1e-6)
    standing = ~whole.success.numpy()
    np.testing.assert_allclose(left.last[standing], whole.last[standing], atol=1e-6)
    # 24 and then 12 or 16 images for ten steps each, at last the 8 that hold what stands.
    assert 0 < standing.sum() <= 8
    assert all_rows == 24 * (35 + 1)
    assert fewer_rows - 24 * 10 - 8 * (15 + 1) in (12 * 10, 16 * 10)


def test_one_step_takes_one_gradient_and_one_judgement(network, network_labels, images, ball):
    classifier, rows = _counting(network)
    (fgsm,) = by_names(["fgsm"], ball.epsilon)
    arguments = map(tf.constant, (images, network_labels))
    assert not fgsm.run(classifier, ball, *arguments, _seeds(24), restart=0).success.numpy().all()
    assert rows == 2 * 24


@pytest.mark.parametrize("loss", ["cross_entropy", "margin"])
def test_best_is_at_least_as_strong_as_last(loss, network, network_labels, images, ball):
    labels = tf.constant(network_labels)
    path = climb(
        AttackedClassifier(network),
        ball,
        tf.constant(images),
        random_start(ball, tf.constant(images), _seeds(len(images))),
        labels,
        loss=loss,
        num_steps=10,
        step_size=ball.epsilon,
        stop_when_fooled=False,
    )
    best_logits, last_logits = network(path.best), network(path.last)
    best_wrong = is_misclassified(best_logits, labels).numpy()
    last_wrong = is_misclassified(last_logits, labels).numpy()
    assert 0 < last_wrong.sum() < len(images)
    assert (best_wrong | ~last_wrong).all()
    np.testing.assert_array_equal(path.success, best_wrong)
    loss_fn = getattr(losses, loss)
    best_loss = loss_fn(labels=labels, logits=best_logits).numpy()
    last_loss = loss_fn(labels=labels, logits=last_logits).numpy()
    assert (best_loss >= last_loss - 1e-5)[~best_wrong].all()


def test_random_start_fills_the_ball_and_follows_each_seed_alone(images, threat_model):
    seeds = _seeds(len(images))
    start = random_start(threat_model, tf.constant(images), seeds).numpy()
    assert threat_model.is_feasible(tf.constant(start), images).numpy().all()
    spread = np.abs(start - images) / threat_model.epsilon
    assert 0.45 < spread.mean() < 0.55
    assert spread.max() > 0.99
    noise = (start - images).reshape(len(images), -1)
    assert np.abs(np.corrcoef(noise) - np.eye(len(images))).max() < 0.6
    order = np.random.default_rng(0).permutation(len(images))
    permuted = random_start(threat_model, tf.constant(images[order]), tf.gather(seeds, order))
    np.testing.assert_array_equal(permuted, start[order])


def test_random_start_is_clipped_to_the_pixel_range(threat_model):
    black_and_white = tf.constant(np.float32([0, 1])).numpy().repeat(64).reshape(2, 8, 8, 1)
    start = random_start(threat_model, tf.constant(black_and_white), _seeds(2)).numpy()
    assert start.min() == 0
    assert start.max() == 1


def test_one_trace_serves_every_step_count_step_size_and_epsilon(images, labels, honest):
    traces = []

    def counting(pixels):
        traces.append(pixels.shape)
        return honest(pixels)

    classifier = AttackedClassifier(counting)
    for epsilon, names in [(0.02, ["fgsm", "pgd3"]), (0.05, ["pgd5", "pgd2"])]:
        for attack in by_names(names, epsilon):
            attack.run(
                classifier,
                ThreatModel(epsilon),
                tf.constant(images),
                tf.constant(labels),
                _seeds(len(images)),
                restart=0,
            )
    # The gradient is that of the one trace of the forward pass.
    assert len(traces) == 1
