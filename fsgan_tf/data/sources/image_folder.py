"""Folders of class folders: FOLDER/train/CLASS/* and FOLDER/test/CLASS/*, or FOLDER/CLASS/*."""

import hashlib
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tensorflow as tf

from fsgan_tf.data.image_decoding import MAX_PIXELS, is_image
from fsgan_tf.data.image_source import Split, check_memory, check_sides
from fsgan_tf.errors import UserError

_DEFAULT_SIZE = 32
_EXTENSIONS = (".png", ".jpg", ".jpeg")
_MAX_FILE_BYTES = 128 * 2**20
_NAMED = 5  # Skipped files that the warning names.


class FolderSource:
    """PNG and JPEG files as RGB of 8 bits, resized to a square with antialiasing.

    The order of the files is that of a hash of CLASS/FILE: the same everywhere, and no class comes
    first. Without train/ and test/, the first fifth of each class in that order is the test split.
    What is no image is skipped, with one line of warning.
    """

    class_names: tuple[str, ...]

    def __init__(self, folder: Path, image_size: int | None = None):
        self._folder = folder
        self._size = image_size or _DEFAULT_SIZE
        check_sides(self._size, self._size)
        # A class may be called train: then its folder holds images, not folders.
        self._is_split = any(path.is_dir() for path in (folder / "train").glob("*"))
        self.class_names = _class_names(folder / "train" if self._is_split else folder)

    def read(self, *splits: str) -> list[Split]:
        """Reads the named splits of `train` and `test`."""
        skipped: set[Path] = set()
        result = [self._read_split(split, skipped) for split in splits]
        _warn(skipped)
        return result

    def _read_split(self, split: str, skipped: set[Path]) -> Split:
        root = self._folder / split if self._is_split else self._folder
        files = _list_files(root, self.class_names, skipped)
        if not self._is_split:
            files = {name: _fifth(paths, split) for name, paths in files.items()}
        labelled = [(path, label) for label, name in enumerate(files) for path in files[name]]
        labelled.sort(key=lambda pair: _hash(pair[0]))
        images, labels = self._decode_all(labelled, skipped)
        for label, name in enumerate(self.class_names):
            if label not in labels:
                raise UserError(
                    f"{root / name} has no readable image for the {split} split; put PNG or JPEG "
                    "files there or remove the folder"
                )
        return Split(np.stack(images), np.array(labels, np.int32))

    def _decode_all(
        self, labelled: list[tuple[Path, int]], skipped: set[Path]
    ) -> tuple[list[np.ndarray], list[int]]:
        check_memory(len(labelled), (self._size, self._size, 3))
        images, labels = [], []
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            decoded = pool.map(lambda pair: decode_file(pair[0], self._size), labelled)
            for (path, label), image in zip(labelled, decoded, strict=True):
                if image is None:
                    skipped.add(path)
                else:
                    images.append(image)
                    labels.append(label)
        return images, labels


def _class_names(root: Path) -> tuple[str, ...]:
    names = tuple(
        path.name for path in _entries(root) if path.is_dir() and not path.name.startswith(".")
    )
    if len(names) < 2:
        raise UserError(
            f"{root} has {len(names)} class folders, at least 2 are needed; lay images out as "
            "FOLDER/CLASS/IMAGE or FOLDER/train/CLASS/IMAGE and FOLDER/test/CLASS/IMAGE"
        )
    return names


def _list_files(
    root: Path, class_names: tuple[str, ...], skipped: set[Path]
) -> dict[str, list[Path]]:
    found = _class_names(root)
    if found != class_names:
        different = sorted(set(found) ^ set(class_names))
        raise UserError(
            f"the class folders of {root} are not those of {root.parent / 'train'}: "
            f"{', '.join(different)} in one of them only"
        )
    files = {}
    skipped.update(path for path in _entries(root) if path.name not in class_names)
    for name in class_names:
        entries = _entries(root / name)
        files[name] = [path for path in entries if _may_be_image(path)]
        skipped.update(set(entries) - set(files[name]))
    return files


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise UserError(
            f"cannot read the folder {folder}: {error.strerror}; --dataset takes digits, a TFDS "
            "name or a folder of class folders"
        ) from error


def _may_be_image(path: Path) -> bool:
    """Whether it is a file, to be read without blocking, of an image's name and a sane size."""
    return (
        path.suffix.lower() in _EXTENSIONS
        and path.is_file()
        and path.stat().st_size <= _MAX_FILE_BYTES
    )


def _fifth(paths: list[Path], split: str) -> list[Path]:
    paths = sorted(paths, key=_hash)
    if len(paths) == 1:
        raise UserError(f"{paths[0].parent} has 1 image; training and test need one each")
    cut = max(1, round(len(paths) / 5))
    return paths[:cut] if split == "test" else paths[cut:]


def _hash(path: Path) -> bytes:
    return hashlib.sha256(os.fsencode(Path(path.parent.name, path.name))).digest()


def decode_file(path: Path, size: int) -> np.ndarray | None:
    """Reads a PNG or JPEG file as RGB of 8 bits, resized to a square with antialiasing.

    Args:
      path: the file.
      size: height and width of the result.

    Returns:
      uint8 `[size, size, 3]`; None if the file holds no such image.

    Raises:
      UserError: the file cannot be read.
    """
    try:
        contents = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    with tf.device("CPU:0"):
        try:
            image = _decode_pixels(contents)
        except tf.errors.InvalidArgumentError:
            return None
        resized = tf.image.resize(image, [size, size], antialias=True)
        return tf.saturate_cast(tf.round(resized), tf.uint8).numpy()


def _decode_pixels(contents: bytes) -> tf.Tensor:
    """uint8 `[h, w, 3]`, of what the exported classifier decodes and as it does."""
    if not is_image(contents):
        raise tf.errors.InvalidArgumentError(None, None, "no PNG or JPEG, or too large a one")
    if tf.io.is_jpeg(contents):
        return tf.io.decode_jpeg(contents, channels=3, dct_method="INTEGER_ACCURATE")
    return tf.io.decode_png(contents, channels=3)


def _warn(skipped: set[Path]) -> None:
    if not skipped:
        return
    named = ", ".join(str(path) for path in sorted(skipped)[:_NAMED])
    more = ", ..." if len(skipped) > _NAMED else ""
    print(
        f"warning: skipped {len(skipped)} files that are no PNG or JPEG images of at most "
        f"{MAX_PIXELS} pixels: {named}{more}",
        file=sys.stderr,
    )
