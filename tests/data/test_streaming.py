"""Images that stay on disk give, bit for bit, the batches of those in memory."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from fsgan_tf.data import loading
from fsgan_tf.data.batches import batches_per_epoch, training_batches
from fsgan_tf.data.split import StreamedSplit
from fsgan_tf.data.tfrecords import TfRecords, record_offsets
from fsgan_tf.errors import UserError
from tests.data.test_image_folder import write_image
from tests.images import jpeg, png, random_pixels

NOTHING = 1e-9  # GiB


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """PNG and JPEG files of several sizes, and one that is cut."""
    root = tmp_path_factory.mktemp("images")
    for label, name in enumerate(("cat", "dog")):
        (root / name).mkdir()
        for number in range(20):
            pixels = random_pixels(16 + number % 5, 20, 3, seed=100 * label + number)
            suffix, encode = [("png", png), ("jpg", jpeg)][number % 2]
            (root / name / f"{number}.{suffix}").write_bytes(encode(pixels))
    cut = write_image(root / "dog" / "cut.png")
    cut.write_bytes(cut.read_bytes()[:-20])
    return str(root), {"image_size": (16, 16)}


def stored(tmp_path_factory, file_format, shards=3):
    root = tmp_path_factory.mktemp(file_format)
    images = random_pixels(64, 16, 16, 3)
    tfds.dataset_builders.store_as_tfds_dataset(
        name="tiny",
        version="1.0.0",
        features=tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(16, 16, 3), encoding_format="jpeg"),
                "label": tfds.features.ClassLabel(names=["cat", "dog"]),
            }
        ),
        split_datasets={
            name: tf.data.Dataset.from_tensor_slices(
                {"image": images[:count], "label": np.arange(count) % 2}
            )
            for name, count in {"train": 64, "test": 10}.items()
        },
        data_dir=root,
        file_format=file_format,
        download_config=tfds.download.DownloadConfig(num_shards=shards),
    )
    return "tiny", {"data_dir": str(root)}


@pytest.fixture(scope="module")
def tfrecord(tmp_path_factory):
    return stored(tmp_path_factory, "tfrecord")


@pytest.fixture(scope="module")
def array_record(tmp_path_factory):
    return stored(tmp_path_factory, "array_record", shards=1)


def take(split, count, **arguments):
    stream = training_batches(split, batch_size=6, seed=5, **arguments)
    return list(itertools.islice(stream.as_numpy_iterator(), count))


def assert_same(expected, actual):
    for one, other in zip(expected, actual, strict=True):
        for key in ("image", "label", "index"):
            np.testing.assert_array_equal(one[key], other[key])


@pytest.mark.parametrize(
    ("source", "last_batch"),
    [("folder", "drop"), ("folder", "keep"), ("tfrecord", "drop"), ("array_record", "drop")],
)
def test_streamed_batches_are_those_of_memory(source, last_batch, request):
    name, options = request.getfixturevalue(source)
    memory = loading.load(name, memory_limit=1, **options)
    streamed = loading.load(name, memory_limit=NOTHING, **options)
    assert isinstance(streamed.train, StreamedSplit)
    assert not isinstance(memory.train, StreamedSplit)
    assert len(memory.train) == len(streamed.train)
    arguments = {"augmentation": "crop_flip", "last_batch": last_batch}
    expected = take(memory.train, 15, **arguments)
    assert_same(expected, take(streamed.train, 15, **arguments))
    per_epoch = batches_per_epoch(len(memory.train), 6, last_batch)
    resumed = take(streamed.train, 15 - per_epoch, first_epoch=1, **arguments)
    assert_same(expected[per_epoch:], resumed)
    for split in ("validation", "test"):
        assert getattr(memory, split).sha256() == getattr(streamed, split).sha256()


def test_tfrecords_of_several_files_and_parts_of_splits(tfrecord):
    name, options = tfrecord
    for split in ("train", "train[80%:]", "train[10:20]"):
        memory, _ = loading.load_split(name, split, memory_limit=1, **options)
        streamed, _ = loading.load_split(name, split, memory_limit=NOTHING, **options)
        assert memory.sha256() == streamed.sha256()
        assert memory.name == streamed.name == split


def test_the_fingerprint_tells_other_images_without_decoding(folder):
    name, options = folder
    train = loading.load(name, memory_limit=NOTHING, **options).train
    again = loading.load(name, memory_limit=NOTHING, **options).train
    assert train.fingerprint() == again.fingerprint()
    assert train.fingerprint() != train.part(0, 5).fingerprint()


def test_replicas_get_halves_of_a_streamed_batch(folder, mirrored_strategy):
    name, options = folder
    train = loading.load(name, memory_limit=NOTHING, **options).train
    expected = take(train, 3, augmentation="none")
    with mirrored_strategy.scope():
        stream = training_batches(train, batch_size=6, seed=5, augmentation="none")
    distributed = iter(mirrored_strategy.experimental_distribute_dataset(stream))
    for batch in expected:
        parts = next(distributed)
        halves = mirrored_strategy.experimental_local_results(parts["image"])
        np.testing.assert_array_equal(np.concatenate(halves), batch["image"])


def _write_two_classes(folder: Path) -> None:
    for label in ("cat", "dog"):
        for number in range(8):
            write_image(folder / label / f"{number}.png")


def test_a_file_that_is_gone_is_told_by_name(tmp_path):
    _write_two_classes(tmp_path)
    train = loading.load(str(tmp_path), memory_limit=NOTHING).train
    for path in tmp_path.glob("*/*.png"):
        path.unlink()
    with pytest.raises(tf.errors.OpError, match=r"cannot read .*png: No such file"):
        take(train, 1, augmentation="none")


def test_a_damaged_file_is_told_by_name_where_all_are_read(tmp_path):
    _write_two_classes(tmp_path)
    test = loading.load(str(tmp_path), memory_limit=NOTHING).test
    for path in tmp_path.glob("*/*.png"):
        path.write_bytes(b"damaged")
    with pytest.raises(UserError, match=rf"^{tmp_path}.*png is damaged; replace it$"):
        assert test.images.size


def test_offsets_are_those_of_the_records(tmp_path):
    contents = [b"", b"a", bytes(5000), b"last"]
    with tf.io.TFRecordWriter(str(tmp_path / "file")) as writer:
        for content in contents:
            writer.write(content)
    assert [length for _, length in record_offsets(tmp_path / "file")] == [0, 1, 5000, 4]
    records = TfRecords([(tmp_path / "file", index) for index in (3, 0, 2)])
    assert records.__getitems__([0, 1, 2, 0]) == [b"last", b"", bytes(5000), b"last"]


def test_a_streamed_split_that_is_too_large_for_memory_is_not_read_whole(folder, monkeypatch):
    name, options = folder
    train = loading.load(name, memory_limit=NOTHING, **options).train

    def refuse(*_):
        raise UserError("too large")

    monkeypatch.setattr("fsgan_tf.data.split.check_memory", refuse)
    take(train, 2, augmentation="none")
    with pytest.raises(UserError, match="too large"):
        assert train.images.size
