"""Each check is tripped by a classifier built for it, and not by an honest one."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf.attacks import by_names, checks, evaluate, suite
from fsgan_tf.attacks.result import Result
from fsgan_tf.threat_model import ThreatModel

from .test_result import attack_result, no_examples


def _verdicts(logits_fn, images, labels, threat_model, attacks=None, **options):
    attacks = attacks or suite("quick", threat_model.epsilon)
    result = evaluate(logits_fn, images, labels, threat_model, attacks, **options)
    return {check.name: check.verdict for check in result.checks}


@pytest.mark.parametrize("standalone", [False, True])
@pytest.mark.parametrize("batch_size", [7, 128])
def test_an_honest_classifier_passes(standalone, batch_size, honest, images, labels, threat_model):
    options = {"standalone": standalone, "batch_size": batch_size}
    verdicts = _verdicts(honest, images, labels, threat_model, **options)
    assert len(verdicts) == 7
    assert set(verdicts.values()) == {"pass"}


def test_probabilities(honest, images, labels, threat_model):
    verdicts = _verdicts(lambda x: tf.nn.softmax(honest(x)), images, labels, threat_model)
    assert verdicts["logits_not_probabilities"] == "fail"


def test_random_outputs(honest, images, labels, threat_model):
    def noisy(pixels):
        logits = honest(pixels)
        return logits + tf.random.normal(tf.shape(logits), stddev=0.1)

    assert _verdicts(noisy, images, labels, threat_model)["same_output_twice"] == "fail"


def test_saturated_logits_hide_the_gradient(honest, images, labels, threat_model):
    """Cross-entropy is 0 to the last bit, and so is its gradient; the margin loss sees through."""
    verdicts = _verdicts(lambda x: 1e4 * honest(x), images, labels, threat_model)
    assert verdicts["gradients_exist"] == "fail"
    assert verdicts["margin_agrees_with_cross_entropy"] == "fail"
    assert verdicts["logits_not_probabilities"] == "pass"


def test_rounded_inputs_have_no_gradient(honest, images, labels, threat_model):
    verdicts = _verdicts(lambda x: honest(tf.round(x * 20) / 20), images, labels, threat_model)
    assert verdicts["gradients_exist"] == "fail"


def test_a_few_zero_gradients_are_a_warning(honest, images, labels, threat_model):
    images = images.copy()
    images[3] = 0.9

    def blind_to_bright_images(pixels):
        bright = tf.reduce_min(pixels, axis=[1, 2, 3], keepdims=True) > 0.8
        return honest(tf.where(bright, tf.stop_gradient(pixels), pixels))

    verdicts = _verdicts(blind_to_bright_images, images, labels, threat_model)
    assert verdicts["gradients_exist"] == "warn"


def test_gradients_that_are_not_a_number(honest, images, labels, threat_model):
    @tf.custom_gradient
    def spoiled(pixels):
        return tf.identity(pixels), lambda upstream: upstream * np.nan

    verdicts = _verdicts(lambda x: honest(spoiled(x)), images, labels, threat_model)
    assert verdicts["gradients_exist"] == "fail"


def test_a_gradient_that_helps_the_classifier(honest, images, labels, threat_model):
    @tf.custom_gradient
    def reversed_gradient(pixels):
        return tf.identity(pixels), lambda upstream: -upstream

    labels = labels.copy()
    runner_up = np.argsort(honest(images).numpy(), axis=1)[:, -2]
    close = np.argsort(np.ptp(honest(images).numpy(), axis=1))[:3]
    labels[close] = runner_up[close]
    verdicts = _verdicts(lambda x: honest(reversed_gradient(x)), images, labels, threat_model)
    assert verdicts["single_step_below_clean"] == "fail"
    assert _verdicts(honest, images, labels, threat_model)["single_step_below_clean"] == "pass"


def test_a_moat_that_small_steps_cannot_cross(threat_model):
    """The gradient turns back after a short way; beyond the moat the classifier is wrong."""
    generator = np.random.default_rng(0)
    images = generator.uniform(-0.1, 0.1, (24, 8, 8, 1))
    images = (0.5 + images - images.mean(axis=(1, 2, 3), keepdims=True)).astype(np.float32)
    labels = np.zeros(24, np.int32)

    def moat(pixels):
        shift = tf.reduce_mean(pixels, axis=[1, 2, 3]) - 0.5
        rise = 10 * tf.minimum(shift, 0.02 - shift) - 1
        wrong = tf.where(shift > 0.045, 1.0, rise)
        return tf.stack([tf.zeros_like(wrong), wrong], axis=1)

    verdicts = _verdicts(moat, images, labels, threat_model)
    assert verdicts["iterative_beats_single_step"] == "fail"


def test_checks_that_lack_their_attacks_are_skipped(honest, images, labels, threat_model):
    fgsm_alone = _verdicts(honest, images, labels, threat_model, by_names(["fgsm"], 0.05))
    assert fgsm_alone["iterative_beats_single_step"] == "skipped"
    assert fgsm_alone["margin_agrees_with_cross_entropy"] == "skipped"
    # With C&W first, PGD never sees what C&W fooled: nothing to compare.
    swapped = _verdicts(honest, images, labels, threat_model, by_names(["cw5", "pgd5"], 0.05))
    assert swapped["margin_agrees_with_cross_entropy"] == "skipped"


@pytest.mark.parametrize(("points", "verdict"), [(5, "pass"), (9, "warn"), (16, "fail")])
def test_gap_between_margin_and_cross_entropy(points, verdict):
    nothing = np.zeros(100, bool)
    result = Result(
        ThreatModel(0.1),
        seed=0,
        clean_correct=~nothing,
        attacks=(attack_result("pgd20", nothing), attack_result("cw20", np.arange(100) < points)),
        examples=no_examples(),
    )
    assert checks._margin_agrees_with_cross_entropy(result).verdict == verdict


@pytest.mark.parametrize(("refused", "verdict"), [(0, "pass"), (1, "warn"), (2, "fail")])
def test_refused_successes(refused, verdict):
    nothing = np.zeros(100, bool)
    attack = dataclasses.replace(attack_result("pgd20", nothing), refused=refused)
    result = Result(
        ThreatModel(0.1), seed=0, clean_correct=~nothing, attacks=(attack,), examples=no_examples()
    )
    assert checks._successes_verified(result).verdict == verdict
