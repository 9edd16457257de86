"""Image-classification sets of TensorFlow Datasets."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import io
import itertools
import logging
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from absl import logging as absl_logging

from fsgan_tf import settings
from fsgan_tf.data.memory import check_memory, fits_memory
from fsgan_tf.data.settings import ImageSettings
from fsgan_tf.data.source import KnownSize, Source, SplitNames
from fsgan_tf.data.split import Split, StreamedSplit
from fsgan_tf.data.tfrecords import TfRecords
from fsgan_tf.errors import UserError
from fsgan_tf.settings import setting

if TYPE_CHECKING:
    import tensorflow as tf
    import tensorflow_datasets as tfds

_DEFAULT_DIR = "~/tensorflow_datasets"
_READ_TOGETHER = 512
_REASON_LETTERS = 200
_DOWNLOAD_RETRIES = 4  # TFDS tries 10 times, which takes minutes to find that there is no network.
_METADATA = ("dataset_info.json", "features.json")
_VERSION = r"\d+\.\d+\.\d+"
# The paper's data sets, so that a dry run needs none of their data.
_KNOWN_SIZES = {
    "svhn_cropped": KnownSize(73257, 10, (32, 32, 3)),
    "cifar10": KnownSize(50000, 10, (32, 32, 3)),
    "cifar100": KnownSize(50000, 100, (32, 32, 3)),
}
# Digits and letters, which a mirror turns into something else.
_CHARACTERS = (
    *("svhn_cropped", "mnist", "mnist_corrupted", "emnist", "kmnist", "binary_alpha_digits"),
    *("omniglot", "cmaterdb"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TfdsSettings(settings.Settings):
    """Of a TFDS data set."""

    data_dir: str | None = setting(None, "Folder of TFDS data; ~/tensorflow_datasets by default.")


class TfdsSource(Source):
    """A TFDS data set with an image and a class label, prepared on first use.

    Without a split `test`, `validation` is the test split; without both, the last fifth of `train`
    is set aside. Split expressions such as `train[80%:]` are read too.
    """

    help = "a TFDS name (svhn_cropped, cifar10, cifar100, ...)"
    precedence = 2
    Settings = TfdsSettings

    @classmethod
    def owns(cls, name: str) -> bool:
        """Any name may be one that TFDS knows, or will know."""
        del name
        return True

    @classmethod
    def may_be_mirrored(cls, name: str) -> bool:
        """Whether it holds neither digits nor letters."""
        return re.split("[:/]", name)[0] not in _CHARACTERS

    @classmethod
    def known_size(cls, name: str) -> KnownSize | None:
        """The size of the paper's data sets."""
        return _KNOWN_SIZES.get(name)

    def __init__(self, name: str, images: ImageSettings, own: TfdsSettings):
        """Opens the data set and prepares it if it is not."""
        folder = Path(own.data_dir or _DEFAULT_DIR).expanduser()
        self._name = name
        self._memory_limit = images.memory_limit
        self._builder = _builder(name, folder)
        self._image_key, self._label_key = _keys(name, self._builder.info)
        features = self._builder.info.features
        self._shape = _shape(name, features[self._image_key], images)
        _prepare(name, self._builder, folder)
        label = features[self._label_key]
        self.class_names = tuple(label.names or map(str, range(label.num_classes)))
        self.splits = self._split_names()

    def check(self, split: str) -> None:
        """Raises `UserError` unless there are examples."""
        self._count(split)

    def read(self, split: str) -> Split:
        """Reads a split of the data set, or a split expression."""
        count = self._count(split)
        try:
            with _quiet():
                if not fits_memory(count, self._shape, self._memory_limit):
                    return self._stream(split)
                if self._is_array_record():
                    streamed = self._stream(split)
                    return Split(streamed.images, streamed.labels, split)
                return self._read_all(split, count)
        except UserError:
            raise
        # Missing, cut or damaged files; TFDS and TensorFlow raise a dozen kinds.
        except Exception as error:
            raise UserError(
                f"cannot read {self._name} in {self._builder.data_dir} ({_reason(error)}); move "
                "that folder away and run again to prepare it anew"
            ) from error

    def _split_names(self) -> SplitNames:
        filled = self._filled()
        train = "train" if "train" in filled else None
        if "test" in filled:
            return SplitNames(train, "test", "validation" if "validation" in filled else None)
        if "validation" in filled:
            return SplitNames(train, "validation")
        if train:
            return SplitNames("train[:80%]", "train[80%:]", all="train")
        raise UserError(
            f"{self._name} has no examples in a split train, test or validation (it has some in: "
            f"{', '.join(filled) or 'none'}); give another --dataset"
        )

    def _filled(self) -> list[str]:
        splits = self._builder.info.splits
        return [name for name in splits if splits[name].num_examples]

    def _count(self, split: str) -> int:
        try:
            count = self._builder.info.splits[split].num_examples
        except Exception as error:  # TFDS raises what its parser of expressions happens to meet.
            raise UserError(
                f"{self._name} has no split {split!r}; it has {', '.join(self._filled())}, and "
                "parts of them such as train[80%:]"
            ) from error
        if not count:
            raise UserError(f"the split {split} of {self._name} has no examples; give another")
        return count

    def _read_all(self, split: str, count: int) -> Split:
        import tensorflow as tf

        check_memory(count, self._shape)
        examples = self._dataset(split, [self._image_key, self._label_key])
        labelled = examples.map(
            lambda example: (self._to_shape(example[self._image_key]), example[self._label_key]),
            tf.data.AUTOTUNE,
        )
        parts = list(labelled.batch(_READ_TOGETHER).as_numpy_iterator())
        images, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
        return Split(images, labels.astype(np.int32), split)

    def _stream(self, split: str) -> StreamedSplit:
        """The split read by random access, in the order in which `_read_all` has it."""
        check_memory(_READ_TOGETHER, self._shape)
        records: _Records
        if self._is_array_record():
            records = self._builder.as_data_source(split).data_source
            labels = self._labels_of(records)
        else:
            labels, places = self._labels_and_places(split)
            records = TfRecords(places)
        stored = _StoredExamples(records, self._shape, self._decode)
        return StreamedSplit(stored, labels, split)

    def _is_array_record(self) -> bool:
        return self._builder.info.file_format.value == "array_record"

    def _labels_and_places(self, split: str) -> tuple[np.ndarray, list[tuple[Path, int]]]:
        """Labels and where each record lies; TensorFlow reads, and so checks, every record."""
        files = {
            Path(path).name: Path(path)
            for info in self._builder.info.splits.values()
            for path in info.filepaths
        }
        labels, places = [], []
        for example in self._dataset(split, [self._label_key], add_ids=True).as_numpy_iterator():
            file, index = example["tfds_id"].decode().rsplit("__", 1)
            labels.append(example[self._label_key])
            places.append((files[Path(file).name], int(index)))
        return np.array(labels, np.int32), places

    def _labels_of(self, records: _Records) -> np.ndarray:
        import tensorflow as tf

        features = _features([self._label_key], self._builder)

        def label(record: tf.Tensor) -> tf.Tensor:
            return features.deserialize_example(record)[self._label_key]

        rows = tf.data.Dataset.range(len(records)).batch(_READ_TOGETHER)
        stored = rows.map(lambda batch: _fetch(records, batch)).unbatch()
        return np.array(list(stored.map(label).as_numpy_iterator()), np.int32)

    def _decode(self, record: tf.Tensor) -> tf.Tensor:
        features = _features([self._image_key], self._builder)
        return self._to_shape(features.deserialize_example(record)[self._image_key])

    def _dataset(self, split: str, keys: list[str], add_ids: bool = False) -> tf.data.Dataset:
        import tensorflow_datasets as tfds

        return self._builder.as_dataset(
            split=split,
            decoders=tfds.decode.PartialDecoding(dict.fromkeys(keys, True)),
            read_config=tfds.ReadConfig(try_autocache=False, add_tfds_id=add_ids),
        )

    def _to_shape(self, image: tf.Tensor) -> tf.Tensor:
        import tensorflow as tf

        if image.shape == self._shape:
            return image
        resized = tf.image.resize(image, self._shape[:2], antialias=True)
        return tf.saturate_cast(tf.round(resized), tf.uint8)


class _Records(Protocol):
    """Serialized examples by their row, as array_record's data source gives them."""

    def __len__(self) -> int: ...

    def __getitems__(self, rows: Sequence[int]) -> list[bytes]: ...


class _StoredExamples:
    """Images decoded from serialized examples."""

    def __init__(
        self,
        records: _Records,
        image_shape: tuple[int, int, int],
        decode: Callable[[tf.Tensor], tf.Tensor],
    ):
        self.image_shape = image_shape
        self._records = records
        self._decode = decode

    def __len__(self) -> int:
        return len(self._records)

    def read(self, rows: tf.Tensor) -> tf.Tensor:
        """Decodes in a graph: from int64 `[b]` to uint8 `[b, h, w, c]`."""
        import tensorflow as tf

        images = tf.map_fn(self._decode, _fetch(self._records, rows), fn_output_signature=tf.uint8)
        return tf.ensure_shape(images, [rows.shape[0], *self.image_shape])

    def fingerprint(self) -> bytes:
        """Of what is stored."""
        if isinstance(self._records, TfRecords):
            return self._records.fingerprint()
        return repr(self._records).encode()


def _fetch(records: _Records, rows: tf.Tensor) -> tf.Tensor:
    """Serialized examples, string `[b]`, of rows, int64 `[b]`."""
    import tensorflow as tf

    def fetch(wanted: np.ndarray) -> np.ndarray:
        return np.array(records.__getitems__(wanted.tolist()), object)

    stored = tf.numpy_function(fetch, [rows], tf.string, stateful=False)
    return tf.ensure_shape(stored, rows.shape)


def _features(keys: list[str], builder: tfds.core.DatasetBuilder) -> Any:
    import tensorflow_datasets as tfds

    wanted = tfds.decode.PartialDecoding(dict.fromkeys(keys, True))
    return wanted.extract_features(builder.info.features)


def _builder(name: str, folder: Path) -> tfds.core.DatasetBuilder:
    import tensorflow_datasets as tfds

    _require_version_syntax(name)
    _require_level(name, folder)
    try:
        with _quiet():
            return tfds.builder(name, data_dir=folder, try_gcs=False)
    except tfds.core.DatasetNotFoundError as error:
        if own := _own_folder(name, folder):
            raise _not_there(own) from error
        looked = f"{folder}" + (
            f", and for a folder {Path(name).absolute()}" if "/" in name else ""
        )
        raise UserError(
            f"unknown data set {name}{_meant(name)}; --dataset takes digits, svhn_cropped, "
            f"cifar10, cifar100, any TFDS name, or a folder of class folders; looked in {looked}"
        ) from error
    except Exception as error:
        own = _own_folder(name, folder)
        if own and _asked_version(name) and _stored_names(own):
            raise _not_there(own) from error
        raise UserError(
            f"cannot open the TFDS data set {name!r} in {folder} ({_reason(error)}){_meant(name)}; "
            "correct the name, or move its folder there away if that is damaged"
        ) from error


def _require_version_syntax(name: str) -> None:
    if match := re.fullmatch(rf"(.+)/({_VERSION})", name):
        raise UserError(
            f"{name!r} names a configuration, not a version; a version is written after a colon: "
            f"--dataset={match[1]}:{match[2]}"
        )


def _require_level(name: str, folder: Path) -> None:
    """Raises `UserError` where --data_dir is the data set's own folder, or one inside it."""
    base = re.split("[:/]", name)[0]
    for level in (folder, *folder.parents[:3]):
        if level.name == base and not (folder / base).is_dir() and _stored_names(level):
            raise UserError(
                f"--data_dir={folder} is the folder of {base} itself or lies in it; give the "
                f"folder above that: --data_dir={level.parent}"
            )


def _own_folder(name: str, folder: Path) -> Path | None:
    """The folder of this data set, whatever its version and configuration, if it is there."""
    own = folder / re.split("[:/]", name)[0]
    return own if own != folder and own.is_dir() else None


def _asked_version(name: str) -> str | None:
    match = re.fullmatch(rf".+:({_VERSION})", name)
    return match[1] if match else None


def _stored_names(own: Path) -> list[str]:
    """What of a data set is there, complete, as `--dataset` names it."""
    found = []
    for depth in ("*", "*/*"):
        for version in own.glob(depth):
            complete = all((version / name).is_file() for name in _METADATA)
            if complete and re.fullmatch(_VERSION, version.name):
                found.append(f"{version.parent.relative_to(own.parent)}:{version.name}")
    return sorted(found)


def _not_there(own: Path) -> UserError:
    if stored := _stored_names(own):
        return UserError(f"{own} holds {', '.join(stored)}; give one of these as --dataset")
    return _incomplete(own)


def _meant(name: str) -> str:
    """A suggestion for a name that is none."""
    import tensorflow_datasets as tfds

    known = sorted({"digits", *tfds.list_builders(with_community_datasets=False)})
    if re.split("[:/]", name)[0] in known:
        return ""
    same = [other for other in known if _letters(other) == _letters(name)]
    close = same or difflib.get_close_matches(name, known)
    return f" (did you mean {' or '.join(close)}?)" if close else ""


def _letters(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower())


def _prepare(name: str, builder: tfds.core.DatasetBuilder, folder: Path) -> None:
    try:
        with _quiet():
            if not builder.is_prepared():
                print(f"preparing {name} in {folder}: downloading what is missing", file=sys.stderr)
                builder.download_and_prepare()
    # Whatever fails here (network, disk, checksum, a module that TFDS wants) has one remedy.
    except Exception as error:
        raise UserError(
            f"{name} is not prepared in {folder} and preparing it failed ({_reason(error)}); run "
            "again with a network, or give a folder that holds it prepared with --data_dir"
        ) from error
    if not builder.info.splits:
        raise _incomplete(builder.data_dir)


def _incomplete(folder: str | Path) -> UserError:
    return UserError(
        f"{folder} holds no complete data set, as an interrupted preparation leaves it; move it "
        "away and run again to prepare it anew"
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Leaves TFDS its progress bars, on a terminal, and nothing else to say; retries less."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download import downloader

    urllib3 = logging.getLogger("urllib3")
    before = urllib3.level, absl_logging.get_verbosity(), downloader.MAX_RETRIES
    urllib3.setLevel(logging.ERROR)
    absl_logging.set_verbosity(absl_logging.ERROR)
    downloader.MAX_RETRIES = _DOWNLOAD_RETRIES
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        urllib3.setLevel(before[0])
        absl_logging.set_verbosity(before[1])
        downloader.MAX_RETRIES = before[2]


def _keys(name: str, info: tfds.core.DatasetInfo) -> tuple[str, str]:
    """The names of the image and of its label among the features."""
    import tensorflow_datasets as tfds

    features = info.features
    images = [key for key, value in features.items() if isinstance(value, tfds.features.Image)]
    labels = [key for key, value in features.items() if isinstance(value, tfds.features.ClassLabel)]
    if info.supervised_keys in itertools.product(images, labels):
        return info.supervised_keys
    if len(images) == len(labels) == 1:
        return images[0], labels[0]
    raise UserError(
        f"{name} is not an image-classification set: its features are {', '.join(features)}; one "
        "image and one class label are needed"
    )


def _shape(name: str, image: tfds.features.Image, images: ImageSettings) -> tuple[int, int, int]:
    height, width, channels = image.shape
    if image.np_dtype != np.uint8 or channels not in (1, 3):
        raise UserError(
            f"{name} has images of {channels} channels of {np.dtype(image.np_dtype).name}; 1 or 3 "
            "channels of uint8 are needed"
        )
    if images.channels not in (None, channels):
        raise UserError(f"{name} has images of {channels} channels; leave out --channels")
    if images.image_size:
        height, width = images.image_size
    if height is None or width is None:
        raise UserError(f"{name} has images of many sizes; give one with --image_size=32, say")
    return height, width, channels


def _reason(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [""]
    # TFDS says 'Failed to construct dataset "NAME", builder_kwargs "{...}": ' before the reason,
    # and TensorFlow '{{function_node NAME}} '.
    whole = re.sub(r"\{\{\w+ .*?\}\} ", "", lines[0].rpartition('}": ')[2])
    reason = textwrap.shorten(whole, _REASON_LETTERS, placeholder=" ...")
    return f"{type(error).__name__}: {reason}"
