"""The exported SavedModel and the export command."""

import json
import shutil
import types
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf import export
from fsgan_tf.errors import RunError, UserError
from fsgan_tf.models import export_folder, saving
from fsgan_tf.models.saved_models import load_saved_model
from tests.commands import call, python
from tests.images import jpeg, png, random_pixels, unit

CLASS_NAMES = ("cat", "dög", "ship")
IMAGE_SHAPE = (8, 8, 3)
OUTPUTS = {"logits", "probabilities", "label"}


def make_classifier(image_shape=IMAGE_SHAPE, num_classes=3) -> keras.Model:
    """A small classifier whose batch normalisation differs between training and inference."""
    layers = keras.layers
    images = keras.Input(image_shape)
    x = layers.Rescaling(2.0, offset=-1.0)(images)
    x = layers.Conv2D(4, 3, padding="same", kernel_initializer=keras.initializers.HeNormal(1))(x)
    x = layers.BatchNormalization(
        moving_mean_initializer=keras.initializers.Constant(0.3),
        moving_variance_initializer=keras.initializers.Constant(0.5),
    )(x)
    x = layers.Flatten()(layers.ReLU()(x))
    logits = layers.Dense(num_classes, kernel_initializer=keras.initializers.HeNormal(2))(x)
    return keras.Model(images, logits)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return make_classifier()


@pytest.fixture(scope="module")
def export_dir(model, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("export") / "saved_model"
    saving.save_classifier(model, CLASS_NAMES, path)
    return path


@pytest.fixture(scope="module")
def loaded(export_dir):
    return tf.saved_model.load(str(export_dir))


def snapshot(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("count", [1, 5])
def test_images_and_bytes_are_answered_as_the_model_does(model, loaded, count):
    pixels = random_pixels(count, *IMAGE_SHAPE)
    expected = np.asarray(model(unit(pixels), training=False))
    encoded = tf.constant([png(image) for image in pixels])
    answers = (
        loaded.signatures["serving_default"](image=tf.constant(unit(pixels))),
        loaded.signatures["serving_bytes"](image_bytes=encoded),
    )
    for answer in answers:
        assert set(answer) == OUTPUTS
        assert [answer[name].dtype for name in ("logits", "probabilities", "label")] == [
            tf.float32,
            tf.float32,
            tf.int32,
        ]
        np.testing.assert_allclose(answer["logits"], expected, atol=1e-5)
        exponentials = np.exp(expected - expected.max(axis=1, keepdims=True))
        softmax = exponentials / exponentials.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(answer["probabilities"], softmax, atol=1e-5)
        np.testing.assert_array_equal(answer["label"], expected.argmax(axis=1))


def test_gradients_through_the_signature_are_the_models(model, loaded):
    images = tf.constant(unit(random_pixels(4, *IMAGE_SHAPE)))
    signature = loaded.signatures["serving_default"]

    def gradient(logits_fn):
        with tf.GradientTape() as tape:
            tape.watch(images)
            loss = tf.reduce_sum(tf.nn.log_softmax(logits_fn(images))[:, 0])
        return tape.gradient(loss, images).numpy()

    expected = gradient(lambda images: model(images, training=False))
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(
        gradient(lambda images: signature(image=images)["logits"]), expected, atol=1e-6
    )


@pytest.mark.slow
def test_another_process_reads_it_without_this_package(export_dir, model):
    program = (
        "import json, sys, tensorflow as tf\n"
        "loaded = tf.saved_model.load(sys.argv[1])\n"
        "answer = loaded.signatures['serving_default'](image=tf.fill([1, 8, 8, 3], 0.25))\n"
        "names = [name.decode() for name in loaded.class_names().numpy()]\n"
        "assert 'fsgan_tf' not in sys.modules\n"
        "print(json.dumps([names, answer['logits'].numpy().tolist()]))\n"
    )
    done = python("-c", program, export_dir, cwd=export_dir, env={"PYTHONPATH": ""})
    assert done.returncode == 0, done.stderr
    names, logits = json.loads(done.stdout)
    assert tuple(names) == CLASS_NAMES
    expected = model(np.full((1, *IMAGE_SHAPE), 0.25, np.float32), training=False)
    np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_class_names_are_written_for_people(export_dir):
    assert (export_dir / "assets/class_names.txt").read_text("utf-8") == "cat\ndög\nship\n"


def test_a_malformed_image_is_named_by_its_index(loaded):
    good = png(random_pixels(8, 8, 3))
    photo = jpeg(random_pixels(8, 8, 3))
    malformed = [b"", b"text", good[:20], good[:-40], photo[:-40], photo[:10]]
    signature = loaded.signatures["serving_bytes"]
    for item in malformed:
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"indices of image_bytes: \[2\]"):
            signature(image_bytes=tf.constant([good, photo, item, good]))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"image_bytes: \[0 1 2 3 4 5\]"):
        signature(image_bytes=tf.constant(malformed))


def test_exporting_again_replaces_the_export_whole(model, tmp_path):
    path = tmp_path / "new" / "saved_model"
    saving.save_classifier(model, CLASS_NAMES, path)
    saving.save_classifier(make_classifier(num_classes=2), ("no", "yes"), path)
    assert [name.decode() for name in tf.saved_model.load(str(path)).class_names().numpy()] == [
        "no",
        "yes",
    ]
    assert [entry.name for entry in path.parent.iterdir()] == ["saved_model"]


def test_a_wrong_export_is_refused_and_the_old_one_kept(model, tmp_path, monkeypatch):
    path = tmp_path / "saved_model"
    saving.save_classifier(model, CLASS_NAMES, path)
    before = snapshot(path)
    other = make_classifier()
    other.layers[-1].bias.assign([0.0, 0.0, 0.01])
    write = saving._write
    monkeypatch.setattr(saving, "_write", lambda _, names, folder: write(other, names, folder))
    with pytest.raises(RunError, match="serving_default does not answer as the classifier does"):
        saving.save_classifier(model, CLASS_NAMES, path)
    assert snapshot(path) == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["saved_model"]


def test_a_classifier_that_answers_nan_is_refused(tmp_path):
    model = make_classifier()
    model.layers[-1].bias.assign([0.0, np.nan, 0.0])
    with pytest.raises(RunError, match="logits differ by nan"):
        saving.save_classifier(model, CLASS_NAMES, tmp_path / "saved_model")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left"), tf.errors.ResourceExhaustedError(None, None, "full")]
)
def test_a_failed_write_leaves_nothing(model, tmp_path, monkeypatch, error):
    def fail(*args, **kwargs):
        (Path(args[1]) / "half").write_text("written")
        raise error

    monkeypatch.setattr(tf.saved_model, "save", fail)
    with pytest.raises(RunError, match="could not export to"):
        saving.save_classifier(model, CLASS_NAMES, tmp_path / "saved_model")
    assert not list(tmp_path.iterdir())


def test_a_killed_export_does_not_disturb_the_next(model, tmp_path):
    for name in (".saved_model.tmp", ".saved_model.tmp/saved_model", ".saved_model.old"):
        (tmp_path / name / "variables").mkdir(parents=True)
    saving.save_classifier(model, CLASS_NAMES, tmp_path / "saved_model")
    assert [entry.name for entry in tmp_path.iterdir()] == ["saved_model"]


def test_a_second_export_to_a_folder_is_refused_while_the_first_writes(tmp_path):
    path = tmp_path / "litert"
    with export_folder.replacing(path, export_folder.LITERT_ENTRIES) as first:
        (first / "half").write_text("written")
        with (
            pytest.raises(UserError, match="another export writes to .*; wait until it ends"),
            export_folder.replacing(path, export_folder.LITERT_ENTRIES),
        ):
            pass
        assert (first / "half").is_file()
    assert snapshot(path) == {"half": b"written"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["litert"]


@pytest.mark.parametrize("image_shape", [(9, 14, 1), (50, 30, 3)])
def test_any_size_and_one_or_three_channels(image_shape, tmp_path):
    model = make_classifier(image_shape)
    saving.save_classifier(model, CLASS_NAMES, tmp_path / "saved_model")
    pixels = random_pixels(2, *image_shape)
    signature = tf.saved_model.load(str(tmp_path / "saved_model")).signatures["serving_bytes"]
    answer = signature(image_bytes=tf.constant([png(image) for image in pixels]))
    np.testing.assert_allclose(answer["logits"], model(unit(pixels)), atol=1e-4)


def test_a_mirrored_classifier_is_exported(tmp_path):
    devices = tf.config.list_logical_devices("CPU")
    with tf.distribute.MirroredStrategy(devices[:2]).scope():
        model = make_classifier()
    saving.save_classifier(model, CLASS_NAMES, tmp_path / "saved_model")


def test_a_class_name_for_every_logit_is_required(model, tmp_path):
    with pytest.raises(ValueError, match="2 class names for 3 logits"):
        saving.save_classifier(model, ("cat", "dog"), tmp_path / "saved_model")


def run_command(monkeypatch, model, *arguments: str) -> int:
    classifier = types.SimpleNamespace(model=model, class_names=CLASS_NAMES)
    monkeypatch.setattr("fsgan_tf.runs.restored.restore_classifier", lambda path: classifier)
    return call(export, *arguments)


def test_command_exports_and_says_how_to_use_it(model, tmp_path, monkeypatch, capsys):
    export_dir = tmp_path / "exported"
    arguments = (f"--run_dir={tmp_path / 'run'}", f"--export_dir={export_dir}")
    assert run_command(monkeypatch, model, *arguments) == 0
    output = capsys.readouterr().out
    assert output.count("\n") == 1
    assert f"--saved_model={export_dir}" in output
    assert (export_dir / "saved_model.pb").is_file()


def test_command_exports_into_the_run_by_default(model, tmp_path, monkeypatch):
    assert run_command(monkeypatch, model, f"--run_dir={tmp_path}") == 0
    assert (tmp_path / "saved_model" / "saved_model.pb").is_file()


def test_command_needs_a_run(model, monkeypatch, capsys):
    assert run_command(monkeypatch, model) == 2
    assert "--run_dir is missing" in capsys.readouterr().err


def test_a_folder_that_is_no_export_is_never_deleted(model, tmp_path, monkeypatch, capsys):
    (tmp_path / "thesis.txt").write_text("years of work")
    arguments = (f"--run_dir={tmp_path}", f"--export_dir={tmp_path}")
    assert run_command(monkeypatch, model, *arguments) == 2
    assert "holds something else than an earlier export" in capsys.readouterr().err
    assert snapshot(tmp_path) == {"thesis.txt": b"years of work"}


def test_an_export_with_other_files_in_it_is_not_deleted(export_dir, model, tmp_path):
    path = tmp_path / "saved_model"
    shutil.copytree(export_dir, path)
    (path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="something else"):
        saving.save_classifier(model, CLASS_NAMES, path)
    assert (path / "notes.txt").exists()


def test_an_empty_folder_and_a_link_are_filled(model, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    saving.save_classifier(model, CLASS_NAMES, tmp_path / "link")
    assert (tmp_path / "empty" / "saved_model.pb").is_file()
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_an_export_dir_that_cannot_be_written_is_refused(model, tmp_path, name):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"is a file|cannot write to|cannot make the folder"):
        saving.save_classifier(model, CLASS_NAMES, tmp_path / name)


@pytest.mark.parametrize("kind", ["saved_model", "litert"])
def test_a_path_that_looks_like_a_pattern(model, tmp_path, monkeypatch, kind):
    folder = tmp_path / "run [1] *?"
    assert run_command(monkeypatch, model, f"--run_dir={folder}", f"--format={kind}") == 0
    if kind == "saved_model":
        classifier = load_saved_model(str(folder / "saved_model"))
        images = unit(random_pixels(2, *IMAGE_SHAPE))
        np.testing.assert_allclose(classifier.logits_fn(images), model(images), atol=1e-5)
    else:
        assert (folder / "litert" / "classifier.tflite").is_file()
