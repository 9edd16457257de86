import os
import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf.data import loading
from fsgan_tf.errors import UserError
from tests.images import png_of_size

RED, BLUE = (200, 30, 10), (10, 30, 200)


def write_image(path: Path, colour=RED, size: int = 32, channels: int = 3, bits: int = 8) -> Path:
    """A constant image; `colour` in 8 bits, an opaque fourth channel, greyscale its first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixel = np.array([*colour, 255])[{1: [0], 2: [0, 3], 3: [0, 1, 2], 4: [0, 1, 2, 3]}[channels]]
    dtype, scale = (np.uint16, 257) if bits == 16 else (np.uint8, 1)
    image = np.full((size, size, channels), pixel * scale, dtype)
    encode = tf.io.encode_jpeg if path.suffix.lower() in (".jpg", ".jpeg") else tf.io.encode_png
    path.write_bytes(encode(image).numpy())
    return path


def class_folders(root: Path, count: int = 10, classes=("cat", "dog")) -> Path:
    """Images whose green is their number and whose red is their class."""
    for label, name in enumerate(classes):
        for number in range(count):
            write_image(root / name / f"{number:03}.png", (label, number, 100))
    return root


def split_folders(root: Path, count: int = 10) -> Path:
    class_folders(root / "train", count)
    class_folders(root / "test", 3)
    return root


def test_class_folders_are_split_80_to_20_in_each_class(tmp_path):
    dataset = loading.load(str(class_folders(tmp_path, 20)))
    assert dataset.class_names == ("cat", "dog")
    assert dataset.image_shape == (32, 32, 3)
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (29, 3, 8)
    np.testing.assert_array_equal(np.bincount(dataset.test.labels), [4, 4])
    splits = (dataset.train, dataset.validation, dataset.test)
    assert len({image.tobytes() for split in splits for image in split.images}) == 40
    for split in splits:
        np.testing.assert_array_equal(split.images[:, 0, 0, 0], split.labels)


def test_the_split_is_that_of_the_names_whatever_the_folder(tmp_path):
    first = loading.load(str(class_folders(tmp_path / "a")))
    second = loading.load(str(class_folders(tmp_path / "elsewhere" / "b")))
    np.testing.assert_array_equal(first.test.images, second.test.images)
    np.testing.assert_array_equal(first.train.images, second.train.images)


def test_the_first_examples_are_of_several_classes(tmp_path):
    dataset = loading.load(str(split_folders(tmp_path, 40)), train_examples=16)
    assert set(dataset.train.labels) == {0, 1}


def test_train_and_test_folders_are_used_as_they_are(tmp_path):
    dataset = loading.load(str(split_folders(tmp_path)))
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (18, 2, 6)
    test, class_names = loading.load_split(str(tmp_path), "test")
    np.testing.assert_array_equal(test.images, dataset.test.images)
    assert class_names == ("cat", "dog")


def test_the_test_split_is_read_without_the_training_images(tmp_path, capsys):
    split_folders(tmp_path)
    for path in (tmp_path / "train").glob("*/*.png"):
        path.write_bytes(b"damaged")
    test, _ = loading.load_split(str(tmp_path), "test")
    assert len(test) == 6
    assert capsys.readouterr().err == ""


def test_relative_and_home_folders(tmp_path, monkeypatch):
    class_folders(tmp_path / "images")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("images", "./images", "~/images"):
        assert len(loading.load_split(name, "test")[0]) == 4


@pytest.mark.parametrize(
    ("name", "channels", "bits", "expected"),
    [
        ("image.png", 3, 8, RED),
        ("image.PNG", 3, 8, RED),
        ("image.png", 1, 8, (200, 200, 200)),
        ("image.png", 2, 8, (200, 200, 200)),
        ("image.png", 4, 8, RED),
        ("image.png", 1, 16, (200, 200, 200)),
        ("image.png", 3, 16, RED),
        ("image.png", 4, 16, RED),
        ("image.jpg", 3, 8, RED),
        ("image.JPEG", 1, 8, (200, 200, 200)),
    ],
)
def test_formats_become_rgb_of_8_bits(tmp_path, name, channels, bits, expected):
    for label in ("cat", "dog"):
        write_image(tmp_path / "train" / label / "0.png")
        write_image(tmp_path / "test" / label / name, RED, channels=channels, bits=bits)
    test, _ = loading.load_split(str(tmp_path), "test")
    assert test.images.dtype == np.uint8
    tolerance = 0 if name.lower().endswith(".png") else 3
    np.testing.assert_allclose(test.images[0, 16, 16].astype(int), expected, atol=tolerance)


def test_images_are_resized_with_antialias(tmp_path):
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255  # Without antialiasing a fourth of the size is all one colour.
    for split in ("train", "test"):
        for label in ("cat", "dog"):
            path = write_image(tmp_path / split / label / "0.png")
            path.write_bytes(tf.io.encode_png(stripes).numpy())
    test, _ = loading.load_split(str(tmp_path), "test", image_size=(16, 16))
    assert test.images.shape == (2, 16, 16, 3)
    np.testing.assert_allclose(test.images[:, 2:-2, 2:-2].astype(int), 127, atol=4)


def test_what_is_no_image_is_skipped_with_one_warning(tmp_path, capsys):
    class_folders(tmp_path)
    (tmp_path / "README.txt").write_text("about")
    (tmp_path / "cat" / "notes.txt").write_text("notes")
    (tmp_path / "cat" / "empty.png").touch()
    (tmp_path / "dog" / "text.jpg").write_text("no image")
    cut = write_image(tmp_path / "dog" / "cut.png", size=64)
    cut.write_bytes(cut.read_bytes()[:60])
    dataset = loading.load(str(tmp_path))
    assert len(dataset.train) + len(dataset.validation) + len(dataset.test) == 20
    lines = capsys.readouterr().err.splitlines()
    assert 1 <= len(lines) <= 2  # As training and test images are read.
    for line in lines:
        assert re.match("warning: skipped [1-5] entries that are not PNG, JPEG, WebP or BMP", line)
    for name in ("README.txt", "notes.txt", "empty.png", "text.jpg", "cut.png"):
        assert sum(name in line for line in lines) == 1


def test_a_skipped_files_name_forges_no_line(tmp_path, capsys):
    folder = class_folders(tmp_path, 2)
    (folder / "cat" / "a\nwarning: all is well\x1b[2J.txt").write_text("no image")
    loading.load_split(str(folder), "test")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(r"a\nwarning: all is well\x1b[2J.txt")


def test_what_would_block_or_fill_the_memory_is_skipped(tmp_path, capsys):
    class_folders(tmp_path)
    os.mkfifo(tmp_path / "cat" / "pipe.png")
    (tmp_path / "cat" / "folder.png").mkdir()
    (tmp_path / "cat" / "broken.png").symlink_to("nowhere")
    (tmp_path / "dog" / "bomb.png").write_bytes(png_of_size(50_000, 50_000))
    (tmp_path / "dog" / "heavy.png").touch()
    os.truncate(tmp_path / "dog" / "heavy.png", 2**30)
    loading.load_split(str(tmp_path))
    line, note = capsys.readouterr().err.splitlines()
    assert line.startswith(
        "warning: skipped 5 entries that are not PNG, JPEG, WebP or BMP images of"
    )
    assert note.startswith("note: ")
    for name in ("pipe.png", "folder.png", "broken.png", "bomb.png", "heavy.png"):
        assert name in line


def test_the_warning_names_five_files_at_most(tmp_path, capsys):
    class_folders(tmp_path)
    for number in range(9):
        (tmp_path / "cat" / f"{number}.txt").touch()
    loading.load(str(tmp_path))
    (line,) = capsys.readouterr().err.splitlines()
    assert "skipped 9 entries" in line
    assert "4.txt, ..." in line
    assert "5.txt" not in line


def test_folders_beside_those_of_splits_are_said_not_to_be_read(tmp_path, capsys):
    split_folders(tmp_path)
    assert loading.load_split(str(tmp_path), "train")
    assert capsys.readouterr().err == ""
    (tmp_path / "test").rename(tmp_path / "testset")
    assert loading.load_split(str(tmp_path), "train")
    (line,) = capsys.readouterr().err.splitlines()
    assert (
        "folders that are not read: testset; a split's folder is named train, val or test" in line
    )


def empty_class(root: Path) -> None:
    split_folders(root)
    (root / "train" / "owl").mkdir()
    (root / "test" / "owl").mkdir()


def damaged_class(root: Path) -> None:
    split_folders(root)
    for path in (root / "test" / "dog").iterdir():
        path.write_text("no image")


def one_class(root: Path) -> None:
    class_folders(root, classes=("cat",))


def unprintable_class(root: Path) -> None:
    class_folders(root, classes=("cat", "dog\nowl"))


def other_test_classes(root: Path) -> None:
    split_folders(root)
    (root / "test" / "dog").rename(root / "test" / "fox")


def lone_image(root: Path) -> None:
    class_folders(root)
    write_image(root / "owl" / "0.png")


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (empty_class, "test/owl has no readable image for the test split"),
        (damaged_class, "test/dog has no readable image for the test split"),
        (one_class, "has 1 class folders, at least 2"),
        (lambda root: None, "has 0 class folders, at least 2"),
        (unprintable_class, "class names of unprintable characters"),
        (other_test_classes, "dog, fox in one of them only"),
        (lone_image, "owl has 1 image; training and test need one each"),
    ],
)
def test_faulty_folders_are_refused(tmp_path, make, told):
    make(tmp_path)
    with pytest.raises(UserError, match=told) as error:
        assert loading.load(str(tmp_path)).test
    assert "\n" not in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_a_missing_folder_and_a_file_are_refused(tmp_path):
    with pytest.raises(UserError, match="No such file or directory"):
        loading.load(str(tmp_path / "missing"))
    with pytest.raises(UserError, match="Not a directory"):
        loading.load(str(write_image(tmp_path / "image.png")))


def test_a_class_may_be_called_train(tmp_path):
    assert loading.load(str(class_folders(tmp_path, classes=("bus", "train")))).num_classes == 2
