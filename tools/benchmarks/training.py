"""Timings of training: steps, a peer, whole epochs, the start, growth."""

import io
import os
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import experiments

from benchmarks import timing
from benchmarks.authors_step import authors_step
from benchmarks.timing import Section, Timed
from fsgan_tf.cli import training_flags
from fsgan_tf.errors import RunError, UserError
from fsgan_tf.runs.configuration import TrainingConfiguration

if TYPE_CHECKING:
    from fsgan_tf.methods.base import TrainingMethod

_CLASSES, _IMAGE_SHAPE = 10, (32, 32, 3)
_PRECISIONS = ("float32", "mixed_bfloat16")
_GROWTH = {
    "batch_size": (16, 32, 64, 128, 256),
    "classifier_width": (1, 2, 4, 8),
}
_PAPER = "configs/cifar10.flags"
_EPOCH_EXAMPLES, _EPOCHS = 3000, 3
_GIB = 2**30


def parse(methods: Sequence[str], text: str) -> dict[str, TrainingConfiguration]:
    """The training flags of each method at one scale; `text` as on a command line.

    Raises:
      UserError: the text holds something else than training flags.
    """
    return {method: _training_flags(method, text) for method in methods}


def steps(trainings: dict[str, TrainingConfiguration], rounds: int) -> Section:
    """A whole step of each method on random images, and how near the peak it comes."""
    from fsgan_tf import devices

    precision = devices.resolve_precision(next(iter(trainings.values())).training.precision)
    peak = timing.matrix_product(precision)
    operations, timed = {}, {}
    for name, values in trainings.items():
        print(f"building {name}", file=sys.stderr, flush=True)
        method = _method(values)
        operations[name] = gigaflops(method)
        timed[name] = _step(method, values)
    timing.in_turn([peak, *timed.values()], rounds)
    rows = [[name, *_against_peak(timed[name].rate, operations[name], peak.rate)] for name in timed]
    return Section(
        "Training steps",
        ("method", "images/s", "GFLOP an image", "GFLOP/s", "of the peak"),
        rows,
        [f"matrix product, {precision}: {peak.rate:.0f} GFLOP/s"],
        {"peak": peak.rates, **{name: one.rates for name, one in timed.items()}},
    )


def peer(folder: str | None, text: str, rounds: int) -> Section:
    """Our Feature-Scatter step in each precision, in turn with its authors' code."""
    from fsgan_tf import devices

    precisions = [name for name in _PRECISIONS if name == "float32" or devices.has_bfloat16()]
    timed, peaks, notes = {}, {}, []
    for precision in precisions:
        values = _training_flags("feature_scatter", f"{text} --precision={precision}")
        method = _method(values)
        peaks[precision] = timing.matrix_product(precision)
        timed[f"ours, {precision}"] = _step(method, values)
    operations = gigaflops(method)
    try:
        timed["authors', float32"] = authors_step(
            folder,
            depth=values.values()["classifier_depth"],
            width=values.values()["classifier_width"],
            batch_size=values.training.batch_size,
            num_classes=_CLASSES,
        )
    except UserError as error:
        notes.append(f"The authors' code did not run: {error}")
    timing.in_turn([*peaks.values(), *timed.values()], rounds)
    theirs = timed.get("authors', float32")
    rows = [
        [
            name,
            *_against_peak(one.rate, operations, peaks[name.split(", ")[1]].rate),
            f"{one.rate / theirs.rate:.2f}" if theirs else "",
        ]
        for name, one in timed.items()
    ]
    return Section(
        f"A Feature-Scatter step beside its authors' ({method.classifier.name}, "
        f"batch {values.training.batch_size})",
        ("code", "images/s", "GFLOP an image", "GFLOP/s", "of the peak", "times theirs"),
        rows,
        notes,
        {
            **{name: one.rates for name, one in timed.items()},
            **{f"peak, {name}": one.rates for name, one in peaks.items()},
        },
    )


def epoch(methods: Sequence[str], text: str, data_dir: str | None, results: Path) -> Section:
    """Whole epochs of the command, data, metrics and TensorBoard included.

    The rate is metrics.jsonl's of the epochs after the first, which also compiles.
    """
    from fsgan_tf import devices

    rows, timings = [], {}
    for name, values in parse(methods, text).items():
        run_dir = results / f"epoch_{name}"
        shutil.rmtree(run_dir, ignore_errors=True)
        precision = devices.resolve_precision(values.training.precision)
        peak = timing.matrix_product(precision)
        timing.in_turn([peak], 1)
        experiments.run_module(
            "fsgan_tf.train",
            [
                *shlex.split(text),
                f"--method={name}",
                *_dataset_flags(data_dir),
                f"--train_examples={_EPOCH_EXAMPLES}",
                f"--epochs={_EPOCHS}",
                "--validation_examples=64",
                "--eval_examples=0",
                f"--run_dir={run_dir}",
            ],
        )
        timing.in_turn([peak], 1)
        rates = _epoch_rates(run_dir)
        operations = gigaflops(_method(values))
        rows.append(
            [name, precision, *_against_peak(statistics.median(rates), operations, peak.rate)]
        )
        timings[name] = {"images/s": rates, "peak": peak.rates}
    return Section(
        "Whole epochs of the command",
        ("method", "precision", "images/s", "GFLOP an image", "GFLOP/s", "of the peak"),
        rows,
        [
            f"{_EPOCH_EXAMPLES} images an epoch, median of epochs 2 to {_EPOCHS}; {text}; the peak "
            "timed before and after."
        ],
        timings,
    )


def start(data_dir: str | None, results: Path) -> Section:
    """From the command to `--help`, and to the first step and its checkpoint of WRN-28-10."""
    help_seconds = _seconds([sys.executable, "-m", "fsgan_tf.train", "--help"])
    rows = [["--help", f"{help_seconds:.2f}", "", ""]]
    timings: dict[str, Any] = {"--help": help_seconds}
    for method in ("fs_gan", "feature_scatter"):
        run_dir = results / f"start_{method}"
        shutil.rmtree(run_dir, ignore_errors=True)
        begun, ended, peak_bytes = _first_step(
            [
                f"--flagfile={_PAPER}",
                f"--method={method}",
                *_dataset_flags(data_dir),
                f"--run_dir={run_dir}",
            ]
        )
        shutil.rmtree(run_dir, ignore_errors=True)
        rows.append([method, f"{begun:.1f}", f"{ended:.1f}", f"{peak_bytes / _GIB:.1f}"])
        timings[method] = {"begun": begun, "first step": ended, "peak bytes": peak_bytes}
    return Section(
        "Starting: WRN-28-10 as configs/cifar10.flags has it",
        ("command", "seconds to the training", "to the first step's checkpoint", "peak GiB"),
        rows,
        ["Stopped by SIGTERM when the training begins: it completes one step and saves."],
        timings,
    )


def growth(methods: Sequence[str], text: str, rounds: int) -> Section:
    """Images a second against batch size and classifier width, one method after the other."""
    rows: list[list[str]] = []
    timings: dict[str, Any] = {}
    for flag, sizes in _GROWTH.items():
        for name in methods:
            values = {size: _training_flags(name, f"{text} --{flag}={size}") for size in sizes}
            timed = {size: _step(_method(one), one) for size, one in values.items()}
            timing.in_turn(timed.values(), rounds)
            rates = {size: one.rate for size, one in timed.items()}
            cells = ", ".join(f"{size}: {rate:.1f}" for size, rate in rates.items())
            rows.append([name, flag, cells])
            timings[f"{name}, {flag}"] = {size: one.rates for size, one in timed.items()}
    for name in methods:
        rates = {replicas: _in_a_process(name, text, replicas) for replicas in (1, 2)}
        cells = ", ".join(f"{replicas}: {rate:.1f}" for replicas, rate in rates.items())
        rows.append([name, "replicas", cells])
        timings[f"{name}, replicas"] = rates
    return Section("Growth", ("method", "what grows", "images/s at each size"), rows, [], timings)


def deterministic(methods: Sequence[str], text: str, rounds: int) -> Section:
    """What `--deterministic` costs: `fit` with and without it, a process each, in turn."""
    rows, timings = [], {}
    for name in methods:
        rates: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(rounds):
            for asked, measured in rates.items():
                measured.append(_in_a_process(name, text, deterministic=asked))
        without, within = (statistics.median(measured) for measured in rates.values())
        rows.append([name, f"{without:.1f}", f"{within:.1f}", f"{within / without:.2f}"])
        timings[name] = {"without": rates[False], "with": rates[True]}
    return Section(
        "--deterministic",
        ("method", "images/s without", "images/s with", "ratio"),
        rows,
        [],
        timings,
    )


def gigaflops(method: "TrainingMethod") -> float:
    """Operations a step needs, in 10^9 an image: two a multiply-add of the counted passes."""
    from fsgan_tf.training import cost

    return (
        sum(
            2 * cost.multiply_adds(network) * method.forward_equivalents[name]
            for name, network in method.networks.items()
        )
        / 1e9
    )


def _training_flags(method: str, text: str) -> TrainingConfiguration:
    try:
        return training_flags.parse([*shlex.split(text), f"--method={method}"])
    except UserError as error:
        raise UserError(f"--training_flags: {error}") from error


def _dataset_flags(data_dir: str | None) -> list[str]:
    return ["--dataset=cifar10", *([f"--data_dir={data_dir}"] if data_dir else [])]


def _method(values: TrainingConfiguration) -> "TrainingMethod":
    from fsgan_tf.training.build import build_method

    return build_method(values, _CLASSES, _IMAGE_SHAPE)


def _step(method: "TrainingMethod", values: TrainingConfiguration) -> Timed:
    """A whole step on random images, in images."""
    import tensorflow as tf

    generator = tf.random.Generator.from_seed(values.training.seed)
    batch = {
        "image": generator.uniform([values.training.batch_size, *_IMAGE_SHAPE]),
        "label": generator.uniform([values.training.batch_size], 0, _CLASSES, tf.int32),
        "index": tf.range(values.training.batch_size),
    }
    method.remember(values.training.batch_size)
    step = tf.function(method.train_step, autograph=False, jit_compile=values.training.jit_compile)

    def run() -> None:
        step(batch)["loss"].numpy()

    return Timed(run, values.training.batch_size)


def _against_peak(rate: float, operations: float, peak: float) -> list[str]:
    reached = rate * operations
    return [f"{rate:.1f}", f"{operations:.2f}", f"{reached:.0f}", f"{reached / peak:.0%}"]


def _epoch_rates(run_dir: Path) -> list[float]:
    from fsgan_tf.runs.directory import RunDirectory

    return [row["images_per_second"] for row in RunDirectory(run_dir).metrics.read()[1:]]


def _seconds(command: list[str]) -> float:
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def _first_step(arguments: list[str]) -> tuple[float, float, int]:
    """Seconds to the line that announces the training and to its end, and the peak memory."""
    begin = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "fsgan_tf.train", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    lines = iter(process.stdout or ())
    begun = next((time.perf_counter() for line in lines if "epochs 0 to" in line), None)
    # A signal between the line and the first step's start would end it without a step.
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    _, status, usage = os.wait4(process.pid, 0)
    if begun is None or os.waitstatus_to_exitcode(status) != 130:
        raise RunError(f"the training did not begin: {(process.stderr or io.StringIO()).read()}")
    return begun - begin, time.perf_counter() - begin, 1024 * usage.ru_maxrss


def _in_a_process(
    method: str, text: str, replicas: int = 1, *, deterministic: bool = False
) -> float:
    """Images a second of `fit`, in a process of its own: replicas on logical CPUs."""
    arguments = [method, text, str(replicas), str(int(deterministic))]
    done = subprocess.run(
        [sys.executable, "-m", __name__, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[1],
    )
    if done.returncode:
        raise RunError(f"timing {' '.join(arguments)} failed: {done.stderr[-500:]}")
    return float(done.stdout.split()[-1])


def _time_fit(method_name: str, text: str, replicas: int, deterministic: bool) -> float:
    import tensorflow as tf

    from fsgan_tf import devices

    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * replicas,
    )
    values = _training_flags(method_name, text)
    strategy = devices.make_strategy("mirrored" if replicas > 1 else "one_device")
    if deterministic:
        devices.make_deterministic()
    with strategy.scope():
        method = _method(values)
    count = values.training.batch_size * replicas
    random = tf.random.Generator.from_seed(values.training.seed)
    batch = {
        "image": random.uniform([count, *_IMAGE_SHAPE]),
        "label": random.uniform([count], 0, _CLASSES, tf.int32),
        "index": tf.range(count),
    }
    method.remember(count)
    batches = tf.data.Dataset.from_tensors(batch).repeat()

    def run() -> None:
        method.fit(batches, steps_per_epoch=10, shuffle=False, verbose=0)

    timed = Timed(run, 10 * count)
    timing.in_turn([timed], 3)
    return timed.rate


if __name__ == "__main__":
    print(_time_fit(sys.argv[1], sys.argv[2], int(sys.argv[3]), bool(int(sys.argv[4]))))
