import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from fsgan_tf.data import image_files
from fsgan_tf.errors import UserError
from tests.images import cmyk_jpeg, jpeg, png, random_pixels


def encoded(pixels: np.ndarray, file_format: str, **options) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, file_format, **options)
    return stream.getvalue()


def rotated(pixels: np.ndarray, orientation: int, file_format: str = "PNG") -> bytes:
    """A file whose pixels are as given, to be shown by an EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(pixels, file_format, exif=exif)


def decode(tmp_path, contents: bytes, shape=(8, 8, 3)) -> np.ndarray | None:
    file = tmp_path / "image"
    file.write_bytes(contents)
    return image_files.decode_file(file, shape)


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "WEBP"])
def test_every_lossless_format_gives_its_pixels(tmp_path, file_format):
    pixels = random_pixels(8, 8, 3)
    options = {"lossless": True} if file_format == "WEBP" else {}
    image = decode(tmp_path, encoded(pixels, file_format, **options))
    np.testing.assert_array_equal(image, pixels)


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "WEBP"])
def test_grey_files_and_grey_images(tmp_path, file_format):
    grey = random_pixels(8, 8)
    options = {"lossless": True} if file_format == "WEBP" else {}
    contents = encoded(grey, file_format, **options)
    np.testing.assert_array_equal(decode(tmp_path, contents)[..., 1], grey)
    np.testing.assert_array_equal(decode(tmp_path, contents, (8, 8, 1))[..., 0], grey)


def test_alpha_is_dropped(tmp_path):
    pixels = random_pixels(8, 8, 4)
    webp = encoded(pixels, "WEBP", lossless=True, exact=True)
    np.testing.assert_array_equal(decode(tmp_path, webp), pixels[..., :3])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP"])
def test_exif_orientation_is_applied(tmp_path, orientation, file_format):
    """As Pillow's own `exif_transpose` has it, on an image without symmetries."""
    pixels = np.zeros((6, 10, 3), np.uint8)
    pixels[:3, :5] = (250, 120, 20)
    pixels[3:, :5] = (20, 250, 120)
    pixels[:3, 5:] = (120, 20, 250)
    contents = rotated(pixels, orientation, file_format)
    assert image_files.exif_orientation(contents) == orientation
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(contents))).convert("RGB"))
    image = decode(tmp_path, contents, upright.shape)
    np.testing.assert_allclose(image.astype(int), upright.astype(int), atol=3)


def test_what_says_nothing_of_its_orientation_is_upright():
    assert image_files.exif_orientation(png(random_pixels(4, 4, 3))) == 1
    assert image_files.exif_orientation(b"no image") == 1
    assert image_files.exif_orientation(rotated(random_pixels(4, 4, 3), 99)) == 1


@pytest.mark.parametrize("file_format", ["WEBP", "PNG"])
def test_animations_are_refused_by_name(tmp_path, file_format):
    frames = [Image.fromarray(random_pixels(8, 8, 3, seed=seed)) for seed in range(3)]
    file = tmp_path / "moving.webp"
    frames[0].save(file, file_format, save_all=True, append_images=frames[1:])
    for read in (image_files.looks_whole, lambda path: image_files.decode_file(path, (8, 8, 3))):
        with pytest.raises(UserError, match=r"moving.webp is an animation of 3 frames"):
            read(file)


def test_a_jpeg_of_four_inks_becomes_grey(tmp_path):
    image = decode(tmp_path, cmyk_jpeg(np.full((8, 8, 3), 90, np.uint8)), (8, 8, 1))
    np.testing.assert_allclose(image, np.full((8, 8, 1), 90), atol=2)


def test_other_formats_are_none(tmp_path):
    assert decode(tmp_path, encoded(random_pixels(8, 8, 3), "TIFF")) is None
    assert decode(tmp_path, b"") is None


def test_cut_files_do_not_look_whole(tmp_path):
    for contents in (png(random_pixels(32, 32, 3)), jpeg(random_pixels(32, 32, 3))):
        file = tmp_path / "image"
        file.write_bytes(contents)
        assert image_files.looks_whole(file)
        file.write_bytes(contents[:-30])
        assert not image_files.looks_whole(file)
    file.write_text("no image")
    assert not image_files.looks_whole(file)
