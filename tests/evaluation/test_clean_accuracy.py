"""A classifier that does not classify fails a check."""

import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf.evaluation.run_and_diagnose import evaluate


def _check(name, logits_fn, images, labels, threat_model):
    result = evaluate(logits_fn, images, labels, epsilon=0.05, attacks=["fgsm"])
    return next(check for check in result.checks if check.name == name)


@pytest.mark.parametrize(
    ("shift", "repeats", "verdict"), [(0, 2, "pass"), (1, 2, "fail"), (1, 1, "warn")]
)
def test_accuracy_near_chance(shift, repeats, verdict, honest, images, labels, threat_model):
    images, labels = np.repeat(images, repeats, axis=0), np.repeat(labels, repeats)
    labels = (labels + shift) % 4
    check = _check("clean_accuracy_above_chance", honest, images, labels, threat_model)
    assert check.verdict == verdict
    assert "guessing among 4 classes gives 25.0%" in check.detail


@pytest.mark.parametrize(("knows", "verdict"), [(False, "warn"), (True, "pass")])
def test_naming_the_commonest_class_is_no_better_than_chance(knows, verdict):
    """Of 60 images 54 are of one class; one classifier always names it, another sees the others."""
    labels = np.repeat([0, 1], [54, 6])
    images = np.full((60, 4, 4, 1), 0.5, np.float32) + 0.4 * labels[:, None, None, None]

    def logits_fn(pixels):
        brightness = tf.reduce_mean(pixels, axis=[1, 2, 3])
        return tf.stack([0.7 * tf.ones_like(brightness), brightness - (0 if knows else 1)], axis=1)

    check = _check("clean_accuracy_above_chance", logits_fn, images, labels, None)
    assert check.verdict == verdict
    assert "naming the commonest one each time 90.0%" in check.detail
    assert ("evaluate on about as many images of each class" in check.advice) != knows


def test_few_images_that_are_classified_correctly_are_called_few(honest, images, labels):
    correct = evaluate(honest, images, labels, epsilon=0.05, attacks=["fgsm"]).clean_correct
    images, labels = images[correct][:2], labels[correct][:2]
    check = _check("clean_accuracy_above_chance", honest, images, labels, None)
    assert check.verdict == "warn"
    assert check.detail.startswith("100.0% of 2 images")
    assert check.advice == "So few images cannot tell it from guessing: evaluate on more."


def test_some_answers_are_nan(honest, images, labels, threat_model):
    def broken(pixels):
        dark = pixels[:, :1, 0, 0] < 0.4
        return tf.where(dark, np.nan, honest(pixels))

    check = _check("answers_are_numbers", broken, images, labels, threat_model)
    assert check.verdict == "fail"
    assert f"NaN on {int((images[:, 0, 0, 0] < 0.4).sum())} of 24 images" in check.detail


def test_one_nan_among_many_images_is_counted(honest, images, labels):
    """Wherever it is: the checks draw 10 of the 100 to look at."""
    images, labels = np.resize(images, (100, 8, 8, 1)), np.resize(labels, 100)
    drawn = np.random.default_rng(0).permutation(100)[:64]
    images[np.setdiff1d(np.arange(100), drawn)[0]] = 1

    def broken(pixels):
        return tf.where(pixels[:, :1, 0, 0] > 0.999, np.nan, honest(pixels))

    check = _check("answers_are_numbers", broken, images, labels, None)
    assert check.verdict == "fail"
    assert "NaN on 1 of 100 images without attack, and on 0 of" in check.detail


def test_adversarial_images_that_are_answered_by_nan_are_counted(honest, images, labels):
    """NaN wherever a pixel is beyond what a clean image has."""
    darkest = images.min()

    def broken(pixels):
        dark = tf.reduce_min(pixels, axis=[1, 2, 3]) < darkest
        return tf.where(dark[:, None], np.nan, honest(pixels))

    check = _check("answers_are_numbers", broken, images, labels, None)
    assert check.verdict == "fail"
    assert "NaN on 0 of 24 images without attack" in check.detail
    assert "and on 0 of" not in check.detail
