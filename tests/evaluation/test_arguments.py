"""What a caller of the library gives: converted, or refused by one line."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf.attacks.registry import by_names
from fsgan_tf.errors import UserError
from fsgan_tf.evaluation import evaluate
from fsgan_tf.evaluation.arguments import as_classifier, as_examples, require_answers


@pytest.mark.parametrize(
    "convert",
    [tf.constant, np.ndarray.tolist, np.float64, lambda x: tf.constant(x, tf.float64)],
    ids=["tensor", "lists", "float64", "float64 tensor"],
)
def test_images_of_other_types_are_converted(convert, images, labels):
    found, targets = as_examples(convert(images), tf.constant(labels)[:, None])
    assert found.dtype == np.float32
    assert targets.dtype == np.int32
    np.testing.assert_allclose(found, images, rtol=1e-6)
    np.testing.assert_array_equal(targets, labels)


def test_they_are_evaluated(honest, images, labels, threat_model):
    result = evaluate(honest, images.tolist(), labels.tolist(), epsilon=0.05, attacks=["fgsm"])
    expected = evaluate(honest, images, labels, epsilon=0.05, attacks=["fgsm"])
    assert result.worst_case_accuracy == expected.worst_case_accuracy < result.clean_accuracy


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x, y: (x, np.eye(4)[y]), "labels.argmax"),
        (lambda x, y: (x[..., 0], y), r"\[n, h, w, c\]"),
        (lambda x, y: (x, y[:5]), "do not fit"),
        (lambda x, y: (x, y + 0.5), "integers from 0"),
        (lambda x, y: (255 * x, y), r"give float32 in \[0, 1\], or uint8"),
        (lambda x, y: (x.astype(int), y), "images are int64"),
        (lambda x, y: ([[1.0], [1.0, 2.0]], y), "images cannot be made an array"),
    ],
)
def test_examples_that_mean_nothing(change, words, images, labels):
    with pytest.raises(UserError, match=words):
        as_examples(*change(images, labels))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"batch_size": 0}, "batch_size is 0; it must be at least 1"),
        ({"batch_size": -1}, "batch_size is -1"),
        ({"seed": -1}, "seed is -1; it must be at least 0"),
        ({"suite": "strongg", "attacks": None}, "suite is 'strongg'; it must be one of quick, "),
        ({"checks": "off"}, "checks is 'off'; it must be one of full, fast, none"),
        ({"epsilon": []}, r"epsilon is \[\]; give a number above 0"),
        ({"epsilon": [0.1, -0.1]}, "epsilon is -0.1; it must be above 0"),
        ({"epsilon": np.inf, "norm": "l2"}, "epsilon is inf; it must be a finite number"),
        ({"epsilon": [0.1, 1.5]}, "epsilon is 1.5; it must be at most 1 in linf"),
        ({"norm": "l3"}, "norm is 'l3'; it must be one of linf, l2, l1"),
        ({"epsilon": "8/255"}, "epsilon is '8/255'; give a number above 0"),
        (
            {"attacks": ["fgsm", "pgd2", *by_names(["fgsm"], 0.05)]},
            "more than one attack is named fgsm",
        ),
    ],
)
def test_options_that_mean_nothing(change, words, honest, images, labels):
    with pytest.raises(UserError, match=words):
        evaluate(honest, images, labels, **{"epsilon": 0.05, "attacks": ["fgsm"], **change})


def _model(classes=4, shape=(8, 8, 1)):
    return keras.Sequential(
        [keras.Input(shape), keras.layers.Flatten(), keras.layers.Dense(classes)]
    )


def _of_outputs(change):
    base = _model()
    return keras.Model(base.inputs, change(base.outputs[0]))


class Subclassed(keras.Model):
    """Its answers are what it is told."""

    def __init__(self, answer):
        super().__init__()
        self.network, self.answer = _model(), answer

    def call(self, images):
        return self.answer(self.network(images))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: lambda x: _model().predict(x, verbose=0), "returns a ndarray, through which no"),
        (lambda: lambda x: x.numpy().mean(axis=(1, 2)) @ np.ones((1, 4)), "returns a ndarray"),
        (lambda: lambda x: {"logits": x[:, 0, 0]}, "returns a dict"),
        (lambda: lambda x: tf.argmax(_model()(x), axis=1), r"returns shape \(1,\)"),
        (lambda: lambda x: tf.matmul(x, tf.ones([3, 3])), "fails on an image of shape"),
        (lambda: 3, "the classifier is a int"),
        (lambda: "model.keras", "the classifier is a str"),
    ],
)
def test_functions_that_are_no_classifier(make, words, images):
    classifier = make()
    with pytest.raises(UserError, match=words) as refusal:
        as_classifier(classifier, images[:1])
    assert "lambda x: model(x, training=False)" in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: _of_outputs(lambda y: {"logits": y}), 'returns a dict; .*output="logits"'),
        (lambda: _of_outputs(lambda y: [y, y]), "returns a list; .*output_name"),
        (lambda: Subclassed(lambda y: {"logits": y}), "returns a dict; give a function"),
        (lambda: Subclassed(lambda y: y[:, None]), r"returns shape \(1, 1, 4\)"),
        (lambda: _model(classes=1), 'one score an image; .*output="probabilities"'),
        (
            lambda: _model(shape=(9, 9, 1)),
            r"on images of shape \(8, 8, 1\): Input 0 .* to have value 81",
        ),
    ],
)
def test_models_that_are_no_classifier(make, words, images):
    with pytest.raises(UserError, match=words) as refusal:
        as_classifier(make(), images[:1])
    assert "\n" not in str(refusal.value)


def test_attacks_in_one_text(honest, images, labels):
    result = evaluate(honest, images, labels, epsilon=0.05, attacks="fgsm,pgd2", checks="none")
    assert [attack.name for attack in result.attacks] == ["fgsm", "pgd2"]


def test_a_keras_model_and_a_function_of_it_are(images):
    model = _model()
    as_classifier(model, images[:1])
    as_classifier(lambda x: model(x, training=False), images[:1])
    as_classifier(tf.function(model), images[:1])


def test_nan_everywhere_stops_the_evaluation(images, labels, threat_model):
    def nan(pixels):
        return tf.fill([tf.shape(pixels)[0], 4], np.nan) * pixels[:, 0, 0]

    with pytest.raises(UserError, match="the classifier answers NaN on 24 of 24 images"):
        evaluate(nan, images, labels, epsilon=0.05, attacks=["fgsm"])
    require_answers(23, 24)
