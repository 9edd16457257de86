"""A model that is given other pixels than it was trained on is stopped before any attack."""

import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf.errors import UserError
from fsgan_tf.models.classifier import Classifier
from fsgan_tf.models.clean_accuracy import better_preprocessing, require_expected
from fsgan_tf.models.preprocessing import AS_IS, Preprocessing

_CIFAR = Preprocessing("0,1", mean=(0.4914, 0.4822, 0.4465), std=(0.247, 0.2435, 0.2616))
_CAFFE = Preprocessing("0,255", mean=(103.939, 116.779, 123.68), channel_order="bgr")


@pytest.fixture(scope="module")
def examples():
    """Of 5 classes, by how bright an image is in red; the other colours do not tell."""
    generator = np.random.default_rng(0)
    labels = np.arange(120, dtype=np.int32) % 5
    images = generator.integers(0, 256, (120, 4, 4, 3), np.uint8)
    images[..., 0] = 20 + 50 * labels[:, None, None]
    return images, labels


def classifier(trained: Preprocessing, given: Preprocessing) -> Classifier:
    """Nearest level of red, of pixels as they were in training."""
    levels = tf.constant((20.0 + 50.0 * np.arange(5)) / 255, tf.float32)
    # What training made of each level where the other colours are grey.
    grey = tf.fill([5, 1, 1, 3], 0.5)
    prototypes = trained(tf.concat([levels[:, None, None, None], grey[..., 1:]], axis=-1))
    red = 2 if trained.channel_order == "bgr" else 0

    def logits(pixels):
        means = tf.reduce_mean(pixels[..., red], axis=[1, 2])
        return -tf.abs(means[:, None] - prototypes[None, :, 0, 0, red])

    return Classifier(logits, (4, 4, 3), 5, given)


@pytest.mark.parametrize(
    ("trained", "given", "found"),
    [
        (Preprocessing("-1,1"), AS_IS, "--input_range=-1,1 "),
        (Preprocessing("0,255"), AS_IS, "--input_range=0,255 "),
        (_CIFAR, AS_IS, "--mean="),
        (_CAFFE, Preprocessing("0,255"), "--mean="),
        (Preprocessing("0,1", channel_order="bgr"), AS_IS, "--channel_order=bgr"),
    ],
)
def test_the_preprocessing_it_was_trained_with_is_named(trained, given, found, examples):
    message = better_preprocessing(classifier(trained, given), *examples, batch_size=50)
    assert f"under {found}" in message or f" {found}" in message.split(" clean accuracy")[0]
    assert "clean accuracy is 100.0%, under yours" in message
    assert f"({given}) " in message
    assert "on 120 images" in message
    assert "\n" not in message


@pytest.mark.parametrize("trained", [AS_IS, _CIFAR, _CAFFE, Preprocessing("-1,1")])
def test_the_right_preprocessing_passes(trained, examples):
    found = better_preprocessing(classifier(trained, trained), *examples, batch_size=50)
    assert found is None


def test_a_difference_that_chance_explains_passes(examples):
    """Random answers are a little better under one preprocessing than under another."""
    images, labels = examples
    random = np.random.default_rng(1).permutation(labels)
    fitting = classifier(Preprocessing("0,255"), AS_IS)
    assert better_preprocessing(fitting, images, random, batch_size=50) is None


def test_an_expected_accuracy_is_held_to_two_standard_errors(examples):
    images, labels = examples
    wrong = labels.copy()
    wrong[:12] = (wrong[:12] + 1) % 5  # 90% are right; the standard error is 2.7%.
    fitting = classifier(AS_IS, AS_IS)
    require_expected(fitting, images, wrong, 0.92, batch_size=50)
    with pytest.raises(UserError, match=r"clean accuracy is 90.0% on 120 images.*=0.97"):
        require_expected(fitting, images, wrong, 0.97, batch_size=50)
    with pytest.raises(UserError, match=r"=0.8 is more"):
        require_expected(fitting, images, wrong, 0.8, batch_size=50)
