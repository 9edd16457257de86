import keras
import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf.data import augmentation


def images_of(count: int, size: int, channels: int = 3) -> np.ndarray:
    return np.random.RandomState(0).uniform(size=(count, size, size, channels)).astype(np.float32)


def cropped(images: np.ndarray, tops, lefts) -> np.ndarray:
    padded = np.pad(images, ((0, 0), (4, 4), (4, 4), (0, 0)))
    height, width = images.shape[1:3]
    return np.stack(
        [
            image[top : top + height, left : left + width]
            for image, top, left in zip(padded, tops, lefts, strict=True)
        ]
    )


@pytest.mark.parametrize(("height", "width", "channels"), [(32, 32, 3), (12, 28, 1), (64, 96, 3)])
def test_crop_is_numpy_slicing_for_every_offset(height, width, channels):
    tops, lefts = np.divmod(np.arange(81, dtype=np.int32), 9)
    images = np.random.RandomState(0).uniform(size=(81, height, width, channels))
    images = images.astype(np.float32)
    crop = tf.function(augmentation.crop_to(height, width))
    actual = crop(tf.constant(images), tf.constant(tops), tf.constant(lefts))
    np.testing.assert_array_equal(actual, cropped(images, tops, lefts))


def test_mirror_is_numpy_reversal_of_the_chosen_images():
    images, chosen = images_of(4, 32), np.array([True, False, False, True])
    flipped = augmentation.mirror()(tf.constant(images), tf.constant(chosen))
    np.testing.assert_array_equal(flipped[0], images[0, :, ::-1])
    np.testing.assert_array_equal(flipped[1:3], images[1:3])
    np.testing.assert_array_equal(flipped[3], images[3, :, ::-1])


def test_crop_flip_draws_every_offset_and_half_of_the_flips():
    # Coordinates as pixels, so that each output tells its crop and its flip.
    count = 4000
    rows, columns = np.meshgrid(np.arange(1, 33), np.arange(1, 33), indexing="ij")
    image = np.stack([rows, columns], axis=-1).astype(np.float32) / 32
    augment = tf.function(augmentation.crop_flip(32, 32))
    result = augment(tf.constant(np.broadcast_to(image, (count, 32, 32, 2))), [0, 1]).numpy() * 32
    centre = np.rint(result[:, 16, 16]).astype(int)
    neighbour = np.rint(result[:, 16, 17]).astype(int)
    flipped = neighbour[:, 1] < centre[:, 1]
    tops = centre[:, 0] - 1 - 16 + 4
    lefts = np.where(flipped, centre[:, 1] - 1 - 15, centre[:, 1] - 1 - 16) + 4
    assert abs(flipped.mean() - 0.5) < 0.04
    expected = count / 81
    counts = np.bincount(tops * 9 + lefts, minlength=81)
    assert len(counts) == 81
    # Chi-squared with 80 degrees of freedom: mean 80, 99.99% below 136.
    assert ((counts - expected) ** 2 / expected).sum() < 136
    assert abs(np.corrcoef(flipped, tops)[0, 1]) < 0.07


def test_crop_flip_is_a_function_of_the_seed_alone():
    images = tf.constant(images_of(8, 32))
    augment = augmentation.crop_flip(32, 32)
    first = augment(images, [3, 4])
    np.testing.assert_array_equal(first, augmentation.crop_flip(32, 32)(images, [3, 4]))
    assert np.any(first != augment(images, [3, 5]))


def test_mixed_precision_does_not_round_pixels():
    images = images_of(1, 32)
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        centre = tf.constant([4])
        actual = augmentation.crop_to(32, 32)(tf.constant(images), centre, centre)
        flipped = augmentation.mirror()(tf.constant(images), tf.constant([True]))
    finally:
        keras.mixed_precision.set_global_policy(before)
    np.testing.assert_array_equal(actual, images)
    np.testing.assert_array_equal(flipped, images[:, :, ::-1])


@pytest.mark.parametrize(
    ("augmentation_flag", "dataset", "expected"),
    [
        ("auto", "cifar10", "crop_flip"),
        ("auto", "cifar100:3.0.2", "crop_flip"),
        ("auto", "cifar10/config", "crop_flip"),
        ("auto", "cifar10_corrupted", "crop_flip"),
        ("auto", "svhn_cropped", "none"),
        ("auto", "digits", "none"),
        ("auto", "mnist", "none"),
        ("auto", "oxford_flowers102", "crop_flip"),
        ("auto", "./folder", "crop_flip"),
        ("none", "cifar10", "none"),
        ("crop_flip", "digits", "crop_flip"),
    ],
)
def test_auto_augments_what_may_be_mirrored(augmentation_flag, dataset, expected):
    shape = (32, 32, 3)
    assert augmentation.resolve_augmentation(augmentation_flag, dataset, shape) == expected


def test_auto_leaves_images_alone_that_are_too_small_to_crop():
    assert augmentation.resolve_augmentation("auto", "cifar10", (12, 12, 3)) == "crop_flip"
    assert augmentation.resolve_augmentation("auto", "cifar10", (8, 32, 3)) == "none"
