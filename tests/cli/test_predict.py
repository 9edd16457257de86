"""The prediction command: real files in, a line each out."""

import json
import os
import shutil
import sys
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from fsgan_tf import predict
from fsgan_tf.models import prediction, saving
from tests.commands import call, python

CLASS_NAMES = ("dark", "light")


def make_classifier(image_shape=(8, 8, 3)) -> keras.Model:
    """Says `light` with probability sigmoid(8 mean - 4)."""
    images = keras.Input(image_shape)
    mean = keras.layers.GlobalAveragePooling2D()(images)
    logits = keras.layers.Dense(2)(mean)
    model = keras.Model(images, logits)
    channels = image_shape[-1]
    kernel = np.stack([np.zeros(channels), np.full(channels, 8 / channels)], axis=1)
    model.layers[-1].set_weights([kernel, np.array([0.0, -4.0])])
    return model


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory):
    path = tmp_path_factory.mktemp("predict") / "saved_model"
    saving.save_classifier(make_classifier(), CLASS_NAMES, path)
    return path


@pytest.fixture
def images(tmp_path):
    """Real image files of many kinds; all are light but `dark.png`."""

    def write(name, value, shape, encode=tf.io.encode_png, dtype=np.uint8):
        (tmp_path / name).write_bytes(encode(np.full(shape, value, dtype)).numpy())

    write("dark.png", 0, (8, 8, 3))
    write("dot.png", 255, (1, 1, 3))
    write("large.jpg", 255, (1000, 700, 3), tf.io.encode_jpeg)
    write("grey.JPEG", 255, (30, 20, 1), tf.io.encode_jpeg)
    write("alpha.png", 255, (9, 9, 4))
    write("deep.png", 65535, (9, 9, 1), dtype=np.uint16)
    return tmp_path


def run(*arguments) -> int:
    return call(predict, *arguments)


def test_every_file_gets_its_line(saved_model, images, capsys):
    files = [images / "dark.png", *sorted(set(images.iterdir()) - {images / "dark.png"})]
    assert run(f"--saved_model={saved_model}", *files) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"{files[0]}  dark  0.982", *(f"{file}  light  0.982" for file in files[1:])]
    assert len(lines) == 6


def test_more_files_than_a_batch_keep_their_order(saved_model, images, capsys):
    files = [images / name for name in ("dark.png", "dot.png")] * prediction.BATCH_SIZE
    assert run(f"--saved_model={saved_model}", *files) == 0
    labels = [line.split("  ")[1] for line in capsys.readouterr().out.splitlines()]
    assert labels == ["dark", "light"] * prediction.BATCH_SIZE


def test_bad_files_get_a_line_each_and_good_ones_a_label(saved_model, images, capsys, monkeypatch):
    (images / "text.png").write_text("no image at all")
    (images / "empty.png").write_bytes(b"")
    photo = (images / "large.jpg").read_bytes()
    (images / "truncated.jpg").write_bytes(photo[: len(photo) // 2])
    (images / "heavy.png").write_bytes(bytes(2**17))
    monkeypatch.setattr(prediction, "_MAX_FILE_BYTES", 2**16)
    os.mkfifo(images / "pipe.png")
    reasons = {
        "text.png": "not a PNG or JPEG image",
        "missing.png": "No such file",
        "empty.png": "empty",
        "truncated.jpg": "not a PNG or JPEG image",
        "heavy.png": "larger than",
        "pipe.png": "not a regular file",
    }
    bad = [images / name for name in reasons]
    arguments = [images / "dark.png", *bad, images / "dot.png"]
    assert run(f"--saved_model={saved_model}", *arguments) == 2
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [
        f"{images / 'dark.png'}  dark  0.982",
        f"{images / 'dot.png'}  light  0.982",
    ]
    *lines, last = captured.err.splitlines()
    assert len(lines) == len(reasons)
    for line, (name, reason) in zip(lines, reasons.items(), strict=True):
        assert line.startswith(f"error: {images / name}: ")
        assert reason in line
    assert last == "error: 6 of 8 files could not be labelled"


def test_a_turned_photograph_is_warned_of(saved_model, images, capsys):
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.full((8, 9, 3), 255, np.uint8)
    Image.fromarray(pixels).save(images / "turned.jpg", exif=exif)
    assert run(f"--saved_model={saved_model}", images / "dark.png", images / "turned.jpg") == 0
    output = capsys.readouterr()
    assert len(output.out.splitlines()) == 2
    (line,) = output.err.splitlines()
    assert line.startswith(f"warning: {images / 'turned.jpg'} is a turned photograph (EXIF")


def test_a_folder_stands_for_its_images(saved_model, images, capsys):
    (images / "below" / ".hidden").mkdir(parents=True)
    shutil.copy(images / "dark.png", images / "below" / "deep.PNG")
    shutil.copy(images / "dark.png", images / "below" / ".hidden" / "no.png")
    (images / "notes.txt").write_text("no image")
    assert run(f"--saved_model={saved_model}", images / "dot.png", images) == 0
    named = [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()]
    names = ["alpha.png", "below/deep.PNG", "dark.png", "deep.png", "dot.png", "grey.JPEG"]
    expected = ["dot.png", *names, "large.jpg"]
    assert named == [str(images / name) for name in expected]


def test_a_folder_without_images(saved_model, tmp_path, capsys):
    assert run(f"--saved_model={saved_model}", tmp_path) == 2
    assert f"{tmp_path}: the folder holds no file named .png" in capsys.readouterr().err


def test_the_most_probable_classes_as_text_and_as_json(saved_model, images, capsys):
    file = images / "dark.png"
    assert run(f"--saved_model={saved_model}", "--top=2", file) == 0
    assert capsys.readouterr().out == f"{file}  dark  0.982  light  0.018\n"
    assert run(f"--saved_model={saved_model}", "--top=5", "--json", file) == 0
    (line,) = capsys.readouterr().out.splitlines()
    found = json.loads(line)
    assert found["image"] == str(file)
    assert [item["class"] for item in found["predictions"]] == ["dark", "light"]
    assert sum(item["probability"] for item in found["predictions"]) == pytest.approx(1)


def test_a_run_labels_as_its_export_does(images, tmp_path, capsys, monkeypatch):
    found = types.SimpleNamespace(model=make_classifier(), class_names=CLASS_NAMES)
    monkeypatch.setattr("fsgan_tf.runs.restored.restore_classifier", lambda path: found)
    (images / "text.png").write_text("no image at all")
    files = [images / name for name in ("dark.png", "text.png", "large.jpg")]
    assert run("--run_dir=runs/mine", *files) == 2
    assert capsys.readouterr().out.splitlines() == [
        f"{files[0]}  dark  0.982",
        f"{files[2]}  light  0.982",
    ]
    assert run("--run_dir=runs/mine", "--saved_model=x", *files) == 2
    assert "not both" in capsys.readouterr().err


def test_nothing_but_bad_files(saved_model, capsys):
    assert run(f"--saved_model={saved_model}", "missing.png") == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: missing.png: No such file or directory",
        "error: 1 of 1 files could not be labelled",
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_name_that_is_no_text_is_printed(saved_model, images, capfdbinary):
    name = os.fsdecode(os.fsencode(images) + b"/caf\xe9.png")
    shutil.copy(images / "dark.png", name)
    assert run(f"--saved_model={saved_model}", name) == 0
    assert (
        capfdbinary.readouterr()
        .out.decode()
        .endswith("caf\N{REPLACEMENT CHARACTER}.png  dark  0.982\n")
    )


def test_a_name_forges_no_line_and_json_keeps_it(saved_model, images, capsys):
    name = str(images / "a.png  dark  1.000\n\x1b[2J\x9b1Jfake.png")
    shutil.copy(images / "dark.png", name)
    assert run(f"--saved_model={saved_model}", name) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith(r"a.png  dark  1.000\n\x1b[2J\x9b1Jfake.png  dark  0.982")
    assert run(f"--saved_model={saved_model}", "--json", name) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.isprintable()
    assert json.loads(line)["image"] == name
    assert run(f"--saved_model={saved_model}", f"{name}.missing") == 2
    assert capsys.readouterr().err.count("\n") == 2


def test_a_greyscale_classifier_takes_colour_images(images, tmp_path, capsys):
    path = tmp_path / "grey_model"
    saving.save_classifier(make_classifier((8, 8, 1)), CLASS_NAMES, path)
    assert run(f"--saved_model={path}", images / "large.jpg", images / "alpha.png") == 0
    assert capsys.readouterr().out.count("  light  0.982\n") == 2


def test_flags_are_required(saved_model, capsys):
    assert run("image.png") == 2
    assert run(f"--saved_model={saved_model}") == 2
    first, second = capsys.readouterr().err.splitlines()
    assert "--saved_model is missing" in first
    assert "no image given" in second


def test_the_module_is_a_command_that_takes_files():
    completed = python("-m", "fsgan_tf.predict", "image.png")
    assert completed.returncode == 2
    assert "--saved_model is missing" in completed.stderr


def save_module(path, function, **attributes):
    module = tf.Module()
    for name, value in attributes.items():
        setattr(module, name, value)
    tf.saved_model.save(module, str(path), signatures=function)
    return path


def test_a_folder_that_is_no_saved_model_is_refused(tmp_path, capsys):
    assert run(f"--saved_model={tmp_path / 'missing'}", "image.png") == 2
    assert run(f"--saved_model={tmp_path}", "image.png") == 2
    for line in capsys.readouterr().err.splitlines():
        assert "holds no saved_model.pb (No such file or directory)" in line


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda path: (path / "saved_model.pb").write_bytes(b"\xff" * 100), "is damaged"),
        (lambda path: os.truncate(path / "saved_model.pb", 5000), "is damaged"),
        (lambda path: os.truncate(path / "variables/variables.index", 10), "cannot be loaded"),
        (lambda path: shutil.rmtree(path / "variables"), "cannot be loaded"),
    ],
)
def test_a_damaged_saved_model_is_one_clear_line(saved_model, tmp_path, capsys, damage, told):
    path = tmp_path / "damaged"
    shutil.copytree(saved_model, path)
    damage(path)
    assert run(f"--saved_model={path}", "image.png") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(path) in line
    assert told in line


def test_a_saved_model_that_reads_files_is_refused(tmp_path, capsys):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")])
    def leak(image_bytes):
        label = tf.zeros_like(image_bytes, tf.int32)
        secret = tf.io.read_file("/etc/hostname")
        return {"label": label, "probabilities": tf.one_hot(label, 3), "secret": secret}

    path = save_module(tmp_path / "leak", {"serving_bytes": leak})
    assert run(f"--saved_model={path}", "image.png") == 2
    assert "its graph holds ReadFile" in capsys.readouterr().err


def test_a_saved_model_of_another_signature_is_refused(tmp_path, capsys):
    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, "features")])
    def scores(features):
        return {"score": features[:, 0]}

    path = save_module(tmp_path / "other", scores)
    assert run(f"--saved_model={path}", "image.png") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "needs a signature serving_bytes" in line
    assert "serving_default: from features (float32, rank 2) to score (float32, rank 1)" in line


def test_a_saved_model_of_other_outputs_is_refused(tmp_path, capsys):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")])
    def lengths(image_bytes):
        return {"label": tf.strings.length(image_bytes)}

    path = save_module(tmp_path / "other", {"serving_bytes": lengths})
    assert run(f"--saved_model={path}", "image.png") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "serving_bytes: from image_bytes (string, rank 1) to label (int32, rank 1)" in line


@pytest.mark.parametrize(
    "names", [None, "cat", ["cat", "dog"], ["cat", "dog", "\x1b[2J"], [1.0, 2.0, 3.0]]
)
def test_a_saved_model_whose_class_names_do_not_fit_is_refused(tmp_path, capsys, names):
    path = save_guess(tmp_path, 0, names)
    assert run(f"--saved_model={path}", "image.png") == 2
    assert "has no printable names for its 3 classes" in capsys.readouterr().err


@pytest.mark.parametrize("label", [3, -1])
def test_a_label_outside_of_the_classes_is_refused(tmp_path, images, capsys, label):
    path = save_guess(tmp_path, label, ["cat", "dog", "owl"])
    assert run(f"--saved_model={path}", images / "dot.png") == 2
    assert "does not answer 1 images with as many labels below 3" in capsys.readouterr().err


def save_guess(folder, guessed: int, names):
    """A SavedModel that answers `guessed` for every image."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")])
    def guess(image_bytes):
        label = tf.fill(tf.shape(image_bytes), guessed)
        return {"label": label, "probabilities": tf.one_hot(label, 3)}

    attributes = {}
    if names is not None:
        attributes["class_names"] = tf.function(lambda: tf.constant(names), input_signature=[])
    return save_module(folder / "guess", {"serving_bytes": guess}, **attributes)
