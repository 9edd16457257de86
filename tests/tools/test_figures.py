"""Figures 3 and 4: the adversaries are the runs', the numbers are theirs, errors say what to do."""

import itertools
import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from experiments import run_images

from fsgan_tf.cli import training_flags
from fsgan_tf.data import loading
from fsgan_tf.methods.feature_scatter import FeatureScatter
from fsgan_tf.results.intervals import wilson_interval
from fsgan_tf.runs.checkpoints import Progress
from fsgan_tf.runs.directory import RunDirectory
from fsgan_tf.training.build import build_method
from tests.commands import call
from tests.small_training import SMALL, build
from tools import figures

BATCH_SIZE, PASSES, SEED = 12, 3, 5
TINY = {
    "precision": "float32",
    "generator_width": 4,
    "latent_dim": 3,
    "epsilon": 0.005,
    "architecture": SMALL,
}


@pytest.fixture(scope="module")
def digits() -> loading.ImageDataset:
    return loading.load("digits", train_examples=256)


def _build(digits, method, **flags):
    values = training_flags.parse(
        [*(f"--{key}={value}" for key, value in {"method": method, **flags}.items())]
    )
    return values, build_method(values, digits.num_classes, digits.image_shape)


def _save(path, digits, values, method):
    run = RunDirectory(path)
    run.prepare(values)
    run.checkpoints.save(method, Progress(1, 0, digits.class_names, digits.image_shape))


@pytest.fixture(scope="module")
def fs_gan(tmp_path_factory, digits):
    """A run whose generator is far from what its seed makes it, and listens to z."""
    path = tmp_path_factory.mktemp("runs") / "fs_gan"
    values, method = _build(digits, "fs_gan", **TINY)
    method.generator.set_weights([5 * weights for weights in method.generator.get_weights()])
    _save(path, digits, values, method)
    return path, method


@pytest.fixture(scope="module")
def frozen(tmp_path_factory, digits):
    """A run against a classifier fitted by least squares: it is often right, and not robust."""
    path = tmp_path_factory.mktemp("runs") / "frozen"
    values, method = _build(digits, "fs_gan", **TINY, freeze_classifier="true", seed=1)
    method.generator.set_weights([4 * weights for weights in method.generator.get_weights()])
    head = method.networks["classifier"].get_layer("logits")
    features = keras.Model(method.networks["classifier"].input, head.input)
    inputs = features(digits.train.images / 255.0, training=False).numpy()
    targets = 10 * np.eye(digits.num_classes)[digits.train.labels]
    kernel = np.linalg.lstsq(inputs, targets, rcond=1e-3)[0]
    head.kernel.assign(kernel)
    _save(path, digits, values, method)
    return path, method


def _draw(*arguments) -> int:
    return call(figures, *arguments)


@pytest.fixture(scope="module")
def drawn(fs_gan, frozen):
    arguments = [f"--run_dir={fs_gan[0]}", f"--frozen_run_dir={frozen[0]}"]
    arguments += [f"--batch_size={BATCH_SIZE}", f"--passes={PASSES}", f"--seed={SEED}"]
    arguments += [f"--num_examples={2 * BATCH_SIZE - 1}"]
    assert _draw(*arguments) == 0
    return fs_gan[0] / "figures"


@pytest.mark.slow
def test_both_pictures_are_drawn_and_readable(drawn):
    assert sorted(file.name for file in drawn.iterdir()) == [
        "figure_3.png",
        "figure_4.png",
        "figures.json",
    ]
    for name in ("figure_3.png", "figure_4.png"):
        pixels = tf.io.decode_png((drawn / name).read_bytes(), channels=3).numpy()
        assert pixels.shape[0] >= 700
        assert pixels.shape[1] >= 1500
        # Neither blank nor of one colour.
        assert 0.02 < (pixels < 250).any(axis=-1).mean() < 0.5
        assert len(np.unique(pixels.reshape(-1, 3) @ [1 << 16, 1 << 8, 1])) > 50


def _numbers(drawn):
    return json.loads((drawn / "figures.json").read_text())


def _batch(digits, number=0):
    part = digits.validation.part(number * BATCH_SIZE, (number + 1) * BATCH_SIZE)
    return tf.constant(part.images / 255.0, tf.float32), tf.constant(part.labels)


def _expected(adversary, images, labels, seed=SEED):
    """Perturbations and logits of each pass, by the trained objects themselves."""
    for index in range(PASSES):
        adversarial = adversary.perturb(images, labels, tf.constant([seed, index]))
        logits = adversary.classifier(adversarial, training=False)
        yield (adversarial - images).numpy(), logits.numpy()


def _feature_scatter(method):
    return FeatureScatter(method.networks["classifier"], threat_model=method.threat_model, seed=0)


def _mean_distance(passes):
    """Over all pairs of passes and all images, one by one."""
    distances = [
        np.sqrt(np.sum(np.square((one[image] - other[image]).astype(np.float64))))
        for one, other in itertools.combinations(passes, 2)
        for image in range(BATCH_SIZE)
    ]
    return sum(distances) / len(distances)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fs_gan", "feature_scatter"])
def test_figure_3_numbers_are_those_of_the_trained_networks(drawn, fs_gan, digits, name):
    method = fs_gan[1]
    adversary = method if name == "fs_gan" else _feature_scatter(method)
    images, labels = _batch(digits)
    perturbations, logits = zip(*_expected(adversary, images, labels), strict=True)
    found = _numbers(drawn)["figure_3"][name]
    clean = method.classifier(images, training=False).numpy()
    assert found == pytest.approx(
        {
            "logit_distance_between_passes": _mean_distance(logits),
            "perturbation_distance_between_passes": _mean_distance(perturbations),
            "logit_distance_to_clean": np.mean(
                [np.sqrt(np.sum((one - clean) ** 2, axis=1)) for one in logits]
            ),
            "perturbation_norm": np.mean(
                [np.sqrt(np.sum(one**2, axis=(1, 2, 3))) for one in perturbations]
            ),
        },
        rel=1e-3,
    )
    assert found["perturbation_distance_between_passes"] > 0


@pytest.mark.slow
def test_z_alone_moves_less_than_z_and_start_and_more_than_nothing(drawn):
    found = _numbers(drawn)["figure_3"]
    key = "perturbation_distance_between_passes"
    assert 0 < found["fs_gan_z_alone"][key] < found["fs_gan"][key]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fs_gan", "feature_scatter"])
def test_figure_4_attacks_the_frozen_classifier_with_its_own_generator(drawn, frozen, digits, name):
    method = frozen[1]
    adversary = method if name == "fs_gan" else _feature_scatter(method)
    correct = []
    for number in range(2):
        images, labels = _batch(digits, number)
        passes = [one for _, one in _expected(adversary, images, labels, SEED + number)]
        correct.append([one.argmax(axis=1) == labels.numpy() for one in passes])
    correct = np.concatenate(correct, axis=1)
    found = _numbers(drawn)["figure_4"]
    assert found["num_examples"] == 2 * BATCH_SIZE
    assert found[name]["accuracy_of_pass"] == pytest.approx(correct.mean(axis=1))
    so_far = np.logical_and.accumulate(correct)
    assert found[name]["accuracy_in_all_passes_so_far"] == pytest.approx(so_far.mean(axis=1))
    for one, interval in zip(so_far, found[name]["interval_in_all_passes_so_far"], strict=True):
        assert interval == pytest.approx(wilson_interval(one.sum(), len(one)))
    images = digits.validation.images[: 2 * BATCH_SIZE] / 255.0
    clean = method.classifier(images, training=False).numpy().argmax(axis=1)
    labels = digits.validation.labels[: 2 * BATCH_SIZE]
    assert found["clean_accuracy"] == pytest.approx(np.mean(clean == labels))


def test_without_a_frozen_run_figure_3_alone_is_drawn(fs_gan, tmp_path, capsys):
    arguments = [f"--run_dir={fs_gan[0]}", f"--output_dir={tmp_path}", "--batch_size=4"]
    assert _draw(*arguments, "--passes=2") == 0
    assert sorted(file.name for file in tmp_path.iterdir()) == ["figure_3.png", "figures.json"]
    printed = capsys.readouterr().out
    assert "--frozen_run_dir" in printed
    assert str(tmp_path / "figure_3.png") in printed


def _error(capsys, *arguments) -> str:
    assert _draw(*arguments) == 2
    return capsys.readouterr().err


@pytest.fixture
def standard(tmp_path, digits):
    values, method = _build(digits, "standard", precision="float32")
    _save(tmp_path / "standard", digits, values, method)
    return tmp_path / "standard"


def test_the_run_must_be_named_and_be_an_fs_gan_run(standard, tmp_path, capsys):
    assert "--run_dir is missing" in _error(capsys)
    assert "not a run directory" in _error(capsys, f"--run_dir={tmp_path}")
    error = _error(capsys, f"--run_dir={standard}")
    assert "--method=standard" in error
    assert "--method=fs_gan" in error


def test_a_batch_larger_than_the_slice_names_the_largest(fs_gan, digits, tmp_path, capsys):
    arguments = [f"--run_dir={fs_gan[0]}", f"--output_dir={tmp_path / 'figures'}"]
    error = _error(capsys, *arguments, "--batch_size=1000")
    assert f"--batch_size={len(digits.validation)} or less" in error
    assert not (tmp_path / "figures").exists()


def test_fewer_images_than_asked_for_are_a_note(digits, capsys):
    batches = run_images.whole_batches(digits.validation, 50, 1000)
    assert [len(batch) for batch in batches] == [50, 50]
    assert "100 images in whole batches, fewer than --num_examples=1000" in capsys.readouterr().err


def test_an_unfit_frozen_run_is_named(fs_gan, digits, tmp_path, capsys):
    fs_gan_run = f"--run_dir={fs_gan[0]}"
    assert "not a run directory" in _error(capsys, fs_gan_run, f"--frozen_run_dir={tmp_path}")
    error = _error(capsys, fs_gan_run, f"--frozen_run_dir={fs_gan[0]}")
    assert "--freeze_classifier" in error
    values, _ = _build(digits, "fs_gan", freeze_classifier="true")
    other = RunDirectory(tmp_path / "other")
    other.prepare(values)
    other.checkpoints.save(build("fs_gan"), Progress(1, 0, tuple("abcde"), (16, 16, 3)))
    error = _error(capsys, fs_gan_run, f"--frozen_run_dir={other.path}")
    assert str(other.path) in error
    assert "a, b, c, d, e" in error


def test_missing_data_is_named(fs_gan, tmp_path, capsys):
    copy = shutil.copytree(fs_gan[0], tmp_path / "run")
    flags_file = copy / "flags.txt"
    flags_file.write_text(flags_file.read_text().replace("=digits", "=cifar10"))
    error = _error(capsys, f"--run_dir={copy}", f"--data_dir={tmp_path}")
    assert "cifar10" in error
    assert str(tmp_path) in error


def test_an_output_folder_that_cannot_be_made_is_named(fs_gan, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    output_dir = tmp_path / "file" / "figures"
    error = _error(capsys, f"--run_dir={fs_gan[0]}", f"--output_dir={output_dir}")
    assert str(output_dir) in error
