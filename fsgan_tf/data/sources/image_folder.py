"""Folders of class folders: FOLDER/CLASS/*, or FOLDER/train/CLASS/* and FOLDER/test/CLASS/*."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fsgan_tf.data import image_files
from fsgan_tf.data.memory import MAX_PIXELS, check_memory, fits_memory
from fsgan_tf.data.settings import ImageSettings
from fsgan_tf.data.source import Source, SplitNames
from fsgan_tf.data.split import Split, StreamedSplit
from fsgan_tf.errors import UserError
from fsgan_tf.files import printable

if TYPE_CHECKING:
    import tensorflow as tf

_DEFAULT_SIZE = (32, 32)
_MAX_FILE_BYTES = 128 * 2**20
_NAMED = 5  # Skipped files that the warning names.
_SPLIT_FOLDERS = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
_ALL, _TRAIN, _TEST = "all", "train", "test"


class FolderSource(Source):
    """Image files as RGB or grey of 8 bits, upright, resized with antialiasing.

    The order of the files is that of a hash of CLASS/FILE: the same everywhere, and no class comes
    first. Without folders of splits, the first fifth of each class in that order is the test split.
    Files that are not images are skipped, with one line of warning.
    """

    help = "a folder of class folders"
    precedence = 1
    sorts_classes = True

    @classmethod
    def owns(cls, name: str) -> bool:
        """Whether this is a folder, or a path by its looks.

        Names of other sources may hold a slash, but never start as a path does.
        """
        return bool(name) and (Path(name).expanduser().is_dir() or name.startswith(("/", ".", "~")))

    def __init__(self, name: str, images: ImageSettings, own: Any):
        """Finds the splits and the classes; 32x32 RGB by default."""
        del own
        self._shape = (*(images.image_size or _DEFAULT_SIZE), images.channels or 3)
        self._memory_limit = images.memory_limit
        self._named: set[Path] = set()  # Skipped files of which a warning spoke.
        root = _descend(Path(name).expanduser())
        self._folders = _split_folders(root)
        _warn_of_others(root, self._folders.values())
        self._root = next(iter(self._folders.values()), root)
        self.class_names = _class_names(self._root)
        if len(self._folders) == 1 and "train" in self._folders:
            self._folders = {}  # Its class folders are all there is.
        self.splits = self._split_names()

    def check(self, split: str) -> None:
        """Raises `UserError` unless each class has files that may be images."""
        labels = [label for _, label in self._files_of(split, set())]
        self._require_every_class(split, np.array(labels))

    def read(self, split: str) -> Split:
        """Reads one of `splits`."""
        skipped: set[Path] = set()
        labelled = self._files_of(split, skipped)
        if fits_memory(len(labelled), self._shape, self._memory_limit):
            images, labels = self._decode_all(labelled, skipped)
            result = Split(images, labels, split)
        else:
            result = self._stream(labelled, split, skipped)
        self._require_every_class(split, result.labels)
        _warn(skipped - self._named)
        self._named |= skipped
        return result

    def _split_names(self) -> SplitNames:
        names = {role: folder.name for role, folder in self._folders.items()}
        if not names:
            return SplitNames(train=_TRAIN, test=_TEST, all=_ALL)
        # The only other split beside train is the one to evaluate on, whatever its name.
        validation = names.pop("validation", None)
        if "test" not in names and validation:
            names["test"], validation = validation, None
        return SplitNames(names.get("train"), names["test"], validation)

    def _files_of(self, split: str, skipped: set[Path]) -> list[tuple[Path, int]]:
        """Files and labels of a split, in its order."""
        by_name = {folder.name: folder for folder in self._folders.values()}
        known = by_name or dict.fromkeys((_ALL, _TRAIN, _TEST), self._root)
        if split not in known:
            raise UserError(
                f"{self._root.parent if by_name else self._root} has no split {split!r}; it has "
                f"{', '.join(known)}"
            )
        files = _list_files(known[split], self._root, self.class_names, skipped)
        if not by_name and split != _ALL:
            files = {name: _fifth(paths, split) for name, paths in files.items()}
        labelled = [(path, label) for label, name in enumerate(files) for path in files[name]]
        return sorted(labelled, key=lambda pair: _hash(pair[0]))

    def _decode_all(
        self, labelled: list[tuple[Path, int]], skipped: set[Path]
    ) -> tuple[np.ndarray, np.ndarray]:
        check_memory(len(labelled), self._shape)
        images = np.empty((len(labelled), *self._shape), np.uint8)
        labels: list[int] = []
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            decoded = pool.map(lambda pair: image_files.decode_file(pair[0], self._shape), labelled)
            for (path, label), image in zip(labelled, decoded, strict=True):
                if image is None:
                    skipped.add(path)
                else:
                    images[len(labels)] = image
                    labels.append(label)
        return images[: len(labels)], np.array(labels, np.int32)

    def _stream(
        self, labelled: list[tuple[Path, int]], split: str, skipped: set[Path]
    ) -> StreamedSplit:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            whole = list(pool.map(lambda pair: image_files.looks_whole(pair[0]), labelled))
        kept = [pair for pair, is_whole in zip(labelled, whole, strict=True) if is_whole]
        skipped.update({path for path, _ in labelled} - {path for path, _ in kept})
        stored = _ImageFiles([path for path, _ in kept], self._shape)
        return StreamedSplit(stored, np.array([label for _, label in kept], np.int32), split)

    def _require_every_class(self, split: str, labels: np.ndarray) -> None:
        root = {folder.name: folder for folder in self._folders.values()}.get(split, self._root)
        for label in sorted(set(range(len(self.class_names))) - set(labels.tolist())):
            raise UserError(
                f"{root / self.class_names[label]} has no readable image for the {split} split; "
                f"put {image_files.FORMATS} files there or remove the folder"
            )


class _ImageFiles:
    """Images read from their files."""

    def __init__(self, paths: Sequence[Path], image_shape: tuple[int, int, int]):
        self.image_shape = image_shape
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def read(self, rows: tf.Tensor) -> tf.Tensor:
        """Decodes in a graph: from int64 `[b]` to uint8 `[b, h, w, c]`."""
        import tensorflow as tf

        images = tf.numpy_function(self._decode, [rows], tf.uint8, stateful=False)
        return tf.ensure_shape(images, [rows.shape[0], *self.image_shape])

    def fingerprint(self) -> bytes:
        """Of names and sizes."""
        listed = [(path.parent.name, path.name, path.stat().st_size) for path in self._paths]
        return repr(listed).encode()

    def _decode(self, rows: np.ndarray) -> np.ndarray:
        images = np.empty((len(rows), *self.image_shape), np.uint8)
        for place, row in enumerate(rows):
            image = image_files.decode_file(self._paths[row], self.image_shape)
            if image is None:
                raise UserError(f"{printable(self._paths[row])} is damaged; replace it")
            images[place] = image
        return images


def _descend(folder: Path) -> Path:
    """Into a folder that holds one folder of class folders and nothing else, as archives do."""
    inner = _folders(folder)
    # `train` alone, say, is a split and no wrapping.
    while len(inner) == 1 and _folders(inner[0]) and not _split_folders(folder):
        folder = inner[0]
        inner = _folders(folder)
    return folder


def _split_folders(root: Path) -> dict[str, Path]:
    """The folders of splits by what they are for, `train` first; none for class folders."""
    found: dict[str, Path] = {}
    for role, names in _SPLIT_FOLDERS.items():
        # A class may be called train: then its folder holds images, not folders.
        fitting = [path for path in _folders(root) if path.name.lower() in names and _folders(path)]
        if len(fitting) > 1:
            raise UserError(
                f"{root} has several folders for one split: "
                f"{', '.join(path.name for path in fitting)}; keep one"
            )
        found.update((role, path) for path in fitting)
    return found


def _warn_of_others(root: Path, splits: Collection[Path]) -> None:
    """Says which folders beside those of splits are not read."""
    others = [printable(path.name) for path in _folders(root) if path not in splits]
    if splits and others:
        print(
            f"warning: {root} has folders of splits, and beside them folders that are not read: "
            f"{', '.join(others)}; a split's folder is named train, val or test",
            file=sys.stderr,
        )


def _class_names(root: Path) -> tuple[str, ...]:
    names = tuple(path.name for path in _folders(root))
    if len(names) < 2:
        raise UserError(
            f"{root} has {len(names)} class folders, at least 2 are needed; lay images out as "
            "FOLDER/CLASS/IMAGE or FOLDER/train/CLASS/IMAGE and FOLDER/test/CLASS/IMAGE"
        )
    return names


def _list_files(
    folder: Path, first: Path, class_names: tuple[str, ...], skipped: set[Path]
) -> dict[str, list[Path]]:
    """Files that may be images by class; `first` is the folder that the classes were read from."""
    found = _class_names(folder)
    if found != class_names:
        different = sorted(set(found) ^ set(class_names))
        raise UserError(
            f"the class folders of {folder} are not those of {first}: {', '.join(different)} in "
            "one of them only"
        )
    files = {}
    skipped.update(path for path in _entries(folder) if path.name not in class_names)
    for name in class_names:
        entries = _entries(folder / name)
        files[name] = [path for path in entries if _may_be_image(path)]
        skipped.update(set(entries) - set(files[name]))
    return files


def _folders(folder: Path) -> list[Path]:
    return [path for path in _entries(folder) if path.is_dir()]


def _entries(folder: Path) -> list[Path]:
    """What is in a folder, but for what a Mac's archiver and file systems hide there."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise UserError(
            f"cannot read the folder {folder}: {error.strerror}; --dataset takes digits, a TFDS "
            "name or a folder of class folders"
        ) from error
    return [path for path in entries if not path.name.startswith((".", "__MACOSX"))]


def _may_be_image(path: Path) -> bool:
    """Whether it is a file, to be read without blocking, of an image's name and a sane size."""
    return (
        path.suffix.lower() in image_files.EXTENSIONS
        and path.is_file()
        and path.stat().st_size <= _MAX_FILE_BYTES
    )


def _fifth(paths: list[Path], split: str) -> list[Path]:
    paths = sorted(paths, key=_hash)
    if len(paths) == 1:
        raise UserError(f"{paths[0].parent} has 1 image; training and test need one each")
    cut = max(1, round(len(paths) / 5))
    return paths[:cut] if split == _TEST else paths[cut:]


def _hash(path: Path) -> bytes:
    return hashlib.sha256(os.fsencode(Path(path.parent.name, path.name))).digest()


def _warn(skipped: set[Path]) -> None:
    if not skipped:
        return
    named = ", ".join(printable(path) for path in sorted(skipped)[:_NAMED])
    more = ", ..." if len(skipped) > _NAMED else ""
    print(
        f"warning: skipped {len(skipped)} entries that are not {image_files.FORMATS} images of at "
        f"most {MAX_PIXELS} pixels: {named}{more}",
        file=sys.stderr,
    )
