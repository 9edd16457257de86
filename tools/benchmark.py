"""How fast each method trains here, and how near that is to what the machine can multiply.

    python tools/benchmark.py [--methods=...] [--training_flags="--classifier_depth=16 ..."]

Times whole training steps on random images, the methods in turn within every round, so that other
work on the machine meets all of them; a figure is the median of the rounds. Arithmetic is counted
(`--dry_run`'s); the peak is that of a matrix product of the step's precision, timed in every round.
"""

import dataclasses
import shlex
import statistics
import sys
import time
from collections.abc import Callable

from absl import flags

from fsgan_tf import cli, experiments, quiet, settings
from fsgan_tf.errors import UserError

_COLUMNS = ("method", "images/s", "GFLOP an image", "GFLOP/s", "of the peak")
_CLASSES, _IMAGE_SHAPE = 10, (32, 32, 3)
_MATRIX_SIZE = 2048
# A timing is of as many calls as take this long.
_SECONDS = 2.0


@dataclasses.dataclass
class _Timed:
    """Something to time.

    Attributes:
      call: runs once and returns when it is done.
      units: how much of it one call does.
      rates: units a second, one a round.
    """

    call: Callable[[], None]
    units: float
    rates: list[float] = dataclasses.field(default_factory=list)

    def time(self) -> None:
        """Adds a round."""
        calls, start = 0, time.perf_counter()
        while calls == 0 or time.perf_counter() - start < _SECONDS:
            self.call()
            calls += 1
        self.rates.append(calls * self.units / (time.perf_counter() - start))

    @property
    def rate(self) -> float:
        """The median over the rounds."""
        return statistics.median(self.rates)


def main(flag_values: flags.FlagValues, words: list[str]) -> None:
    """Builds every step, times them in turn and prints the table."""
    del words
    unknown = [name for name in flag_values.methods if name not in settings.method_names()]
    if unknown:
        raise UserError(f"unknown methods {unknown}; there are {settings.method_names()}")
    trainings = {
        name: _training_flags(name, flag_values.training_flags) for name in flag_values.methods
    }
    quiet.start_tensorflow()
    from fsgan_tf import hardware

    precision = hardware.resolve_precision(next(iter(trainings.values())).precision)
    peak = _matrix_product(precision)
    steps, operations = {}, {}
    for name, values in trainings.items():
        print(f"building {name}", flush=True)
        steps[name], operations[name] = _training_step(values)
        steps[name].call()
    for _ in range(flag_values.rounds):
        for timed in (peak, *steps.values()):
            timed.time()
    print(f"matrix product, {precision}: {peak.rate:.0f} GFLOP/s\n")
    print(experiments.table(_COLUMNS, _rows(steps, operations, peak.rate)))


def _rows(steps: dict[str, _Timed], operations: dict[str, float], peak: float) -> list[list[str]]:
    rows = []
    for name, timed in steps.items():
        reached = timed.rate * operations[name]
        rows.append(
            [
                name,
                f"{timed.rate:.1f}",
                f"{operations[name]:.2f}",
                f"{reached:.0f}",
                f"{reached / peak:.0%}",
            ]
        )
    return rows


def _training_flags(method: str, text: str) -> flags.FlagValues:
    values = settings.training_flags()
    try:
        words = values(["train", f"--method={method}", *shlex.split(text)])[1:]
    except flags.Error as error:
        raise UserError(f"--training_flags: {error}") from error
    if words:
        raise UserError(f"--training_flags holds {' '.join(words)}, which is no flag")
    settings.complete(values)
    return values


def _training_step(values: flags.FlagValues) -> tuple[_Timed, float]:
    """A whole step of the method, and its arithmetic: GFLOP an image."""
    import tensorflow as tf

    from fsgan_tf import cost, train

    method = train.build_method(values, _CLASSES, _IMAGE_SHAPE)
    generator = tf.random.Generator.from_seed(values.seed)
    batch = {
        "image": generator.uniform([values.batch_size, *_IMAGE_SHAPE]),
        "label": generator.uniform([values.batch_size], 0, _CLASSES, tf.int32),
    }
    step = tf.function(method.train_step, autograph=False, jit_compile=values.jit_compile)

    def run() -> None:
        step(batch)["loss"].numpy()

    multiply_adds = sum(
        cost.multiply_adds(network) * method.forward_equivalents[name]
        for name, network in method.networks.items()
    )
    return _Timed(run, values.batch_size), 2 * multiply_adds / 1e9


def _matrix_product(precision: str) -> _Timed:
    """A square matrix product of the precision's multiplications, in GFLOP."""
    import tensorflow as tf

    dtype = tf.as_dtype(precision.removeprefix("mixed_"))
    matrix = tf.cast(tf.random.Generator.from_seed(0).normal([_MATRIX_SIZE] * 2), dtype)
    multiply = tf.function(lambda x: tf.reduce_sum(tf.cast(tf.matmul(x, x), tf.float32)))

    def run() -> None:
        multiply(matrix).numpy()

    run()
    return _Timed(run, 2 * _MATRIX_SIZE**3 / 1e9)


def _flags() -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_list(
        "methods", settings.method_names(), "Training methods, in order.", flag_values=values
    )
    flags.DEFINE_string(
        "training_flags",
        "--classifier_depth=10 --classifier_width=2 --generator_width=16 --batch_size=64 "
        "--epsilon=8/255",
        "Training flags that all methods get.",
        flag_values=values,
    )
    flags.DEFINE_integer("rounds", 5, "Timings of each.", 1, flag_values=values)
    return values


if __name__ == "__main__":
    sys.exit(cli.run(main, _flags(), description=__doc__ or ""))
