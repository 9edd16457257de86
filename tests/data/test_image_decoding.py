import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf.data import image_decoding
from tests.images import cmyk_jpeg, jpeg, palette_png, png, random_pixels, unit

IMAGE_SHAPE = (8, 8, 3)


def test_png_of_every_kind_decodes_to_the_same_image():
    grey = random_pixels(8, 8, 1)
    rgb = np.repeat(grey, 3, axis=2)
    opacity = random_pixels(8, 8, 1, seed=1)
    palette = np.repeat(np.arange(256, dtype=np.uint8)[:, np.newaxis], 3, axis=1)
    encoded = [
        png(rgb),
        png(grey),
        png(np.concatenate([grey, opacity], axis=2)),
        png(np.concatenate([rgb, opacity], axis=2)),
        png(rgb.astype(np.uint16) * 257),
        palette_png(grey[..., 0], palette),
    ]
    images = image_decoding.decode_images(tf.constant(encoded), IMAGE_SHAPE)
    for image in images:
        np.testing.assert_array_equal(image, unit(rgb))
    images = image_decoding.decode_images(tf.constant(encoded), (8, 8, 1))
    np.testing.assert_allclose(images, np.repeat(unit(grey)[np.newaxis], 6, axis=0), atol=1 / 254)


def test_an_empty_batch_decodes_to_one():
    images = image_decoding.decode_images(tf.constant([], tf.string), IMAGE_SHAPE)
    assert images.shape == (0, *IMAGE_SHAPE)


def test_16_bit_png_keeps_its_depth():
    pixels = np.random.default_rng(0).integers(0, 2**16, IMAGE_SHAPE, np.uint16)
    image = image_decoding.decode_images(tf.constant([png(pixels)]), IMAGE_SHAPE)[0]
    np.testing.assert_allclose(image, pixels / 65535, atol=1e-7)


def test_jpeg_decodes_to_its_image():
    ramp = np.linspace(0, 255, 8).astype(np.uint8)[:, np.newaxis, np.newaxis]
    pixels = np.tile(ramp, (1, 8, 3))
    images = image_decoding.decode_images(
        tf.constant([jpeg(pixels), jpeg(pixels[..., :1])]), IMAGE_SHAPE
    )
    for image in images:
        np.testing.assert_allclose(image, unit(pixels), atol=1.5 / 255)


def test_a_jpeg_of_four_inks_decodes_to_grey_as_to_colours():
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:, :4], pixels[:, 4:] = (200, 40, 90), (30, 160, 220)
    inks = tf.constant([cmyk_jpeg(pixels)])
    colours = image_decoding.decode_images(inks, IMAGE_SHAPE)
    np.testing.assert_allclose(colours[0], unit(pixels), atol=3 / 255)
    grey = image_decoding.decode_images(inks, (8, 8, 1))
    expected = unit(pixels) @ np.array([0.299, 0.587, 0.114], np.float32)
    np.testing.assert_allclose(grey[0, ..., 0], expected, atol=3 / 255)


@pytest.mark.parametrize("size", [(1, 1), (1000, 700), (8, 9)])
@pytest.mark.parametrize("encode", [png, jpeg])
def test_other_sizes_are_resized(size, encode):
    image = image_decoding.decode_images(
        tf.constant([encode(np.full((*size, 3), 51, np.uint8))]), (8, 8, 3)
    )
    np.testing.assert_allclose(image, np.full((1, 8, 8, 3), 0.2, np.float32), atol=1 / 255)


def test_resizing_is_antialiased():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, 3::8] = stripes[:, 4::8] = 255  # where resizing without antialiasing would look
    image = image_decoding.decode_images(tf.constant([png(stripes)]), IMAGE_SHAPE)[0]
    np.testing.assert_allclose(image[:, 1:-1], 0.25, atol=1e-3)


def test_a_png_that_ends_before_its_size_is_none():
    encoded = png(random_pixels(8, 8, 3))
    assert image_decoding.is_image(encoded[:24])
    for size in (0, 7, 8, 15, 23):  # in a graph and outside of one
        assert not image_decoding.is_image(encoded[:size])
        assert not tf.function(image_decoding.is_image)(tf.constant(encoded[:size]))


def test_an_image_that_would_take_too_much_memory_is_malformed(monkeypatch):
    encoded = tf.constant([encode(random_pixels(4, 6, 3)) for encode in (png, jpeg)])
    monkeypatch.setattr(image_decoding, "MAX_PIXELS", 24)
    image_decoding.decode_images(encoded, IMAGE_SHAPE)
    monkeypatch.setattr(image_decoding, "MAX_PIXELS", 23)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"indices of image_bytes: \[0 1\]"):
        image_decoding.decode_images(encoded, IMAGE_SHAPE)
