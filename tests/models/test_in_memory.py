"""`evaluate` as a library takes other pixels and probabilities, as the command does."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf.errors import UserError
from fsgan_tf.evaluation.run_and_diagnose import evaluate
from fsgan_tf.models import in_memory


def _evaluate(model, images, labels, **options):
    return evaluate(model, images, labels, epsilon=0.05, attacks=["fgsm"], **options)


def test_a_function_of_other_pixels_and_probabilities(honest, images, labels):
    def others(pixels):
        return tf.nn.softmax(honest((pixels * 50 + 100) / 255))

    expected = _evaluate(honest, images, labels)
    options = {"input_range": "0,255", "mean": 100, "std": [50.0], "output": "probabilities"}
    found = _evaluate(others, images, labels, **options)
    assert found.clean_accuracy == expected.clean_accuracy
    assert found.worst_case_accuracy == expected.worst_case_accuracy < found.clean_accuracy
    assert found.checks[0].name == "logits_are_seen"


def test_a_keras_model_with_a_softmax_is_attacked_at_its_logits(honest, images, labels):
    inputs = keras.Input((8, 8, 1))
    pooled = keras.layers.AveragePooling2D(4)(keras.layers.Rescaling(20 / 255)(inputs))
    model = keras.Model(inputs, keras.layers.Softmax()(keras.layers.Flatten()(pooled)))
    found = _evaluate(model, images, labels, input_range="0,255")
    expected = _evaluate(honest, images, labels)
    assert found.clean_accuracy == expected.clean_accuracy
    assert found.worst_case_accuracy == expected.worst_case_accuracy
    assert "logits_are_seen" not in [check.name for check in found.checks]


@pytest.mark.parametrize("option", [{"mean": np.zeros(1)}, {"channel_order": "rgb"}])
def test_a_model_of_integers_takes_0_to_255_whatever_else_is_said(option):
    model = keras.Sequential(
        [keras.Input((8, 8, 1), dtype="uint8"), keras.layers.Flatten(), keras.layers.Dense(2)]
    )
    assert in_memory.adapted(model, **option).preprocessing.input_range == "0,255"
    assert in_memory.adapted(model, **option, input_range="0,1").preprocessing.input_range == "0,1"


class Pooled(keras.Model):
    """Subclassed: the quadrants' mean brightness, of pixels from 0 to 255."""

    def call(self, images):
        quadrants = tf.nn.avg_pool2d(images, 4, 4, "VALID")
        return tf.nn.softmax(20 / 255 * tf.reshape(quadrants, [-1, 4]))


def test_a_subclassed_model_is_adapted_as_a_function_is(honest, images, labels):
    options = {"input_range": "0,255", "output": "probabilities", "checks": "none"}
    found = _evaluate(Pooled(), images, labels, **options)
    expected = _evaluate(honest, images, labels, checks="none")
    assert found.clean_accuracy == expected.clean_accuracy
    assert found.worst_case_accuracy == expected.worst_case_accuracy


def test_one_of_several_outputs_is_named(images):
    inputs = keras.Input((8, 8, 1))
    flat = keras.layers.Flatten()(inputs)
    answers = [keras.layers.Dense(3, name=name)(flat) for name in ("first", "second")]
    model = keras.Model(inputs, answers)
    with pytest.raises(UserError, match="first, second .*--output_name"):
        in_memory.adapted(model, output="logits")
    found = in_memory.adapted(model, output_name="second").logits_fn(images)
    np.testing.assert_allclose(found, model(images)[1], rtol=1e-5)
    with pytest.raises(UserError, match="output_name is for functional"):
        in_memory.adapted(lambda x: x[:, 0, 0], output_name="second")


def test_scores_that_are_no_probabilities_are_refused(honest, images, labels):
    with pytest.raises(UserError, match=r"lie in \[-.*, so that they are no probabilities"):
        _evaluate(lambda x: honest(x) - 200, images, labels, output="probabilities")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"input_range": "0,2"}, "input_range"),
        ({"output": "softmax"}, "logits, probabilities"),
        ({"channel_order": "grb"}, "rgb or bgr"),
    ],
)
def test_what_is_none_is_refused(options, words, honest):
    with pytest.raises(UserError, match=words):
        in_memory.adapted(honest, **options)


def test_a_function_that_returns_arrays_is_refused_by_one_line(honest, images, labels):
    with pytest.raises(UserError, match="ndarray, through which no gradient flows"):
        _evaluate(lambda x: np.asarray(honest(x)), images, labels, output="probabilities")
