"""Data that cannot be trained on, as the main command meets it: a line, exit code 2, no run."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from fsgan_tf import evaluate, train
from tests.commands import call
from tests.data.test_image_folder import class_folders, split_folders, write_image
from tests.data.test_tfds_images import GREY, examples, store


def tfds_set(root: Path, features=GREY, **splits) -> Path:
    store(root, "tiny", features, **{"train": examples(30), "test": examples(10), **splits})
    return root / "tiny" / "1.0.0"


def missing(root: Path) -> None:
    root.rmdir()


def only_damaged_images(root: Path) -> None:
    for path in class_folders(root).glob("dog/*"):
        path.write_bytes(path.read_bytes()[:40])


def no_test_images(root: Path) -> None:
    for path in split_folders(root).glob("test/dog/*"):
        path.unlink()


def fewer_than_a_batch(root: Path) -> None:
    class_folders(root, 3)


def one_image(root: Path) -> None:
    class_folders(root)
    write_image(root / "owl" / "0.png")


def labels_outside(root: Path) -> None:
    tfds_set(root, train={**examples(10), "label": np.full(10, -1)})


def images_of_16_bits(root: Path) -> None:
    feature = tfds.features.Image(shape=(8, 8, 1), dtype=np.uint16, encoding_format="png")
    images = {**examples(30), "image": examples(30)["image"].astype(np.uint16)}
    tfds_set(root, {**GREY, "image": feature}, train=images, test=images)


def images_of_many_sizes(root: Path) -> None:
    tfds_set(root, {**GREY, "image": tfds.features.Image(shape=(None, None, 1))})


def empty_split(root: Path) -> None:
    file = tfds_set(root) / "dataset_info.json"
    info = json.loads(file.read_text())
    for split in info["splits"]:
        if split["name"] in ("train", "test"):
            split["shardLengths"] = ["0"]
    file.write_text(json.dumps(info))


def unfinished(root: Path) -> None:
    version = tfds_set(root)
    version.rename(version.with_name("1.0.0.incompleteX2QYPO"))


def missing_shard(root: Path) -> None:
    next(tfds_set(root).glob("*train.tfrecord*")).unlink()


def cut_shard(root: Path) -> None:
    shard = next(tfds_set(root).glob("*train.tfrecord*"))
    shard.write_bytes(shard.read_bytes()[:-9])


def broken_features(root: Path) -> None:
    (tfds_set(root) / "features.json").write_text('{"pyth')


def broken_metadata(root: Path) -> None:
    (tfds_set(root) / "dataset_info.json").write_text("[1]")


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (missing, "cannot read the folder"),
        (only_damaged_images, "dog has no readable image"),
        (no_test_images, "dog has no readable image for the test split"),
        (fewer_than_a_batch, "3 training images are fewer than one batch of 8"),
        (one_image, "owl has 1 image"),
        (labels_outside, "10 labels outside its 2 classes (such as -1)"),
        (images_of_16_bits, "of uint16"),
        (images_of_many_sizes, "--image_size"),
        (empty_split, "no examples in a split train, test or validation (it has some in: none)"),
        (unfinished, "holds no complete data set"),
        (missing_shard, "No such file"),
        (cut_shard, "truncated record"),
        (broken_features, "JSONDecodeError"),
        (broken_metadata, "ParseError"),
    ],
)
@pytest.mark.parametrize("mode", ["--dry_run", "--nodry_run"])
def test_faulty_data_is_one_line_and_leaves_no_run(tmp_path, capfd, make, told, mode):
    (tmp_path / "data").mkdir()
    make(tmp_path / "data")
    is_tfds = (tmp_path / "data" / "tiny").exists()
    capfd.readouterr()
    argv = [
        f"--dataset={'tiny' if is_tfds else tmp_path / 'data'}",
        *([f"--data_dir={tmp_path / 'data'}"] if is_tfds else []),
        f"--run_dir={tmp_path / 'run'}",
        "--batch_size=8",
        "--method=standard",
        mode,
    ]
    assert call(train, *argv) == 2
    *warnings, line = capfd.readouterr().err.splitlines()
    assert all(warning.startswith("warning: skipped") for warning in warnings)
    assert line.startswith("error: ")
    assert told in line
    assert not (tmp_path / "run").exists()


def test_a_run_goes_on_with_its_own_classes_only(tmp_path, capfd):
    """Another class in the folder: refused by training and evaluation, and nothing changes."""
    folder = class_folders(tmp_path / "data", 6)
    flags = [f"--dataset={folder}", f"--run_dir={tmp_path / 'run'}", "--image_size=8"]
    training = [*flags, "--batch_size=4", "--method=standard", "--epochs=1", "--eval_examples=0"]
    training.append("--precision=float32")
    assert call(train, *training) == 0
    before = _files(tmp_path / "run")
    (folder / "dog").rename(folder / "fox")
    capfd.readouterr()
    assert call(train, *training) == 2
    assert "of the classes cat, dog" in capfd.readouterr().err
    assert call(evaluate, f"--run_dir={tmp_path / 'run'}") == 2
    assert "class 1 is 'dog' to" in capfd.readouterr().err
    assert _files(tmp_path / "run") == before


def _files(folder: Path) -> dict[Path, bytes]:
    """Contents by path; the lock names the last process."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {path: path.read_bytes() for path in files}
