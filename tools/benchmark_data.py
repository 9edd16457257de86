"""How fast training images come from memory and from disk, and what memory they take.

    python tools/benchmark_data.py [--images=100000 --side=128] [--stored=folder]

Writes JPEG files of that side (a few hundred different ones, over and over), reads them as a
training does, once held in memory (unless that would take more than is free) and once read from
disk as they are needed, each in a process of its own, and prints a table.
"""

from __future__ import annotations

import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import experiments
import numpy as np
from absl import flags

from fsgan_tf.cli import quiet, runner
from fsgan_tf.errors import RunError

_DISTINCT = 500
_BATCH = 128
_STORED = ("folder", "tfrecord", "array_record")
_GIB = 2**30
# Images in memory take this often their size, with what TensorFlow copies.
_COPIES = 3


def main(flag_values: flags.FlagValues, words: list[str]) -> None:
    """Writes the images, reads them in every way, prints a row for each."""
    del words
    quiet.start_tensorflow()
    if flag_values.measure:
        measured = measure(
            flag_values.measure, json.loads(flag_values.options), flag_values.batches
        )
        print(json.dumps(measured))
        return
    rows = []
    with tempfile.TemporaryDirectory(dir=flag_values.folder) as folder:
        for stored in flag_values.stored:
            name, options = write(stored, Path(folder), flag_values.images, flag_values.side)
            for place, limit in (("memory", 10**6), ("disk", 1e-9)):
                size = flag_values.images * flag_values.side**2 * 3
                if place == "memory" and _COPIES * size > flag_values.largest * _GIB:
                    continue
                measured = _measured(name, {**options, "memory_limit": limit}, flag_values.batches)
                rows.append([stored, place, *_shown(measured)])
    header = ["stored as", "read from", "images/s", "first batch, s", "peak memory, GiB"]
    print(experiments.table(header, rows))


def write(stored: str, folder: Path, images: int, side: int) -> tuple[str, dict[str, Any]]:
    """Writes images of two classes.

    Args:
      stored: `folder`, `tfrecord` or `array_record`.
      folder: where.
      images: how many.
      side: of each, in pixels.

    Returns:
      The name and the options by which `fsgan_tf.data.loading` reads them.
    """
    encoded = _encoded(side)
    if stored == "folder":
        root = folder / "classes"
        for label in ("a", "b"):
            (root / label).mkdir(parents=True)
        for number in range(images):
            path = root / "ab"[number % 2] / f"{number}.jpg"
            path.write_bytes(encoded[number % len(encoded)])
        return str(root), {"image_size": [side, side]}
    import tensorflow as tf
    import tensorflow_datasets as tfds

    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(side, side, 3), encoding_format="jpeg"),
            "label": tfds.features.ClassLabel(names=["a", "b"]),
        }
    )
    pixels = [tf.io.decode_jpeg(content).numpy() for content in encoded]

    def examples(count: int) -> tf.data.Dataset:
        numbers = tf.data.Dataset.range(count)
        held = tf.constant(np.stack(pixels))
        return numbers.map(lambda n: {"image": held[n % len(pixels)], "label": n % 2})

    tfds.disable_progress_bar()
    tfds.dataset_builders.store_as_tfds_dataset(
        name=stored,
        version="1.0.0",
        features=features,
        split_datasets={"train": examples(images), "test": examples(2)},
        data_dir=folder,
        file_format=stored,
        disable_shuffling=True,
    )
    return stored, {"data_dir": str(folder)}


def measure(name: str, options: dict[str, Any], batches: int) -> dict[str, float]:
    """Reads batches as a training does.

    Args:
      name: of the data set.
      options: of `fsgan_tf.data.loading.load`.
      batches: how many of 128 images are timed, after as many tenths.

    Returns:
      `images_per_second`; `seconds_to_first` from nothing to the first batch; `peak_gib`, the
      largest memory of this process.
    """
    from fsgan_tf.data import loading
    from fsgan_tf.data.batches import training_batches

    if size := options.get("image_size"):
        options["image_size"] = tuple(size)
    began = time.perf_counter()
    dataset = loading.load(name, **options)
    stream = training_batches(dataset.train, batch_size=_BATCH, seed=0, augmentation="none")
    iterator = iter(stream)
    next(iterator)
    first = time.perf_counter() - began
    for _ in itertools.islice(iterator, max(1, batches // 10)):
        pass
    began = time.perf_counter()
    for _ in itertools.islice(iterator, batches):
        pass
    seconds = time.perf_counter() - began
    return {
        "images_per_second": batches * _BATCH / seconds,
        "seconds_to_first": first,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / _GIB,
    }


def _measured(name: str, options: dict[str, Any], batches: int) -> dict[str, float]:
    """`measure` in a process of its own, so that the peak is that of this reading alone."""
    command = [sys.executable, __file__, f"--measure={name}", f"--batches={batches}"]
    command.append(f"--options={json.dumps(options)}")
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RunError(f"reading {name} failed: {result.stderr.strip().splitlines()[-1]}")
    return json.loads(result.stdout.splitlines()[-1])


def _shown(measured: dict[str, float]) -> list[str]:
    return [
        f"{measured['images_per_second']:,.0f}",
        f"{measured['seconds_to_first']:.1f}",
        f"{measured['peak_gib']:.2f}",
    ]


def _encoded(side: int) -> list[bytes]:
    """Smooth noise as JPEG files, of the size that photographs have."""
    import tensorflow as tf

    generator = np.random.default_rng(0)
    files = []
    for _ in range(_DISTINCT):
        coarse = generator.integers(0, 256, (side // 8, side // 8, 3)).astype(np.float32)
        image = tf.image.resize(coarse, (side, side), "bicubic")
        noisy = tf.clip_by_value(image + generator.normal(0, 6, (side, side, 3)), 0, 255)
        files.append(tf.io.encode_jpeg(tf.cast(noisy, tf.uint8), quality=90).numpy())
    return files


def _flags() -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_integer(
        "images", 20_000, "How many images to write and read.", lower_bound=300, flag_values=values
    )
    flags.DEFINE_integer(
        "side", 128, "Height and width of the images.", lower_bound=16, flag_values=values
    )
    flags.DEFINE_integer("batches", 200, "How many batches of 128 to time.", 1, flag_values=values)
    flags.DEFINE_multi_enum(
        "stored", _STORED, _STORED, "How the images are stored.", flag_values=values
    )
    flags.DEFINE_string(
        "folder",
        None,
        "Folder for the images while the benchmark runs.",
        flag_values=values,
    )
    flags.DEFINE_float(
        "largest",
        8.0,
        "Leave out the row of images in memory where they take more GiB than this.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "measure", None, "Data set to read in this process, and to time.", flag_values=values
    )
    flags.DEFINE_string(
        "options", "{}", "Settings to read --measure with, as JSON.", flag_values=values
    )
    return values


if __name__ == "__main__":
    sys.exit(runner.run(main, _flags(), description=__doc__ or ""))
