"""Timings in turn, and the tables they make."""

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any

_MATRIX_SIZE = 2048
# A timing is of as many calls as take this long.
SECONDS = 2.0


@dataclasses.dataclass(frozen=True)
class Section:
    """One table of the benchmark.

    Attributes:
      title: what was timed.
      columns: of the table.
      rows: of the table, as text.
      notes: what a reader must know, a paragraph each.
      timings: every figure the table was made of.
    """

    title: str
    columns: tuple[str, ...]
    rows: list[list[str]]
    notes: list[str]
    timings: dict[str, Any]


@dataclasses.dataclass
class Timed:
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
        while calls == 0 or time.perf_counter() - start < SECONDS:
            self.call()
            calls += 1
        self.rates.append(calls * self.units / (time.perf_counter() - start))

    @property
    def rate(self) -> float:
        """The median over the rounds."""
        return statistics.median(self.rates)


def in_turn(timed: Iterable[Timed], rounds: int) -> None:
    """Times each once a round, after a first call that is not counted."""
    timed = list(timed)
    for one in timed:
        one.call()
    for _ in range(rounds):
        for one in timed:
            one.time()


def matrix_product(precision: str) -> Timed:
    """A square matrix product of the precision's multiplications, in GFLOP."""
    import tensorflow as tf

    dtype = tf.as_dtype(precision.removeprefix("mixed_"))
    matrix = tf.cast(tf.random.Generator.from_seed(0).normal([_MATRIX_SIZE] * 2), dtype)
    multiply = tf.function(lambda x: tf.reduce_sum(tf.cast(tf.matmul(x, x), tf.float32)))

    def run() -> None:
        multiply(matrix).numpy()

    return Timed(run, 2 * _MATRIX_SIZE**3 / 1e9)
