"""Image-classification sets of TensorFlow Datasets, read whole into memory."""

import contextlib
import difflib
import io
import itertools
import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from absl import logging as absl_logging
from tensorflow_datasets.core.download import downloader

from fsgan_tf.data.image_source import Split, check_memory, check_sides
from fsgan_tf.errors import UserError

_DEFAULT_DIR = "~/tensorflow_datasets"
_READ_TOGETHER = 512
_DOWNLOAD_RETRIES = 4  # TFDS tries 10 times, which takes minutes to find that there is no network.


class TfdsSource:
    """A TFDS data set with an image and a class label, prepared on first use.

    The test split is `test`, or `validation` where there is no `test`.
    """

    class_names: tuple[str, ...]

    def __init__(self, name: str, data_dir: str | None = None, image_size: int | None = None):
        folder = Path(data_dir or _DEFAULT_DIR).expanduser()
        self._name = name
        self._builder = _builder(name, folder)
        self._image_key, self._label_key = _keys(name, self._builder.info)
        features = self._builder.info.features
        self._shape = _shape(name, features[self._image_key], image_size)
        _prepare(name, self._builder, folder)
        label = features[self._label_key]
        self.class_names = tuple(label.names or map(str, range(label.num_classes)))

    def read(self, *splits: str) -> list[Split]:
        """Reads the named splits of `train` and `test`."""
        return [self._read_split(self._split_name(split)) for split in splits]

    def _split_name(self, split: str) -> str:
        wanted = ("test", "validation") if split == "test" else (split,)
        splits = self._builder.info.splits
        filled = [name for name in splits if splits[name].num_examples]
        for name in wanted:
            if name in filled:
                return name
        raise UserError(
            f"{self._name} has no examples in a split {' or '.join(wanted)} (it has some in: "
            f"{', '.join(filled) or 'none'}); a train and a test or validation split are needed"
        )

    def _read_split(self, split: str) -> Split:
        check_memory(self._builder.info.splits[split].num_examples, self._shape)
        try:
            with _quiet():
                parts = list(self._stream(split).as_numpy_iterator())
            images, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
        # Missing, cut or damaged files; TFDS and TensorFlow raise a dozen kinds.
        except Exception as error:
            raise UserError(
                f"cannot read {self._name} in {self._builder.data_dir} ({_reason(error)}); delete "
                "that folder and run again to prepare it anew"
            ) from error
        return Split(images, labels.astype(np.int32))

    def _stream(self, split: str) -> tf.data.Dataset:
        examples = self._builder.as_dataset(
            split=split,
            decoders=tfds.decode.PartialDecoding({self._image_key: True, self._label_key: True}),
            read_config=tfds.ReadConfig(try_autocache=False),
        )
        return examples.map(self._to_shape, tf.data.AUTOTUNE).batch(_READ_TOGETHER)

    def _to_shape(self, example: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        image = example[self._image_key]
        if image.shape != self._shape:
            resized = tf.image.resize(image, self._shape[:2], antialias=True)
            image = tf.saturate_cast(tf.round(resized), tf.uint8)
        return image, example[self._label_key]


def _builder(name: str, folder: Path) -> tfds.core.DatasetBuilder:
    try:
        with _quiet():
            return tfds.builder(name, data_dir=folder, try_gcs=False)
    except tfds.core.DatasetNotFoundError as error:
        own = folder / re.split("[:/]", name)[0]
        if own.is_dir():
            raise _incomplete(own) from error
        known = tfds.list_builders(with_community_datasets=False)
        close = difflib.get_close_matches(name, ["digits", *known])
        meant = f" (did you mean {' or '.join(close)}?)" if close else ""
        raise UserError(
            f"unknown data set {name}{meant}; --dataset takes digits, svhn_cropped, cifar10, "
            f"cifar100, any TFDS name, or a folder of class folders; looked in {folder}"
        ) from error
    except Exception as error:
        raise UserError(
            f"cannot open the TFDS data set {name!r} in {folder} ({_reason(error)}); correct the "
            "name, or delete its folder there if that is damaged"
        ) from error


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
        f"{folder} holds no complete data set, as an interrupted preparation leaves it; delete it "
        "and prepare it anew"
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Leaves TFDS its progress bars, on a terminal, and nothing else to say; retries less."""
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
    features = info.features
    images = [key for key, value in features.items() if isinstance(value, tfds.features.Image)]
    labels = [key for key, value in features.items() if isinstance(value, tfds.features.ClassLabel)]
    if info.supervised_keys in itertools.product(images, labels):
        return info.supervised_keys
    if len(images) == len(labels) == 1:
        return images[0], labels[0]
    raise UserError(
        f"{name} is no image-classification set: its features are {', '.join(features)}; one image "
        "and one class label are needed"
    )


def _shape(name: str, image: tfds.features.Image, image_size: int | None) -> tuple[int, int, int]:
    height, width, channels = image.shape
    if image.np_dtype != np.uint8 or channels not in (1, 3):
        raise UserError(
            f"{name} has images of {channels} channels of {np.dtype(image.np_dtype).name}; 1 or 3 "
            "channels of uint8 are needed"
        )
    if image_size:
        height = width = image_size
    if height is None or width is None:
        raise UserError(f"{name} has images of many sizes; give one with --image_size=32, say")
    check_sides(height, width)
    return height, width, channels


def _reason(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [""]
    # TFDS says 'Failed to construct dataset "NAME", builder_kwargs "{...}": ' before the reason,
    # and TensorFlow '{{function_node NAME}} '.
    reason = re.sub(r"\{\{\w+ .*?\}\} ", "", lines[0].rpartition('}": ')[2])[:200]
    return f"{type(error).__name__}: {reason}"
