"""Whether a classifier fits the data."""

import pytest
import tensorflow as tf

from fsgan_tf.errors import UserError
from fsgan_tf.models import fit
from fsgan_tf.models.classifier import Classifier


def _classifier(image_shape=(4, 4, 3), num_classes=5, answer=None, class_names=None):
    return Classifier(
        answer or (lambda images: images[:, 0, 0, :1] * tf.ones([5])),
        image_shape,
        num_classes,
        class_names=class_names,
    )


@pytest.mark.parametrize(
    ("classifier", "words"),
    [
        (_classifier((8, 8, 3)), ["(8, 8, 3)", "(4, 4, 3)", "--image_size"]),
        (_classifier((4, 4, 1)), ["(4, 4, 1)", "channels differ"]),
        (_classifier((3, 4, 4)), ["channels must come last"]),
        (_classifier(num_classes=7), ["7 classes", "5 classes"]),
        (_classifier(class_names=tuple("abdce")), ["class 2 is 'd' to model and 'c' in data"]),
        (_classifier(num_classes=None, answer=lambda x: x[:, 0, 0]), ["(2, 3)", "(2, 5)"]),
        (_classifier((None, None, 3), answer=lambda x: x @ tf.ones([9])), ["fails on images"]),
    ],
    ids=["size", "channels", "order", "classes", "names", "undeclared classes", "failure"],
)
def test_models_that_do_not_fit_the_data(classifier, words):
    with pytest.raises(UserError) as refusal:
        fit.require_fit(classifier, "model", "data", (4, 4, 3), tuple("abcde"))
    assert all(word in str(refusal.value) for word in words), refusal.value


def test_models_that_fit_by_what_they_leave_open():
    for shape, classes in (((None, None, 3), 5), ((4, 4, 3), None)):
        fit.require_fit(_classifier(shape, classes), "model", "data", (4, 4, 3), tuple("abcde"))
