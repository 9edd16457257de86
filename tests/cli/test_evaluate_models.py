"""The evaluation command on models of others: what its flags say of them, and what it says."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf import evaluate
from fsgan_tf.data.split import Split
from fsgan_tf.evaluation import subject
from fsgan_tf.models.saving import save_classifier
from tests.commands import call

layers = keras.layers


@pytest.fixture
def read(monkeypatch):
    """Has `images` of 3 classes evaluated, which only how bright they are in red tells."""
    images = np.random.default_rng(0).integers(0, 256, (60, 9, 14, 3), np.uint8)
    labels = np.arange(60, dtype=np.int32) % 3
    images[..., 0] = (40 + 80 * labels)[:, None, None]
    names = ("a", "b", "c")
    found = Split(images, labels)
    monkeypatch.setattr(subject, "_examples", lambda *_: (found, names))
    return found


def _model(scale=1.0, red=0, activation=None, shape=(9, 14, 3)):
    """Nearest of three levels of red in the pixels, which are `scale` times those in [0, 1]."""
    model = keras.Sequential(
        [
            keras.Input(shape),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3, activation=activation),
        ]
    )
    levels = (40 + 80 * np.arange(3)) / 255
    kernel = np.zeros((3, 3))
    kernel[red] = 2 * levels / scale
    model.layers[-1].set_weights([400 * kernel, -400 * levels**2])
    return model


def _run(tmp_path, path, *flags):
    flag = {".keras": "keras_model", ".tflite": "litert_model"}.get(path.suffix, "saved_model")
    return call(
        evaluate,
        f"--{flag}={path}",
        *("--dataset=digits", "--epsilon=0.05", f"--output_dir={tmp_path / 'out'}"),
        *("--attacks=fgsm", *flags),
    )


def _results(tmp_path):
    return json.loads((tmp_path / "out" / "results.json").read_text())


@pytest.fixture
def save(tmp_path):
    def save(model):
        model.save(tmp_path / "m.keras")
        return tmp_path / "m.keras"

    return save


def test_a_source_of_other_pixels_is_stopped(read, save, tmp_path, capsys):
    path = save(_model())
    source = tmp_path / "source.keras"
    _model(255).save(source)
    flags = [f"--source={source}", "--attacks=transfer_fgsm"]
    assert _run(tmp_path, path, *flags) == 2
    message = capsys.readouterr().err
    assert f"error: --source={source}: under --input_range=0,255 clean accuracy is" in message
    assert "keras.layers.Rescaling" in message
    assert _run(tmp_path, path, *flags, "--preprocessing=as_given") == 0


def test_wrong_pixels_are_stopped_and_the_flags_named(read, save, tmp_path, capsys):
    path = save(_model(255))
    assert _run(tmp_path, path) == 2
    message = capsys.readouterr().err
    assert f"error: {path}: under --input_range=0,255 clean accuracy is 100.0%, under" in message
    assert "give those flags, or --preprocessing=as_given to evaluate with yours" in message
    assert not (tmp_path / "out").exists()
    assert _run(tmp_path, path, "--input_range=0,255") == 0
    assert _results(tmp_path)["clean_accuracy"] == 1
    assert _run(tmp_path, path, "--preprocessing=as_given") == 0
    assert _results(tmp_path)["clean_accuracy"] < 0.5


def test_an_export_of_ours_is_taken_as_it_says(read, tmp_path, capsys):
    """It normalises inside, and one that learnt little may by chance be better otherwise."""
    save_classifier(_model(255), ("a", "b", "c"), tmp_path / "exported")
    assert _run(tmp_path, tmp_path / "exported") == 0


def test_mean_std_and_order_reach_the_model(read, save, tmp_path, capsys):
    inputs = keras.Input((9, 14, 3))
    undone = layers.Rescaling([50.0, 60.0, 70.0], [10.0, 20.0, 30.0])(inputs)
    path = save(keras.Model(inputs, _model(255, red=2)(undone)))
    flags = ["--input_range=0,255", "--mean=10,20,30", "--std=50,60,70", "--channel_order=bgr"]
    assert _run(tmp_path, path, *flags) == 0
    results = _results(tmp_path)
    assert results["clean_accuracy"] == 1
    assert results["num_examples"] == 60
    assert _run(tmp_path, path, "--mean=1,x") == 2
    assert "numbers separated by commas" in capsys.readouterr().err


def test_an_accuracy_that_was_expected(read, save, tmp_path, capsys):
    path = save(_model())
    assert _run(tmp_path, path, "--expected_clean_accuracy=0.92") == 2
    assert "clean accuracy is 100.0% on 60 images" in capsys.readouterr().err
    assert _run(tmp_path, path, "--expected_clean_accuracy=0.99") == 0


def test_probabilities_of_a_saved_model_make_an_upper_bound(read, tmp_path, capsys):
    model = _model(activation="softmax")
    model.export(str(tmp_path / "m"), verbose=False)
    assert _run(tmp_path, tmp_path / "m", "--output=probabilities") == 0
    (check,) = [c for c in _results(tmp_path)["checks"] if c["name"] == "logits_are_seen"]
    assert check["verdict"] == "warn"
    assert "cannot be cut off" in capsys.readouterr().out


def test_a_cut_head_is_said(read, save, tmp_path, capsys):
    assert _run(tmp_path, save(_model(activation="softmax"))) == 0
    assert "note: " in (said := capsys.readouterr().err)
    assert "its final softmax is cut off" in said


def test_a_litert_file_is_attacked_without_gradients(read, tmp_path, capsys):
    path = tmp_path / "m.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(_model()).convert())
    assert _run(tmp_path, path) == 2
    message = capsys.readouterr().err
    assert "has no gradients, which fgsm need" in message
    assert "--attacks=square" in message
    assert _run(tmp_path, path, "--attacks=spsa2") == 0
    results = _results(tmp_path)
    assert results["verdict"] == "upper bound"
    assert not [check for check in results["checks"] if check["verdict"] == "fail"]
    assert results["epsilon_curve"] is None


def test_a_flag_of_another_kind_is_refused(save, tmp_path, capsys):
    assert _run(tmp_path, save(_model()), "--signature=x") == 2
    assert "--signature does not go with --keras_model" in capsys.readouterr().err
