import itertools

import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_digits

from fsgan_tf.data import loading
from fsgan_tf.data.batches import batches_per_epoch, training_batches
from fsgan_tf.data.split import Split
from fsgan_tf.errors import UserError


def numbered(count: int, size: int = 12) -> Split:
    """Every label is the example's number, and so are its pixels (modulo 256)."""
    labels = np.arange(count, dtype=np.int32)
    images = np.broadcast_to(labels[:, None, None, None] % 256, (count, size, size, 3))
    return Split(images.astype(np.uint8), labels)


def take(stream: tf.data.Dataset, count: int) -> list[dict[str, np.ndarray]]:
    return list(itertools.islice(stream.as_numpy_iterator(), count))


@pytest.fixture(scope="module")
def digits() -> loading.ImageDataset:
    return loading.load("digits")


def test_digits_are_cut_as_promised(digits):
    assert [len(split) for split in (digits.train, digits.validation, digits.test)] == [
        1294,
        143,
        360,
    ]
    assert digits.image_shape == (32, 32, 3)
    assert digits.num_classes == 10
    assert digits.class_names == tuple("0123456789")
    for split in (digits.train, digits.validation, digits.test):
        assert split.images.dtype == np.uint8
        assert split.labels.dtype == np.int32
        assert split.images.min() == 0
        assert split.images.max() == 255
        np.testing.assert_array_equal(split.images[..., 0], split.images[..., 2])


def test_digits_splits_share_no_image_and_keep_the_strata(digits):
    splits = (digits.train, digits.validation, digits.test)
    assert sum(map(len, splits)) == 1797
    distinct = {image.tobytes() for split in splits for image in split.images}
    assert len(distinct) == len({image.tobytes() for image in load_digits().images})
    counts = np.bincount(load_digits().target)
    np.testing.assert_allclose(np.bincount(digits.test.labels), counts * 0.2, atol=1)


def test_digits_are_those_of_scikit_learn(digits):
    """Averaging 4x4 blocks undoes the enlargement nearly; the label must fit the image."""
    originals = load_digits()
    small = digits.test.images[:100, ..., 0].reshape(-1, 8, 4, 8, 4).mean(axis=(2, 4)) / 255 * 16
    distances = ((small[:, None] - originals.images[None]) ** 2).sum(axis=(2, 3))
    np.testing.assert_array_equal(originals.target[distances.argmin(1)], digits.test.labels[:100])


def test_load_split_gives_the_test_split_of_load(digits):
    test, class_names = loading.load_split("digits", "test")
    np.testing.assert_array_equal(test.images, digits.test.images)
    np.testing.assert_array_equal(test.labels, digits.test.labels)
    assert class_names == digits.class_names


def test_digits_take_another_size():
    test, _ = loading.load_split("digits", "test", image_size=(16, 16))
    assert test.images.shape == (360, 16, 16, 3)


def test_train_examples_are_the_first_and_leave_the_validation_alone(digits):
    few = loading.load("digits", train_examples=100, validation_examples=50)
    more = loading.load("digits", train_examples=200, validation_examples=50)
    assert (len(few.train), len(few.validation), len(more.train)) == (100, 50, 200)
    np.testing.assert_array_equal(few.train.images, more.train.images[:100])
    np.testing.assert_array_equal(few.validation.images, more.validation.images)
    np.testing.assert_array_equal(few.validation.images, digits.validation.images[-50:])
    np.testing.assert_array_equal(few.test.images, digits.test.images)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"train_examples": 1295}, "--train_examples=1294 or fewer"),
        ({"image_size": (10_000_000, 10_000_000)}, "GB of memory"),
    ],
)
def test_digits_refuse(arguments, told):
    with pytest.raises(UserError, match=told):
        loading.load("digits", **arguments)


def test_split_first():
    split = numbered(10)
    assert len(split.first(3)) == 3
    assert len(split.first(None)) == len(split.first(99)) == len(split) == 10
    np.testing.assert_array_equal(split.first(3).labels, [0, 1, 2])


def test_a_split_of_other_images_or_labels_has_another_hash():
    images, labels = np.zeros((2, 1, 1, 1), np.uint8), np.zeros(2, np.int32)
    assert Split(images, labels).sha256() == Split(images.copy(), labels).sha256()
    others = [(images, labels), (images + np.uint8(1), labels), (images, labels + np.int32(1))]
    assert len({Split(*arrays).sha256() for arrays in others}) == 3


def test_training_batches_are_static_and_scaled():
    stream = training_batches(numbered(300), batch_size=8, seed=0, augmentation="none")
    assert stream.element_spec == {
        "image": tf.TensorSpec([8, 12, 12, 3], tf.float32),
        "label": tf.TensorSpec([8], tf.int32),
        "index": tf.TensorSpec([8], tf.int32),
    }
    for batch in take(stream, 37):
        expected = (batch["label"] % 256).astype(np.float32) / np.float32(255)
        np.testing.assert_array_equal(batch["image"][:, 5, 7, 1], expected)


def test_every_example_is_seen_once_an_epoch_in_another_order():
    split = numbered(60)
    stream = training_batches(split, batch_size=6, seed=0, augmentation="none")
    labels = np.array([batch["label"] for batch in take(stream, 30)]).reshape(3, 60)
    np.testing.assert_array_equal(np.sort(labels), np.tile(split.labels, (3, 1)))
    assert len({tuple(epoch) for epoch in labels}) == 3
    assert not any(np.array_equal(epoch, split.labels) for epoch in labels)


def test_the_remainder_of_an_epoch_is_dropped():
    stream = training_batches(numbered(10), batch_size=4, seed=0, augmentation="none")
    labels = np.array([batch["label"] for batch in take(stream, 20)]).reshape(10, 8)
    assert all(len(set(epoch)) == 8 for epoch in labels)
    assert set(labels.flat) == set(range(10))  # Each time others are left over.


@pytest.mark.parametrize("augmentation", ["none", "crop_flip"])
def test_the_remainder_is_kept_as_a_smaller_batch_if_asked_for(augmentation):
    options = {"batch_size": 4, "seed": 3, "augmentation": augmentation}
    kept = training_batches(numbered(10), last_batch="keep", **options)
    batches = take(kept, 6)
    assert [len(batch["label"]) for batch in batches] == [4, 4, 2] * 2
    for epoch in (batches[:3], batches[3:]):
        seen = np.concatenate([batch["label"] for batch in epoch])
        np.testing.assert_array_equal(np.sort(seen), np.arange(10))
    # What is whole is as where the rest is dropped, and a stream that resumes is the stream.
    dropped = take(training_batches(numbered(10), **options), 4)
    resumed = training_batches(
        numbered(10), last_batch="keep", first_epoch=1, first_batch=1, **options
    )
    pairs = zip(
        [*dropped, *take(resumed, 2)], [batches[i] for i in (0, 1, 3, 4, 4, 5)], strict=True
    )
    for one, other in pairs:
        np.testing.assert_array_equal(one["image"], other["image"])
        np.testing.assert_array_equal(one["label"], other["label"])


@pytest.mark.parametrize(
    ("last_batch", "examples", "steps"),
    [("drop", 10, 2), ("keep", 10, 3), ("keep", 8, 2), ("drop", 8, 2)],
)
def test_an_epoch_has_as_many_batches_as_the_stream(last_batch, examples, steps):
    assert batches_per_epoch(examples, 4, last_batch) == steps
    stream = training_batches(
        numbered(examples), batch_size=4, seed=0, augmentation="none", last_batch=last_batch
    )
    seen = np.concatenate([batch["label"] for batch in take(stream, steps)])
    assert len(set(seen)) == len(seen) == (examples if steps == 3 else 8)
    is_static = stream.element_spec["label"].shape[0] == 4
    assert is_static == (last_batch == "drop" or examples == 8)


def test_shuffling_is_fair():
    """The example that comes first is any of them, equally often."""
    stream = training_batches(numbered(4), batch_size=4, seed=7, augmentation="none")
    first = [batch["label"][0] for batch in take(stream, 1000)]
    np.testing.assert_allclose(np.bincount(first), 250, atol=68)  # 5 standard deviations.


@pytest.mark.parametrize("augmentation", ["none", "crop_flip"])
def test_a_stream_from_a_later_epoch_is_the_uninterrupted_one(augmentation):
    split = Split(
        np.random.RandomState(0).randint(0, 256, (20, 12, 12, 3), np.uint8),
        np.arange(20, dtype=np.int32),
    )
    arguments = {"batch_size": 6, "seed": 5, "augmentation": augmentation}
    whole = take(training_batches(split, **arguments), 12)
    resumed = take(training_batches(split, first_epoch=2, **arguments), 6)
    for expected, actual in zip(whole[6:], resumed, strict=True):
        np.testing.assert_array_equal(expected["label"], actual["label"])
        np.testing.assert_array_equal(expected["image"], actual["image"])
    assert np.any(whole[0]["image"] != resumed[0]["image"])
    within = training_batches(split, first_epoch=2, first_batch=2, **arguments)
    np.testing.assert_array_equal(take(within, 1)[0]["image"], whole[8]["image"])


def test_seeds_give_other_orders_and_augmentations():
    split = Split(
        np.random.RandomState(0).randint(0, 256, (1, 12, 12, 3), np.uint8).repeat(64, 0),
        np.arange(64, dtype=np.int32),
    )
    zero, one = (
        take(training_batches(split, batch_size=64, seed=seed, augmentation="crop_flip"), 2)
        for seed in (0, 1)
    )
    assert np.any(zero[0]["label"] != one[0]["label"])
    assert np.any(zero[0]["image"] != one[0]["image"])
    assert np.any(zero[0]["image"] != zero[1]["image"])


def test_a_training_set_smaller_than_a_batch_is_refused():
    with pytest.raises(UserError, match="3 examples, fewer than the batch of 4"):
        training_batches(numbered(3), batch_size=4, seed=0, augmentation="none")


@pytest.mark.parametrize("augmentation", ["none", "crop_flip"])
def test_replicas_get_halves_of_the_global_batch(augmentation):
    devices = [device.name for device in tf.config.list_logical_devices("CPU")]
    split = Split(
        np.random.RandomState(0).randint(0, 256, (24, 12, 12, 3), np.uint8),
        np.arange(24, dtype=np.int32),
    )
    arguments = {"batch_size": 8, "seed": 0, "augmentation": augmentation}
    expected = take(training_batches(split, **arguments), 4)
    strategy = tf.distribute.MirroredStrategy(devices[:2])
    with strategy.scope():
        stream = training_batches(split, **arguments)
    distributed = iter(strategy.experimental_distribute_dataset(stream))
    for batch in expected:
        parts = next(distributed)
        for key in ("image", "label"):
            halves = strategy.experimental_local_results(parts[key])
            assert [half.shape[0] for half in halves] == [4, 4]
            np.testing.assert_array_equal(np.concatenate(halves), batch[key])
