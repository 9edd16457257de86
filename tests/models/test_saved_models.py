"""Classifiers from SavedModels."""

import shutil

import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf.errors import UserError
from fsgan_tf.models.saved_models import load_saved_model
from tests.models.linear import save_function


def test_a_probability_of_zero_has_a_finite_logit_and_gradient(tmp_path):
    path = save_function(
        tmp_path / "model",
        serving_default=lambda x, scale: {
            "probabilities": scale * tf.concat([x[:, 0, 0, :1] * 0.0, x[:, 0, 0, :1]], axis=1)
        },
    )
    classifier = load_saved_model(path, output="probabilities")
    images = tf.ones([1, 4, 4, 3])
    with tf.GradientTape() as tape:
        tape.watch(images)
        logits = classifier.logits_fn(images)
        loss = tf.reduce_sum(tf.nn.log_softmax(logits))
    np.testing.assert_allclose(logits, [[np.log(1e-30), 0]], rtol=1e-6)
    assert np.isfinite(tape.gradient(loss, images)).all()


def _first_scores(x, scale):
    return scale * x[:, 0, 0]


@pytest.mark.parametrize(
    ("options", "outputs", "chosen"),
    [
        ({}, {"logits": 1, "probabilities": 2, "label": 3}, 1),
        ({"output": "probabilities"}, {"logits": 1, "probabilities": 2, "label": 3}, 2),
        ({}, {"scores": 1}, 1),
        ({"output": "probabilities"}, {"logits": 1, "scores": 2}, 2),
        ({"output_name": "b"}, {"a": 1, "b": 2}, 2),
    ],
)
def test_the_output_that_holds_the_scores_is_found(options, outputs, chosen, tmp_path, pixels):
    def serve(x, scale):
        return {name: factor * _first_scores(x, scale) for name, factor in outputs.items()}

    classifier = load_saved_model(save_function(tmp_path / "m", serving_default=serve), **options)
    expected = chosen * pixels[:, 0, 0]
    if options.get("output") == "probabilities":
        expected = np.log(expected)
    np.testing.assert_allclose(classifier.logits_fn(pixels), expected, rtol=1e-5)


def test_a_signature_and_an_input_by_name(tmp_path, pixels):
    path = save_function(
        tmp_path / "m",
        name="pixels",
        serving_default=lambda x, scale: {"label": tf.argmax(_first_scores(x, scale), axis=1)},
        score=lambda x, scale: {"logits": 3 * _first_scores(x, scale)},
    )
    classifier = load_saved_model(path, signature="score", input_name="pixels")
    np.testing.assert_allclose(classifier.logits_fn(pixels), 3 * pixels[:, 0, 0], rtol=1e-6)


def _wrong(**options):
    """Options of a SavedModel, then of loading it."""
    load = {key: options.pop(key) for key in tuple(options) if key.endswith("_name")}
    load |= {key: options.pop(key) for key in ("signature", "output") if key in options}
    return options, load


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (_wrong(signature="score"), ["no signature score", "serving_default", "--signature"]),
        (_wrong(input_name="pixels"), ["no input pixels", "image"]),
        (_wrong(output_name="scores"), ["no output scores", "a, b"]),
        (_wrong(), ["which output holds its logits", "a, b", "--output_name"]),
        (
            _wrong(shape=(None, 4, 4, 3, 1), output_name="a"),
            ["(None, 4, 4, 3, 1)", "(None, height, width, channels)"],
        ),
        (
            _wrong(shape=(None,), output_name="a"),
            ["(None,)", "(None, height, width, channels)"],
        ),
        (_wrong(dtype=tf.bool, output_name="a"), ["takes bool (image)", "float32"]),
        (_wrong(output_name="label"), ["returns int64 (None,) (label)", "(None, classes)"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_saved_models_of_other_signatures(options, words, tmp_path):
    def serve(x, scale):
        rows = tf.reshape(x, [tf.shape(x)[0], -1])
        scores = tf.cast(tf.tile(rows, [1, 3])[:, :3], tf.float32) * scale
        outputs = {"a": scores, "b": scores}
        if options[1].get("output_name") == "label":
            outputs["label"] = tf.argmax(scores, axis=1)
        return outputs

    path = save_function(tmp_path / "m", serving_default=serve, **options[0])
    with pytest.raises(UserError) as refusal:
        load_saved_model(path, **options[1])
    assert all(word in str(refusal.value) for word in words), refusal.value


def test_the_sole_output_is_not_taken_for_what_its_name_denies(tmp_path):
    def serve(x, scale):
        return {"probabilities": _first_scores(x, scale)}

    path = save_function(tmp_path / "m", serving_default=serve)
    with pytest.raises(UserError, match="probabilities .--output"):
        load_saved_model(path)


def test_saved_models_of_several_inputs(tmp_path):
    function = tf.function(
        lambda image, temperature: {"logits": image[:, 0, 0] / temperature},
        input_signature=[
            tf.TensorSpec([None, 4, 4, 3], name="image"),
            tf.TensorSpec([], name="temperature"),
        ],
    )
    tf.saved_model.save(tf.Module(), str(tmp_path), signatures=function)
    with pytest.raises(UserError, match="images alone; its inputs are image, temperature"):
        load_saved_model(str(tmp_path), input_name="image")


def test_hash_sees_every_file(tmp_path, native):
    native.export(str(tmp_path / "m"), verbose=False)
    copy = shutil.copytree(tmp_path / "m", tmp_path / "copy")
    before = load_saved_model(str(copy)).sha256
    assert before == load_saved_model(str(tmp_path / "m")).sha256
    (copy / "assets").mkdir(exist_ok=True)
    (copy / "assets" / "class_names.txt").write_text("a")
    assert load_saved_model(str(copy)).sha256 != before
