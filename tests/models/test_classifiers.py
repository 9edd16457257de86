"""Models of others: whatever they take and return, attacks see pixels in [0, 1] and logits."""

import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf import export, settings
from fsgan_tf.attacks import Evaluator, by_names
from fsgan_tf.errors import UserError
from fsgan_tf.models import classifiers
from fsgan_tf.threat_model import ThreatModel

RANGES = {"0,1": (1, 0), "0,255": (255, 0), "-1,1": (2, -1)}


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).uniform(0, 1, (12, 4, 4, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def head():
    """Weights of a linear classifier of pixels in [0, 1]."""
    generator = np.random.default_rng(1)
    return generator.normal(size=(48, 5)).astype(np.float32), generator.normal(size=5)


@pytest.fixture(scope="module")
def native(head):
    return _model(head)


def _model(head, scale=1.0, offset=0.0, activation=None):
    """The classifier for pixels `scale * x + offset`."""
    model = keras.Sequential(
        [
            keras.Input((4, 4, 3)),
            keras.layers.Rescaling(1 / scale, -offset / scale),
            keras.layers.Flatten(),
            keras.layers.Dense(5, activation=activation),
        ]
    )
    model.layers[-1].set_weights(head)
    return model


def _save(path, *, shape=(None, 4, 4, 3), dtype=tf.float32, name="image", **signatures):
    module = tf.Module()
    module.scale = tf.Variable(1.0)
    spec = tf.TensorSpec(shape, dtype, name=name)
    functions = {
        key: tf.function(lambda x, serve=serve: serve(x, module.scale), input_signature=[spec])
        for key, serve in signatures.items()
    }
    tf.saved_model.save(module, str(path), signatures=functions)
    return str(path)


@pytest.fixture(params=["keras_model", "saved_model"])
def load(request, tmp_path):
    """Writes a Keras model in either way and loads it again."""

    def write_and_load(model, **options):
        if request.param == "keras_model":
            model.save(tmp_path / "model.keras")
            return classifiers.load_keras_model(str(tmp_path / "model.keras"), **options)
        model.export(str(tmp_path / "model"), verbose=False)
        return classifiers.load_saved_model(str(tmp_path / "model"), **options)

    return write_and_load


@pytest.mark.parametrize("input_range", RANGES)
@pytest.mark.parametrize("output", settings.OUTPUTS)
def test_attacked_like_the_native_model_whatever_it_takes_and_returns(
    input_range, output, load, head, native, pixels
):
    activation = "softmax" if output == "probabilities" else None
    model = _model(head, *RANGES[input_range], activation=activation)
    classifier = load(model, input_range=input_range, output=output)
    assert classifier.image_shape == (4, 4, 3)
    assert classifier.num_classes == 5

    expected = native(pixels)
    logits = classifier.logits_fn(tf.constant(pixels))
    if output == "probabilities":
        expected = tf.nn.log_softmax(expected)
    np.testing.assert_allclose(logits, expected, rtol=0, atol=2e-5)

    labels = tf.argmax(expected, axis=1, output_type=tf.int32).numpy()
    attacks = by_names(["fgsm", "pgd3", "cw3"], 0.05)
    results = [
        Evaluator(logits_fn, ThreatModel(0.05), len(pixels)).evaluate(pixels, labels, attacks)
        for logits_fn in (native, classifier.logits_fn)
    ]
    assert 0 < results[0].worst_case_accuracy < 1
    for ours, theirs in zip(*(result.attacks for result in results), strict=True):
        np.testing.assert_array_equal(ours.fooled, theirs.fooled)


def test_a_probability_of_zero_has_a_finite_logit_and_gradient(tmp_path):
    path = _save(
        tmp_path / "model",
        serving_default=lambda x, scale: {
            "probabilities": scale * tf.concat([x[:, 0, 0, :1] * 0.0, x[:, 0, 0, :1]], axis=1)
        },
    )
    classifier = classifiers.load_saved_model(path, output="probabilities")
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

    classifier = classifiers.load_saved_model(
        _save(tmp_path / "m", serving_default=serve), **options
    )
    expected = chosen * pixels[:, 0, 0]
    if options.get("output") == "probabilities":
        expected = np.log(expected)
    np.testing.assert_allclose(classifier.logits_fn(pixels), expected, rtol=1e-5)


def test_a_signature_and_an_input_by_name(tmp_path, pixels):
    path = _save(
        tmp_path / "m",
        name="pixels",
        serving_default=lambda x, scale: {"label": tf.argmax(_first_scores(x, scale), axis=1)},
        score=lambda x, scale: {"logits": 3 * _first_scores(x, scale)},
    )
    classifier = classifiers.load_saved_model(path, signature="score", input_name="pixels")
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
        (_wrong(shape=(16, 4, 4, 3)), ["(16, 4, 4, 3)", "(None, height, width, channels)"]),
        (_wrong(shape=(None, 4, 3)), ["(None, 4, 3)", "(None, height, width, channels)"]),
        (_wrong(dtype=tf.uint8), ["takes uint8 (image)", "float32"]),
        (_wrong(output_name="label"), ["returns int64 (None,) (label)", "(None, classes)"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_saved_models_of_other_signatures(options, words, tmp_path):
    def serve(x, scale):
        scores = tf.cast(tf.reshape(x, [tf.shape(x)[0], -1])[:, :3], tf.float32) * scale
        outputs = {"a": scores, "b": scores}
        if options[1].get("output_name") == "label":
            outputs["label"] = tf.argmax(scores, axis=1)
        return outputs

    path = _save(tmp_path / "m", serving_default=serve, **options[0])
    with pytest.raises(UserError) as refusal:
        classifiers.load_saved_model(path, **options[1])
    assert all(word in str(refusal.value) for word in words), refusal.value


def test_the_sole_output_is_not_taken_for_what_its_name_denies(tmp_path):
    def serve(x, scale):
        return {"probabilities": _first_scores(x, scale)}

    path = _save(tmp_path / "m", serving_default=serve)
    with pytest.raises(UserError, match="probabilities .--output"):
        classifiers.load_saved_model(path)


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
        classifiers.load_saved_model(str(tmp_path), input_name="image")


def _keras_models():
    images, other = keras.Input((4, 4, 3), name="image"), keras.Input((2,), name="other")
    scores = keras.layers.Dense(5)(keras.layers.Flatten()(images))
    both = keras.layers.Concatenate()([scores, other])
    integers = keras.Input((4, 4, 3), dtype="uint8", name="bytes")
    cast = keras.layers.Rescaling(1.0, dtype="float32")(integers)
    return {
        "one input; it has image, other": keras.Model([images, other], both),
        "one output; it has": keras.Model(images, {"a": scores, "b": scores}),
        "takes uint8 (bytes)": keras.Model(integers, keras.layers.Flatten()(cast)),
        "must take images": keras.Model(other, keras.layers.Dense(5)(other)),
        "must return floating-point": keras.Model(images, keras.layers.Conv2D(5, 3)(images)),
    }


@pytest.mark.parametrize("words", _keras_models())
def test_keras_files_that_are_no_classifier(words, tmp_path):
    path = tmp_path / "model.keras"
    _keras_models()[words].save(path)
    with pytest.raises(UserError) as refusal:
        classifiers.load_keras_model(str(path))
    assert words in str(refusal.value)


def test_a_dict_of_one_input_and_one_output_is_a_classifier(tmp_path, native, pixels):
    inputs = keras.Input((4, 4, 3), name="image")
    keras.Model({"image": inputs}, {"scores": native(inputs)}).save(tmp_path / "m.keras")
    classifier = classifiers.load_keras_model(str(tmp_path / "m.keras"))
    np.testing.assert_array_equal(classifier.logits_fn(pixels), native(pixels))


def _classifier(image_shape=(4, 4, 3), num_classes=5, answer=None, class_names=None):
    return classifiers.Classifier(
        answer or (lambda images: images[:, 0, 0, :1] * tf.ones([5])),
        image_shape,
        num_classes,
        "",
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
        classifiers.require_fit(classifier, "model", "data", (4, 4, 3), tuple("abcde"))
    assert all(word in str(refusal.value) for word in words), refusal.value


def test_models_that_fit_by_what_they_leave_open():
    for shape, classes in (((None, None, 3), 5), ((4, 4, 3), None)):
        classifiers.require_fit(
            _classifier(shape, classes), "model", "data", (4, 4, 3), tuple("abcde")
        )


def _from_flags(*argv):
    values = settings.evaluation_flags()
    values(["evaluate", *argv])
    return classifiers.from_flags(values)


def test_flags_reach_the_loader(tmp_path, head, native, pixels):
    _model(head, 255, activation="softmax").save(tmp_path / "m.keras")
    classifier = _from_flags(
        f"--keras_model={tmp_path / 'm.keras'}", "--input_range=0,255", "--output=probabilities"
    )
    expected = tf.nn.log_softmax(native(pixels))
    np.testing.assert_allclose(classifier.logits_fn(pixels), expected, rtol=0, atol=2e-5)

    with pytest.raises(UserError, match="--input_range does not go with --run_dir"):
        _from_flags("--run_dir=x", "--input_range=-1,1")
    with pytest.raises(UserError, match="--signature does not go with --keras_model"):
        _from_flags("--keras_model=x", "--signature=score")


def test_an_export_brings_its_class_names(tmp_path, native):
    export.save_classifier(native, ("a", "b", "c", "d", "e"), tmp_path / "export")
    classifier = classifiers.load_saved_model(str(tmp_path / "export"))
    assert classifier.class_names == ("a", "b", "c", "d", "e")
    (tmp_path / "export" / export.CLASS_NAMES_FILE).write_bytes(b"\xff\n")
    assert classifiers.load_saved_model(str(tmp_path / "export")).class_names is None


@pytest.mark.parametrize("index", [0, 1])
def test_a_copy_on_each_device(index, load, native, pixels):
    device = tf.config.list_logical_devices("CPU")[index].name
    with tf.device(device):
        classifier = load(native)
        with tf.GradientTape() as tape:
            logits = classifier.logits_fn(tf.constant(pixels))
    np.testing.assert_allclose(logits, native(pixels), rtol=0, atol=1e-5)
    assert logits.device.endswith(device.removeprefix("/device:"))
    assert {variable.device[-5:] for variable in tape.watched_variables()} == {device[-5:]}


def test_hash_sees_every_file(tmp_path, native):
    native.export(str(tmp_path / "m"), verbose=False)
    copy = shutil.copytree(tmp_path / "m", tmp_path / "copy")
    before = classifiers.load_saved_model(str(copy)).sha256
    assert before == classifiers.load_saved_model(str(tmp_path / "m")).sha256
    (copy / "assets").mkdir(exist_ok=True)
    (copy / "assets" / "class_names.txt").write_text("a")
    assert classifiers.load_saved_model(str(copy)).sha256 != before
