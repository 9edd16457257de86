"""A softmax or sigmoid at the end of a Keras model is cut off."""

import keras
import numpy as np
import pytest

from fsgan_tf.attacks.registry import by_names
from fsgan_tf.evaluation.engine import Evaluator
from fsgan_tf.models.keras_files import load_keras_model
from fsgan_tf.networks import heads
from fsgan_tf.threat_model import ThreatModel

layers = keras.layers


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).uniform(0, 1, (12, 4, 4, 3)).astype(np.float32)


def _headed(head):
    """A model that ends as `head` makes it of 5 features; and the model of the logits before."""
    keras.utils.set_random_seed(0)
    images = keras.Input((4, 4, 3))
    features = layers.Dense(5)(layers.Flatten()(images))
    return keras.Model(images, head(features)), keras.Model(images, features)


def _nested(features):
    inner = keras.Sequential([keras.Input((5,)), layers.Softmax()])
    return inner(features)


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (layers.Softmax(), "softmax"),
        (layers.Activation("softmax"), "softmax"),
        (layers.Activation("sigmoid"), "sigmoid"),
        (keras.ops.softmax, "softmax"),
        (keras.ops.sigmoid, "sigmoid"),
        (_nested, "softmax"),
        (lambda x: layers.Activation("linear")(layers.Softmax()(x)), "softmax"),
    ],
)
def test_what_comes_before_is_the_logits(head, name, pixels):
    model, logits = _headed(head)
    cut, found = heads.without_probabilities(model.outputs[0])
    assert found == name
    np.testing.assert_array_equal(keras.Model(model.inputs[0], cut)(pixels), logits(pixels))


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("use_bias", [True, False])
def test_the_activation_of_a_dense_layer_is_cut(activation, use_bias, pixels):
    dense = layers.Dense(3, activation=activation, use_bias=use_bias)
    model, features = _headed(dense)
    cut, found = heads.without_probabilities(model.outputs[0])
    assert found == activation
    expected = features(pixels) @ dense.kernel + (dense.bias if use_bias else 0)
    np.testing.assert_allclose(keras.Model(model.inputs[0], cut)(pixels), expected, atol=1e-6)


@pytest.mark.parametrize(
    "head",
    [
        layers.Activation("tanh"),
        layers.Softmax(axis=0),
        layers.Dense(3),
        layers.LayerNormalization(),
    ],
)
def test_other_ends_stay(head):
    model, _ = _headed(head)
    assert heads.without_probabilities(model.outputs[0]) == (model.outputs[0], None)


def test_a_saturated_softmax_is_not_robust_as_its_logarithm_would_have_it(tmp_path, images, labels):
    """softmax(1000 z): in float32 most gradients of its logarithm are 0, and PGD finds little."""
    inputs = keras.Input((8, 8, 1))
    quadrants = layers.Flatten()(layers.AveragePooling2D(4)(inputs))
    logits = layers.Rescaling(2000.0)(quadrants)
    keras.Model(inputs, layers.Softmax()(logits)).save(tmp_path / "m.keras")
    classifier = load_keras_model(str(tmp_path / "m.keras"), output="probabilities")
    assert "its final softmax is cut off" in classifier.notes[0]
    assert classifier.upper_bound is None

    attacks = by_names(["pgd10", "cw10"], 0.05)
    results = [
        Evaluator(logits_fn, ThreatModel(0.05), 24).attack(images, labels, attacks)
        for logits_fn in (keras.Model(inputs, quadrants), classifier.logits_fn)
    ]
    assert results[0].worst_case_accuracy == results[1].worst_case_accuracy < 1
