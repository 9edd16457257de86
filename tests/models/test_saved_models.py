"""Classifiers from SavedModels."""

import os
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
    pixels = pixels / 2  # Twice as much is a probability still.
    expected = chosen * pixels[:, 0, 0]
    if options.get("output") == "probabilities":
        expected = np.log(expected)
    np.testing.assert_allclose(classifier.logits_fn(pixels), expected, rtol=1e-5)


def test_a_signature_by_name_and_an_input_of_any_name(tmp_path, pixels):
    path = save_function(
        tmp_path / "m",
        name="pixels",
        serving_default=lambda x, scale: {"label": tf.argmax(_first_scores(x, scale), axis=1)},
        score=lambda x, scale: {"logits": 3 * _first_scores(x, scale)},
    )
    classifier = load_saved_model(path, signature="score")
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
        load_saved_model(str(tmp_path))


def test_hash_sees_every_file(tmp_path, native):
    native.export(str(tmp_path / "m"), verbose=False)
    copy = shutil.copytree(tmp_path / "m", tmp_path / "copy")
    before = load_saved_model(str(copy)).sha256
    assert before == load_saved_model(str(tmp_path / "m")).sha256
    (copy / "assets").mkdir(exist_ok=True)
    (copy / "assets" / "class_names.txt").write_text("a")
    assert load_saved_model(str(copy)).sha256 != before


def _same_answers_and_gradient(classifier, logits_fn, pixels):
    gradients = []
    for function in (classifier.logits_fn, logits_fn):
        with tf.GradientTape() as tape:
            images = tf.constant(pixels)
            tape.watch(images)
            logits = function(images)
            first = logits[:, 0]
        gradients.append(tape.gradient(first, images))
    np.testing.assert_allclose(classifier.logits_fn(pixels), logits_fn(pixels), atol=1e-5)
    np.testing.assert_allclose(*gradients, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "image_shape", "arrange", "words"),
    [
        ((5, 4, 4, 3), (4, 4, 3), lambda x: x, "5 images at a time"),
        ((None, 3, 4, 4), (4, 4, 3), lambda x: tf.transpose(x, [0, 2, 3, 1]), "channels first"),
        ((None, 48), (48,), lambda x: tf.reshape(x, [-1, 4, 4, 3]), "48 values in a row"),
        ((5, 3, 4, 4), (4, 4, 3), lambda x: tf.transpose(x, [0, 2, 3, 1]), "5 images at a time"),
    ],
)
def test_what_it_takes_is_made_of_images(shape, image_shape, arrange, words, tmp_path, pixels):
    def logits(images):
        return images[:, 1, 2] * 3.0

    path = save_function(
        tmp_path / "m",
        shape=shape,
        serving_default=lambda x, scale: {"logits": scale * logits(arrange(x))},
    )
    classifier = load_saved_model(path)
    assert classifier.image_shape == image_shape
    assert any(words in note for note in classifier.notes)
    for count in (1, 5, 12):
        _same_answers_and_gradient(classifier, logits, pixels[:count])


def test_integers_let_no_gradient_through(tmp_path, pixels):
    path = save_function(
        tmp_path / "m",
        dtype=tf.uint8,
        serving_default=lambda x, scale: {"logits": scale * tf.cast(x, tf.float32)[:, 1, 2]},
    )
    classifier = load_saved_model(path)
    assert not classifier.differentiable
    assert "no gradients: only attacks that need none" in classifier.upper_bound.detail
    assert "takes uint8, through which no gradient flows" in classifier.notes[0]
    np.testing.assert_array_equal(
        classifier.logits_fn(pixels), np.round(pixels[:, 1, 2] * np.float32(255))
    )


@pytest.mark.parametrize("output", ["logits", "probabilities"])
def test_one_output_is_a_binary_classifier(output, tmp_path, pixels):
    def serve(x, scale):
        z = 9 * x[:, 0, 0, :1] - 4.5
        return {"score": scale * (z if output == "logits" else tf.sigmoid(z))}

    classifier = load_saved_model(
        save_function(tmp_path / "m", serving_default=serve), output=output
    )
    z = 9 * pixels[:, 0, 0, 0] - 4.5
    logits = classifier.logits_fn(pixels).numpy()
    np.testing.assert_allclose(logits[:, 1] - logits[:, 0], z, atol=1e-4)
    assert classifier.num_classes == 2
    assert (classifier.upper_bound is None) == (output == "logits")


def test_probabilities_make_the_figure_an_upper_bound(tmp_path):
    path = save_function(
        tmp_path / "m", serving_default=lambda x, scale: {"probabilities": _first_scores(x, scale)}
    )
    bound = load_saved_model(path, output="probabilities").upper_bound
    assert bound.verdict == "warn"
    assert "cannot be cut off" in bound.detail
    assert "the robust accuracy is an upper bound" in bound.advice


@pytest.mark.parametrize("name", ["with [brackets]", "a*b?", "[1]"])
def test_a_path_that_looks_like_a_pattern(name, tmp_path, native, pixels):
    native.export(str(tmp_path / "m"), verbose=False)
    (tmp_path / name).mkdir()
    folder = shutil.copytree(tmp_path / "m", tmp_path / name / "m")
    classifier = load_saved_model(str(folder))
    np.testing.assert_allclose(classifier.logits_fn(pixels), native(pixels), atol=1e-5)


def test_a_hubs_cache_of_links_to_blobs(tmp_path, native, pixels):
    native.export(str(tmp_path / "m"), verbose=False)
    repository = tmp_path / "models--someone--net"
    snapshot = repository / "snapshots" / "0123abc"
    (repository / "blobs").mkdir(parents=True)
    for index, file in enumerate(sorted((tmp_path / "m").rglob("*"))):
        if file.is_file():
            link = snapshot / file.relative_to(tmp_path / "m")
            link.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, repository / "blobs" / str(index))
            link.symlink_to(os.path.relpath(repository / "blobs" / str(index), link.parent))
    classifier = load_saved_model(str(snapshot))
    np.testing.assert_allclose(classifier.logits_fn(pixels), native(pixels), atol=1e-5)
    (snapshot / "secret").symlink_to("/etc/hostname")
    with pytest.raises(UserError, match="secret links to a place outside"):
        load_saved_model(str(snapshot))
