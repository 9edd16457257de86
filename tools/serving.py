"""What the export of a run holds: requests from many threads, memory, LiteRT's accuracy.

    python tools/serving.py --run_dir=runs/digits_standard [--requests=1000] [--threads=8]

Sends test images to the run's SavedModel in batches of 1 to 512, as pixels and as PNG files in
turn, from all threads at once; compares each answer with the Keras model's; and converts the
SavedModel to LiteRT. Exit code 1 unless every label is the model's.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import experiments
import numpy as np
from absl import flags

from fsgan_tf.cli import quiet, runner
from fsgan_tf.errors import RunError, UserError

if TYPE_CHECKING:
    import keras

    from fsgan_tf.data.split import Split

LARGEST_BATCH = 512


@dataclasses.dataclass(frozen=True)
class Request:
    """A batch of test images.

    Attributes:
      rows: of the test images.
      as_files: whether they are sent as PNG files.
    """

    rows: np.ndarray
    as_files: bool


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The SavedModel's answers beside the Keras model's.

    Attributes:
      num_identical: requests whose logits are the model's bit for bit.
      largest_difference: of any logit.
      num_other_labels: images with another label.
    """

    num_identical: int
    largest_difference: float
    num_other_labels: int


def main(flag_values: flags.FlagValues, words: list[str]) -> None:
    """Serves, compares, converts and prints the figures."""
    del words
    if flag_values.run_dir is None:
        raise UserError("--run_dir is missing: name a finished run")
    quiet.start_tensorflow()
    import tensorflow as tf

    from fsgan_tf.data import loading
    from fsgan_tf.runs.directory import RunDirectory
    from fsgan_tf.runs.restored import restore_classifier
    from fsgan_tf.untrusted.saved_models import check_saved_model

    run = RunDirectory(flag_values.run_dir)
    classifier = restore_classifier(run.path)
    configuration = classifier.configuration
    test, _ = loading.load_split(configuration.data.dataset, "test", **configuration.data_options())
    check_saved_model(run.saved_model)
    signatures = tf.saved_model.load(str(run.saved_model)).signatures

    requests = draw_requests(flag_values.requests, len(test), flag_values.seed)
    num_images = sum(len(request.rows) for request in requests)
    memory, answers, start = [_resident()], [], time.monotonic()
    for rows in np.array_split(np.arange(len(requests)), 4):
        answers += serve(signatures, test, requests[rows[0] : rows[-1] + 1], flag_values.threads)
        memory.append(_resident())
    seconds, peak = time.monotonic() - start, _resident("VmHWM")
    found = compare(classifier.model, test, requests, answers)
    print(
        f"{len(requests):,} requests from {flag_values.threads} threads, of 1 to {LARGEST_BATCH} "
        f"images, {num_images:,} in all, every second one as PNG files: {seconds:.0f} s\n"
        f"logits as the Keras model's bit for bit: {found.num_identical:,} requests; largest "
        f"difference {found.largest_difference:.2g}; {found.num_other_labels} other labels\n"
        f"resident memory: {memory[0]:,} MiB before, then after each quarter "
        f"{', '.join(f'{mebibytes:,}' for mebibytes in memory[1:])} MiB; peak {peak:,} MiB\n"
    )
    header = ["file", "size", "accuracy", "largest difference of logits", "labels changed"]
    print(experiments.table(header, _litert_rows(run.saved_model, classifier.class_names, test)))
    if found.num_other_labels:
        raise RunError(f"{found.num_other_labels} labels are not the Keras model's")


def draw_requests(count: int, num_images: int, seed: int) -> list[Request]:
    """Requests of random images, the logarithms of their sizes uniform; the largest is there."""
    random = np.random.default_rng(seed)
    sizes = np.exp(random.uniform(0, np.log(LARGEST_BATCH + 1), count)).astype(int)
    sizes[:2] = 1, LARGEST_BATCH
    return [
        Request(random.integers(0, num_images, size), bool(index % 2))
        for index, size in enumerate(sizes)
    ]


def serve(
    signatures: Any, images: Split, requests: Sequence[Request], threads: int
) -> list[np.ndarray]:
    """Sends the requests from several threads at once.

    Args:
      signatures: of a loaded SavedModel.
      images: what the requests name.
      requests: what to send, in this order.
      threads: how many send.

    Returns:
      The logits `[n, K]` of each request.

    Raises:
      RunError: an answer's label is not that of its logits.
    """
    import tensorflow as tf

    files = np.array([tf.io.encode_png(image).numpy() for image in images.images], object)

    def send(request: Request) -> np.ndarray:
        if request.as_files:
            answer = signatures["serving_bytes"](image_bytes=tf.constant(files[request.rows]))
        else:
            answer = signatures["serving_default"](image=tf.constant(_pixels(images, request)))
        logits = answer["logits"].numpy()
        if not np.array_equal(answer["label"], logits.argmax(axis=1)):
            raise RunError("a label is not that of its logits")
        return logits

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(send, requests))


def compare(
    model: keras.Model, images: Split, requests: Sequence[Request], answers: Sequence[np.ndarray]
) -> Comparison:
    """Asks the Keras model the same, one request after the other."""
    identical, largest, other = 0, 0.0, 0
    for request, logits in zip(requests, answers, strict=True):
        expected = np.asarray(model(_pixels(images, request), training=False))
        identical += np.array_equal(logits, expected)
        largest = max(largest, float(np.abs(logits - expected).max()))
        other += int((logits.argmax(axis=1) != expected.argmax(axis=1)).sum())
    return Comparison(identical, largest, other)


def _pixels(images: Split, request: Request) -> np.ndarray:
    return images.images[request.rows].astype(np.float32) / np.float32(255)


def _litert_rows(saved_model: Path, class_names: tuple[str, ...], test: Split) -> list[list[str]]:
    """The SavedModel and its conversions on all test images, a row of the table each."""
    import tensorflow as tf

    from fsgan_tf.models import export_folder, litert

    signature = tf.saved_model.load(str(saved_model)).signatures["serving_default"]
    batches = [
        _pixels(test, Request(rows, as_files=False))
        for rows in np.array_split(np.arange(len(test)), -(-len(test) // 64))
    ]
    answers = [signature(image=tf.constant(images))["logits"].numpy() for images in batches]
    expected = np.concatenate(answers)
    size = sum(file.stat().st_size for file in saved_model.rglob("*") if file.is_file())
    rows = [["SavedModel", _kib(size), f"{np.mean(expected.argmax(1) == test.labels):.2%}", "", ""]]
    for name, float16 in (("LiteRT", False), ("LiteRT, float16", True)):
        with tempfile.TemporaryDirectory() as folder:
            litert.convert(saved_model, class_names, Path(folder), float16=float16)
            content = Path(folder, export_folder.LITERT_MODEL_FILE).read_bytes()
        run = litert.interpreter(content).get_signature_runner("serving_default")
        logits = np.concatenate([run(image=images)["logits"] for images in batches])
        rows.append(
            [
                name,
                _kib(len(content)),
                f"{np.mean(logits.argmax(1) == test.labels):.2%}",
                f"{np.abs(logits - expected).max():.2g}",
                f"{(logits.argmax(1) != expected.argmax(1)).sum()} of {len(test):,}",
            ]
        )
    return rows


def _kib(size: int) -> str:
    return f"{size / 2**10:,.0f} KiB"


def _resident(field: str = "VmRSS") -> int:
    """MiB of this process' memory that are resident, or with `VmHWM` were at most."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) // 1024
    raise RunError(f"/proc/self/status does not tell {field}")


def _flags() -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_string(
        "run_dir", None, "Finished run whose exported classifier answers.", flag_values=values
    )
    flags.DEFINE_integer(
        "requests", 1000, "How many requests to send.", lower_bound=4, flag_values=values
    )
    flags.DEFINE_integer(
        "threads", 8, "How many threads send them.", lower_bound=1, flag_values=values
    )
    flags.DEFINE_integer("seed", 0, "Seed of the requests.", lower_bound=0, flag_values=values)
    return values


if __name__ == "__main__":
    sys.exit(runner.run(main, _flags(), description=__doc__ or ""))
