"""Classifiers from LiteRT files: their answers, and no gradients."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf.attacks.registry import by_names
from fsgan_tf.errors import UserError
from fsgan_tf.evaluation.engine import Evaluator
from fsgan_tf.models import loading
from fsgan_tf.models.fit import require_fit
from fsgan_tf.models.litert_files import load_litert_model
from fsgan_tf.threat_model import ThreatModel


@pytest.fixture
def write(tmp_path):
    def write(model):
        path = tmp_path / "m.tflite"
        path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
        return str(path)

    return write


def test_its_answers_are_the_models(write, native, pixels):
    classifier = loading.load(write(native))
    assert classifier.image_shape == (4, 4, 3)
    assert classifier.num_classes == 5
    for count in (1, 12, 3):
        answered = classifier.logits_fn(tf.constant(pixels[:count]))
        np.testing.assert_allclose(answered, native(pixels[:count]), atol=1e-5)


def test_the_class_names_beside_it_are_its_own_where_they_are_as_many(write, native, tmp_path):
    path = write(native)
    assert load_litert_model(path).class_names is None
    names = tmp_path / "class_names.txt"
    names.write_text("ä\nb\nd\nc\ne\n", encoding="utf-8")
    classifier = load_litert_model(path)
    with pytest.raises(UserError, match="class 2 is 'd' to m.tflite and 'c' in data"):
        require_fit(classifier, "m.tflite", "data", (4, 4, 3), tuple("äbcde"))
    names.write_text("a\nb\n", encoding="utf-8")
    assert load_litert_model(path).class_names is None


def test_it_is_attacked_without_gradients(write, native, pixels):
    classifier = load_litert_model(write(native))
    assert not classifier.differentiable
    assert "no gradients: only attacks that need none" in classifier.upper_bound.detail
    labels = native(pixels).numpy().argmax(axis=1)
    attacks = by_names(["square"], 0.3)
    result = Evaluator(classifier.logits_fn, ThreatModel(0.3), 12).attack(pixels, labels, attacks)
    assert result.clean_accuracy == 1
    assert result.worst_case_accuracy < 1


def test_files_that_are_none(tmp_path):
    (tmp_path / "m.tflite").write_bytes(b"no model")
    with pytest.raises(UserError, match="cannot be loaded as a LiteRT model"):
        load_litert_model(str(tmp_path / "m.tflite"))
    with pytest.raises(UserError, match="cannot be read: No such file"):
        load_litert_model(str(tmp_path / "missing.tflite"))


def test_a_softmax_of_one_output(write, pixels):
    dense = keras.layers.Dense(1, activation="sigmoid")
    model = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Flatten(), dense])
    classifier = load_litert_model(write(model), output="probabilities")
    logits = classifier.logits_fn(pixels).numpy()
    z = pixels.reshape(len(pixels), -1) @ dense.kernel.numpy()
    np.testing.assert_allclose(logits[:, 1:] - logits[:, :1], z, atol=1e-4)
