"""Models of others: whatever they take and return, attacks see pixels in [0, 1] and logits."""

import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf.attacks.registry import by_names
from fsgan_tf.cli import evaluation_flags
from fsgan_tf.errors import UserError
from fsgan_tf.evaluation.engine import Evaluator
from fsgan_tf.evaluation.result import Result
from fsgan_tf.models import export_folder, loading, named_model, saving, settings
from fsgan_tf.models.keras_files import load_keras_model
from fsgan_tf.models.preprocessing import Preprocessing
from fsgan_tf.models.saved_models import load_saved_model
from fsgan_tf.threat_model import ThreatModel
from tests.models.linear import linear_model

RANGES = {"0,1": (1, 0), "0,255": (255, 0), "-1,1": (2, -1)}


@pytest.fixture(params=["keras_model", "saved_model"])
def load(request, tmp_path):
    """Writes a Keras model in either way and loads it again."""

    def write_and_load(model, **options):
        if request.param == "keras_model":
            model.save(tmp_path / "model.keras")
            return load_keras_model(str(tmp_path / "model.keras"), **options)
        model.export(str(tmp_path / "model"), verbose=False)
        return load_saved_model(str(tmp_path / "model"), **options)

    return write_and_load


def _attacked(logits_fn, native, pixels) -> Result:
    """Attacks images of the classes that the native model gives them."""
    labels = tf.argmax(native(pixels), axis=1, output_type=tf.int32).numpy()
    attacks = by_names(["fgsm", "pgd3", "cw3"], 0.05)
    return Evaluator(logits_fn, ThreatModel(0.05), len(pixels)).attack(pixels, labels, attacks)


@pytest.fixture(scope="module")
def attacked_native(native, pixels) -> Result:
    return _attacked(native, native, pixels)


@pytest.mark.parametrize("input_range", RANGES)
@pytest.mark.parametrize("output", settings.OUTPUTS)
def test_attacked_like_the_native_model_whatever_it_takes_and_returns(
    input_range, output, load, head, native, attacked_native, pixels
):
    activation = "softmax" if output == "probabilities" else None
    model = linear_model(head, *RANGES[input_range], activation=activation)
    classifier = load(model, preprocessing=Preprocessing(input_range), output=output)
    assert classifier.image_shape == (4, 4, 3)
    assert classifier.num_classes == 5

    expected = native(pixels)
    logits = classifier.logits_fn(tf.constant(pixels))
    if classifier.upper_bound:  # Its softmax could not be cut off.
        expected = tf.nn.log_softmax(expected)
    np.testing.assert_allclose(logits, expected, rtol=0, atol=2e-5)

    found = _attacked(classifier.logits_fn, native, pixels)
    assert 0 < found.worst_case_accuracy < 1
    for ours, theirs in zip(found.attacks, attacked_native.attacks, strict=True):
        np.testing.assert_array_equal(ours.fooled, theirs.fooled)


def _from_flags(*argv):
    values = evaluation_flags.evaluation_flags()
    values(["evaluate", *argv])
    asked = evaluation_flags.configuration(values).model
    return loading.load_named(named_model.named_model(asked))


def test_flags_reach_the_loader(tmp_path, head, native, pixels):
    linear_model(head, 255, activation="softmax").save(tmp_path / "m.keras")
    classifier = _from_flags(
        f"--keras_model={tmp_path / 'm.keras'}", "--input_range=0,255", "--output=probabilities"
    )
    np.testing.assert_allclose(classifier.logits_fn(pixels), native(pixels), rtol=0, atol=2e-5)

    with pytest.raises(UserError, match="--input_range does not go with --run_dir"):
        _from_flags("--run_dir=x", "--input_range=-1,1")
    with pytest.raises(UserError, match="--signature does not go with --keras_model"):
        _from_flags("--keras_model=x", "--signature=score")


def test_an_export_brings_its_class_names(tmp_path, native):
    saving.save_classifier(native, ("a", "b", "c", "d", "e"), tmp_path / "export")
    classifier = load_saved_model(str(tmp_path / "export"))
    assert classifier.class_names == ("a", "b", "c", "d", "e")
    (tmp_path / "export" / export_folder.CLASS_NAMES_FILE).write_bytes(b"\xff\n")
    assert load_saved_model(str(tmp_path / "export")).class_names is None


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
