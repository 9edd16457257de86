import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf.reporting.example_pictures import pictures, png
from fsgan_tf.threat_model import ThreatModel
from tests.reports import adversarial_examples

NAMES = ("zero", "one", "two")
THREAT_MODEL = ThreatModel(8 / 255)


def _pictures(examples, **options):
    return pictures(examples, THREAT_MODEL, NAMES, **options)


def test_as_many_classes_as_there_are():
    labels = [0, 0, 0, 1, 1, 2]
    shown = _pictures(adversarial_examples(labels), count=4)
    # One of each class, then the second of the first class; 10 is the first one's index.
    assert [picture.index for picture in shown] == [10, 11, 13, 15]
    assert len(_pictures(adversarial_examples(labels))) == 6
    assert _pictures(adversarial_examples([])) == []


def test_classes_by_name_and_those_without_by_number():
    first, last = _pictures(adversarial_examples([0, 2]))
    assert (first.true_class, first.predicted_class) == ("zero", "one")
    assert (last.true_class, last.predicted_class) == ("two", "class 3")
    assert first.attack == "pgd20"


def test_what_is_drawn():
    examples = adversarial_examples([0])
    images = examples.images.copy()
    images[0, 0, 0] = (51 - 8) / 255
    images[0, 0, 1] = (51 + 8) / 255
    images[0, 0, 2] = 51 / 255
    (picture,) = _pictures(dataclasses.replace(examples, images=images))
    assert (
        picture.clean.dtype == picture.adversarial.dtype == picture.perturbation.dtype == np.uint8
    )
    assert np.all(picture.clean == 51)
    assert picture.adversarial[0, :, 0].tolist() == [43, 59, 51, 47]
    # -epsilon, epsilon, 0 and half of -epsilon.
    assert picture.perturbation[0, :, 0].tolist() == [0, 255, 128, 64]


@pytest.mark.parametrize(("channels", "drawn"), [(1, 1), (3, 3), (2, 1), (4, 1)])
def test_any_number_of_channels(channels, drawn):
    examples = adversarial_examples([0], shape=(2, 4, channels))
    (picture,) = _pictures(examples)
    assert picture.clean.shape == picture.perturbation.shape == (2, 4, drawn)
    assert np.all(picture.adversarial == 47)
    np.testing.assert_array_equal(tf.io.decode_png(png(picture.clean)), picture.clean)


def test_float_images_and_large_ones():
    examples = adversarial_examples([0], shape=(100, 300, 1))
    as_floats = dataclasses.replace(examples, clean_images=np.float32(examples.clean_images / 255))
    (picture,) = _pictures(as_floats)
    assert picture.clean.shape == (34, 100, 1)
    assert np.all(picture.clean == 51)
