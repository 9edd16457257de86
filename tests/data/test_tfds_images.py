import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import tensorflow as tf
import tensorflow_datasets as tfds

from fsgan_tf.data import loading
from fsgan_tf.data.batches import training_batches
from fsgan_tf.errors import UserError

SVHN_COUNTS = {"train": 40, "test": 20, "extra": 5}


def svhn_matrix(split: str) -> dict[str, np.ndarray]:
    """A file of the SVHN site in small: images `[h, w, c, n]`, digit 0 labelled 10."""
    count = SVHN_COUNTS[split]
    images = np.random.RandomState(count).randint(0, 256, (32, 32, 3, count), np.uint8)
    return {"X": images, "y": (np.arange(count) % 10 + 1).astype(np.uint8)[:, np.newaxis]}


@pytest.fixture(scope="module")
def svhn_dir(tmp_path_factory) -> Path:
    """A TFDS folder that TFDS's own builder prepared, from small files of the site's format."""
    site, folder = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("tfds")
    for split in SVHN_COUNTS:
        scipy.io.savemat(site / f"{split}_32x32.mat", svhn_matrix(split))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            tfds.download.DownloadManager,
            "download",
            lambda self, urls: {key: site / os.path.basename(url) for key, url in urls.items()},
        )
        loading.load_split("svhn_cropped", "test", data_dir=str(folder))
    shutil.rmtree(site)
    return folder


@pytest.fixture
def svhn_copy(svhn_dir, tmp_path) -> Path:
    shutil.copytree(svhn_dir, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture
def no_network(monkeypatch) -> Iterator[None]:
    def refuse(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def store(folder: Path, name: str, features: dict, **splits: dict[str, np.ndarray]) -> None:
    """Writes a prepared TFDS data set that TFDS has no code for."""
    tfds.dataset_builders.store_as_tfds_dataset(
        name=name,
        version="1.0.0",
        features=tfds.features.FeaturesDict(features),
        split_datasets={
            split: tf.data.Dataset.from_tensor_slices(examples)
            for split, examples in splits.items()
        },
        data_dir=folder,
    )


def examples(count: int, size: int = 8, channels: int = 1) -> dict[str, np.ndarray]:
    """Images whose pixels are their number, labels of two classes."""
    numbers = np.arange(count, dtype=np.uint8)[:, None, None, None]
    images = np.broadcast_to(numbers, (count, size, size, channels))
    return {"image": images, "label": np.arange(count) % 2}


GREY = {
    "image": tfds.features.Image(shape=(8, 8, 1)),
    "label": tfds.features.ClassLabel(names=["cat", "dog"]),
}


def test_prepared_svhn_is_read_without_a_network(svhn_dir, no_network, capfd):
    started = time.monotonic()
    dataset = loading.load("svhn_cropped", data_dir=str(svhn_dir))
    assert time.monotonic() - started < 30
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (36, 4, 20)
    assert dataset.class_names == tuple("0123456789")
    assert dataset.image_shape == (32, 32, 3)
    assert dataset.train.images.dtype == np.uint8
    assert dataset.train.labels.dtype == np.int32
    output = capfd.readouterr()
    assert output.out == output.err == ""


def test_svhn_images_keep_their_labels(svhn_dir):
    test, _ = loading.load_split("svhn_cropped", "test", data_dir=str(svhn_dir))
    matrix = svhn_matrix("test")
    expected = {
        matrix["X"][..., i].tobytes(): matrix["y"][i, 0] % 10 for i in range(SVHN_COUNTS["test"])
    }
    actual = {image.tobytes(): label for image, label in zip(test.images, test.labels, strict=True)}
    assert actual == expected


def test_the_order_never_changes(svhn_dir):
    first, second = (loading.load("svhn_cropped", data_dir=str(svhn_dir)) for _ in range(2))
    np.testing.assert_array_equal(first.train.images, second.train.images)
    test, _ = loading.load_split("svhn_cropped", "test", data_dir=str(svhn_dir))
    np.testing.assert_array_equal(first.test.images, test.images)


def test_svhn_of_tfds_mock_data(svhn_copy):
    for split in SVHN_COUNTS:
        record_file(svhn_copy, split).unlink()  # The mock invents examples from the metadata.
    with tfds.testing.mock_data(num_examples=30, data_dir=str(svhn_copy)):
        dataset = loading.load("svhn_cropped", data_dir=str(svhn_copy), train_examples=20)
        assert len(dataset.test) == 30
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (20, 3, 30)
    assert dataset.image_shape == (32, 32, 3)
    stream = training_batches(dataset.train, batch_size=20, seed=0, augmentation="none")
    batch = next(iter(stream))
    assert batch["image"].shape == (20, 32, 32, 3)
    assert int(tf.reduce_max(batch["label"])) < 10


def test_images_are_resized_when_asked(svhn_dir):
    test, _ = loading.load_split(
        "svhn_cropped", "test", data_dir=str(svhn_dir), image_size=(16, 16)
    )
    assert test.images.shape == (20, 16, 16, 3)
    full, _ = loading.load_split("svhn_cropped", "test", data_dir=str(svhn_dir))
    np.testing.assert_allclose(test.images.mean(), full.images.mean(), atol=2)


def test_a_set_without_code_in_grey_with_a_validation_split(tmp_path):
    store(tmp_path, "tiny", GREY, train=examples(30), validation=examples(10))
    dataset = loading.load("tiny", data_dir=str(tmp_path))
    assert dataset.image_shape == (8, 8, 1)
    assert dataset.class_names == ("cat", "dog")
    np.testing.assert_array_equal(np.sort(dataset.test.images[:, 0, 0, 0]), np.arange(10))
    np.testing.assert_array_equal(dataset.test.images[:, 0, 0, 0] % 2, dataset.test.labels)
    assert (len(dataset.train), len(dataset.validation)) == (27, 3)


@pytest.mark.parametrize(
    ("changes", "splits", "told"),
    [
        ({"image": tfds.features.Image(shape=(None, None, 1))}, ("train", "test"), "--image_size"),
        ({"image": tfds.features.Image(shape=(8, 8, 4))}, ("train", "test"), "of 4 channels"),
        (
            {"image": tfds.features.Image(shape=(8, 8, 1), dtype=np.uint16, encoding_format="png")},
            ("train", "test"),
            "of uint16",
        ),
        ({"label": tfds.features.Scalar(np.int64)}, ("train", "test"), "image-classification set"),
        ({}, ("extra",), "no examples in a split train, test or validation .*some in: extra"),
        ({}, ("test",), "no training split, only test"),
    ],
)
def test_unfit_sets_are_refused(tmp_path, changes, splits, told):
    channels = {**GREY, **changes}["image"].shape[-1]
    images = examples(4, channels=channels)
    images["image"] = images["image"].astype({**GREY, **changes}["image"].np_dtype)
    store(tmp_path, "tiny", {**GREY, **changes}, **dict.fromkeys(splits, images))
    with pytest.raises(UserError, match=told) as error:
        loading.load("tiny", data_dir=str(tmp_path))
    assert "\n" not in str(error.value)


def test_sides_may_be_of_any_size(tmp_path):
    features = {**GREY, "image": tfds.features.Image(shape=(10, 9, 1))}
    images = {**examples(4), "image": np.zeros((4, 10, 9, 1), np.uint8)}
    store(tmp_path, "tiny", features, train=images, test=images)
    assert loading.load("tiny", data_dir=str(tmp_path)).image_shape == (10, 9, 1)
    wide = loading.load("tiny", data_dir=str(tmp_path), image_size=(8, 12))
    assert wide.image_shape == (8, 12, 1)


def test_labels_outside_the_classes_are_refused(tmp_path):
    unlabelled = {**examples(4), "label": np.full(4, -1)}
    store(tmp_path, "tiny", GREY, train=examples(20), test=unlabelled)
    with pytest.raises(UserError, match="4 labels outside its 2 classes"):
        loading.load_split("tiny", "test", data_dir=str(tmp_path))


def test_one_training_example_is_too_few(tmp_path):
    store(tmp_path, "tiny", GREY, train=examples(1), test=examples(4))
    with pytest.raises(UserError, match="has 1 training examples; at least 2"):
        loading.load("tiny", data_dir=str(tmp_path))


@pytest.mark.parametrize("name", ["cifar1000", "no_such_set", "folder/of_images", "no_such:1.0.0"])
def test_an_unknown_name_tells_what_can_be_given(tmp_path, name):
    started = time.monotonic()
    with pytest.raises(UserError, match=f"unknown data set {name}.*digits, svhn_cropped"):
        loading.load(name, data_dir=str(tmp_path))
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("name", ["", "my images", "cifar10:9.9.9", "mnist_corrupted/no_such"])
def test_a_name_that_tfds_cannot_open_is_one_line(tmp_path, name):
    with pytest.raises(UserError, match="cannot open the TFDS data set") as error:
        loading.load(name, data_dir=str(tmp_path))
    assert "\n" not in str(error.value)
    assert name in str(error.value)


def test_a_misspelt_name_is_corrected(tmp_path):
    with pytest.raises(UserError, match=r"did you mean .*svhn_cropped"):
        loading.load("svhn_croped", data_dir=str(tmp_path))


def test_unprepared_without_a_network_says_so_in_seconds(tmp_path, no_network, capfd):
    started = time.monotonic()
    with pytest.raises(UserError, match="svhn_cropped is not prepared in") as error:
        loading.load("svhn_cropped", data_dir=str(tmp_path))
    assert time.monotonic() - started < 60  # TFDS's own 10 retries take minutes.
    assert str(tmp_path) in str(error.value)
    assert "--data_dir" in str(error.value)
    output = capfd.readouterr()
    assert output.out == ""
    assert output.err == f"preparing svhn_cropped in {tmp_path}: downloading what is missing\n"


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, OSError])
def test_an_interrupted_preparation_leaves_nothing_prepared(
    tmp_path, monkeypatch, no_network, interruption
):
    def interrupt(*_):
        raise interruption("No space left on device")

    monkeypatch.setattr(tfds.download.DownloadManager, "download", interrupt)
    with pytest.raises((UserError, KeyboardInterrupt), match="No space left"):
        loading.load("svhn_cropped", data_dir=str(tmp_path))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    monkeypatch.undo()
    assert not tfds.builder("svhn_cropped", data_dir=tmp_path).is_prepared()


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="svhn_cropped is not prepared in .*/file"):
        loading.load("svhn_cropped", data_dir=str(tmp_path / "file"))


def record_file(folder: Path, split: str) -> Path:
    (path,) = folder.glob(f"svhn_cropped/*/*{split}.tfrecord*")
    return path


def flip_bits(path: Path) -> None:
    contents = bytearray(path.read_bytes())
    contents[len(contents) // 2] ^= 0xFF
    path.write_bytes(contents)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-100]),
        flip_bits,
    ],
    ids=["missing", "empty", "cut", "flipped"],
)
def test_damaged_records_are_told(svhn_copy, damage):
    damage(record_file(svhn_copy, "test"))
    with pytest.raises(UserError, match="cannot read svhn_cropped in .*; move that") as error:
        loading.load_split("svhn_cropped", "test", data_dir=str(svhn_copy))
    assert "\n" not in str(error.value)


def without_features(version: Path) -> None:
    (version / "features.json").unlink()


def unfinished(version: Path) -> None:
    version.rename(version.with_name(f"incomplete.X2QYPO_{version.name}"))


@pytest.mark.parametrize("interrupt", [without_features, unfinished])
def test_what_an_interrupted_preparation_leaves_is_told(tmp_path, interrupt):
    store(tmp_path, "tiny", GREY, train=examples(30), test=examples(10))
    interrupt(tmp_path / "tiny" / "1.0.0")
    with pytest.raises(UserError, match="tiny holds no complete data set.*move it away"):
        loading.load("tiny", data_dir=str(tmp_path))


def test_a_set_with_code_and_without_metadata_is_told(svhn_copy, no_network):
    (info,) = svhn_copy.glob("svhn_cropped/*/dataset_info.json")
    info.unlink()
    with pytest.raises(UserError, match="svhn_cropped/.* holds no complete data set"):
        loading.load("svhn_cropped", data_dir=str(svhn_copy))


def test_the_test_split_is_read_without_the_training_images(svhn_copy):
    record_file(svhn_copy, "train").unlink()
    assert len(loading.load_split("svhn_cropped", "test", data_dir=str(svhn_copy))[0]) == 20


def test_damaged_metadata_is_told(svhn_copy, no_network):
    (info,) = svhn_copy.glob("svhn_cropped/*/dataset_info.json")
    info.write_text(json.dumps({"name": "svhn_cropped"})[:-3])
    with pytest.raises(
        UserError, match="svhn_cropped' in .*copy .ParseError.*move its folder"
    ) as error:
        loading.load("svhn_cropped", data_dir=str(svhn_copy))
    assert "\n" not in str(error.value)


def test_more_memory_than_the_machine_has_is_refused(svhn_dir):
    with pytest.raises(UserError, match="GB of memory.*--image_size"):
        loading.load("svhn_cropped", data_dir=str(svhn_dir), image_size=(1_000_000, 1_000_000))


@pytest.fixture
def tiny(tmp_path):
    store(tmp_path, "tiny", GREY, train=examples(30), test=examples(10))
    return tmp_path


@pytest.mark.parametrize("name", ["tiny:2.0.0", "tiny/config", "tiny/config:1.0.0"])
def test_what_is_there_is_said_where_another_version_is_asked_for(tiny, name):
    with pytest.raises(UserError, match="tiny holds tiny:1.0.0; give") as error:
        loading.load(name, data_dir=str(tiny))
    assert "delete" not in str(error.value)
    assert "move" not in str(error.value)


def test_another_version_of_a_set_with_code(svhn_dir):
    with pytest.raises(UserError, match=r"svhn_cropped holds svhn_cropped:3.1.0; give"):
        loading.load("svhn_cropped:1.0.0", data_dir=str(svhn_dir))


@pytest.mark.parametrize(
    ("name", "told"),
    [("cifar10/3.0.2", "--dataset=cifar10:3.0.2"), ("a/b/1.0.0", "--dataset=a/b:1.0.0")],
)
def test_how_a_version_is_written_is_said(tmp_path, name, told):
    with pytest.raises(UserError, match=told):
        loading.load(name, data_dir=str(tmp_path))


@pytest.mark.parametrize("inside", ["tiny", "tiny/1.0.0"])
def test_a_data_dir_that_is_too_deep_downloads_nothing(tiny, inside, capsys, no_network):
    capsys.readouterr()
    with pytest.raises(UserError, match=f"give the folder above that: --data_dir={tiny}$"):
        loading.load("tiny", data_dir=str(tiny / inside))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["cifar-10", "CIFAR10", "cifar_10"])
def test_a_name_written_otherwise_is_suggested(tmp_path, name):
    with pytest.raises(UserError, match=r"\(did you mean cifar10\?\)"):
        loading.load(name, data_dir=str(tmp_path))


def test_a_set_of_training_images_alone(tmp_path, capsys):
    store(tmp_path, "tiny", GREY, train=examples(50))
    capsys.readouterr()
    options = {"data_dir": str(tmp_path)}
    dataset = loading.load("tiny", **options)
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (36, 4, 10)
    assert dataset.test.name == "train[80%:]"
    splits = (dataset.train, dataset.validation, dataset.test)
    assert len({image.tobytes() for split in splits for image in split.images}) == 50
    everything, _ = loading.load_split("tiny", **options)
    assert (len(everything), everything.name) == (50, "train")
    assert "tiny has no test split: all 50 images" in capsys.readouterr().err
    held_out, _ = loading.load_split("tiny", trained_on=True, **options)
    assert held_out.sha256() == dataset.test.sha256()


def test_a_set_of_three_splits_is_watched_by_its_own(tmp_path):
    store(tmp_path, "tiny", GREY, train=examples(30), validation=examples(6), test=examples(10))
    dataset = loading.load("tiny", data_dir=str(tmp_path), validation_examples=4)
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (30, 4, 10)
    read, _ = loading.load_split("tiny", "validation", data_dir=str(tmp_path))
    assert (len(read), read.name) == (6, "validation")


def test_nothing_held_out_trains_on_everything(tiny):
    dataset = loading.load("tiny", data_dir=str(tiny), validation_examples=0)
    assert (len(dataset.train), len(dataset.validation)) == (30, 0)


@pytest.mark.parametrize("split", ["train[50%:]", "test[:5]"])
def test_a_part_of_a_split(tiny, split):
    read, _ = loading.load_split("tiny", split, data_dir=str(tiny))
    assert (len(read), read.name) == ({"train[50%:]": 15, "test[:5]": 5}[split], split)


@pytest.mark.parametrize("split", ["train[", "nowhere", "train[abc:]", "extra[:5]"])
def test_a_split_that_is_none_is_one_line(tiny, split):
    with pytest.raises(UserError, match="has no split .*it has train, test") as error:
        loading.load_split("tiny", split, data_dir=str(tiny))
    assert "\n" not in str(error.value)
