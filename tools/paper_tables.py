"""Tables I to IV of the FS-GAN paper: trains, attacks, and sets each figure beside the paper's own.

    python tools/paper_tables.py --table=2 --data_dir=FOLDER [--seeds=0,1,2] [--scale="FLAGS"]

Trains the table's methods by their files in configs/ (FS-GAN by the paper's letter with --letter)
and attacks each classifier on test images as the paper does: 10 restarts of PGD and C&W, every
attack on every image, none on what another has left. Table I transfers images of "a copy of the
victim": the same method trained from another seed. l2l_da starts from the standard classifier of
its seed, as its authors' does.

At the paper's scale a training takes hours on a GPU; --scale makes it smaller by training flags,
--num_examples attacks the first test images only, --methods and --columns leave out the rest. What
is done is not done again: the same command resumes after an interruption, and tables I and II share
their trainings. The table is printed and written to RUNS/table_N.md whenever a row has come.
"""

from __future__ import annotations

import shlex
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import experiments
from absl import flags
from experiments import provenance, series_flags, statistics
from experiments.paper import TABLES, TITLES, Table

from fsgan_tf.attacks import registry
from fsgan_tf.cli import runner
from fsgan_tf.errors import UserError
from fsgan_tf.files import write_atomically


class _Measured(NamedTuple):
    """What one training's classifier kept.

    Attributes:
      run_dir: the run.
      shares: within [0, 1], clean accuracy first.
      results: content of results.json.
    """

    run_dir: Path
    shares: list[float]
    results: dict[str, Any]


# By method and seed.
_Rows = dict[tuple[str, str], _Measured]


class _Runs:
    """The trainings behind the tables, each made once, whoever asks for it first."""

    def __init__(self, flag_values: flags.FlagValues, table: Table):
        self._flags = flag_values
        self._table = table
        self._guard = threading.Lock()
        self._locks: dict[Path, threading.Lock] = {}

    def trained(self, method: str, seed: str) -> Path:
        """The folder of a finished run."""
        data, letter = self._table.data, self._flags.letter and method == "fs_gan"
        run_dir = self._run_dir(method, seed)
        standard = self._run_dir("standard", seed)
        initial = experiments.initialisation(method, standard)
        if initial:
            self.trained("standard", seed)
        with self._guard:
            lock = self._locks.setdefault(run_dir, threading.Lock())
        with lock:
            experiments.train(
                run_dir,
                [
                    f"--flagfile={experiments.configuration(data, method, letter=letter)}",
                    *shlex.split(self._flags.scale),
                    *initial,
                    "--eval_examples=0",
                    f"--seed={seed}",
                    *self._data(),
                ],
            )
        return run_dir

    def measured(self, method: str, seed: str, attacks: list[str]) -> _Measured:
        """Clean accuracy and that under each attack."""
        run_dir = self.trained(method, seed)
        box, arguments = "white_box", [f"--checks={self._flags.checks}", *self._data()]
        if _reads_restarts(attacks):
            arguments.append(f"--restarts={self._flags.restarts}")
        if self._table.transferred:
            copy = self.trained(method, _other(seed, self._flags.seeds))
            box = f"black_box_from_{copy.name}"
            arguments.append(f"--source={copy}")
        count = self._flags.num_examples
        if count:
            arguments.append(f"--num_examples={count}")
        folder = experiments.measurement(
            run_dir,
            box,
            f"{count or 'all'}_images",
            f"{self._flags.restarts}_restarts",
            series_flags.checks_in_name(self._flags),
        )
        results = experiments.evaluate(run_dir, attacks, arguments, output_dir=folder)
        # Those transferred are called transfer_pgd20@COPY.
        accuracies = {
            name.partition("@")[0]: accuracy
            for name, accuracy in experiments.accuracies(results).items()
        }
        shares = [results["clean_accuracy"], *(accuracies[attack] for attack in attacks)]
        return _Measured(run_dir, shares, results)

    def _run_dir(self, method: str, seed: str) -> Path:
        letter = "_letter" if self._flags.letter and method == "fs_gan" else ""
        return Path(self._flags.runs) / f"{self._table.data}_{method}{letter}_seed{seed}"

    def _data(self) -> list[str]:
        return series_flags.data(self._flags)


def main(flag_values: flags.FlagValues, words: list[str]) -> None:
    """Runs what is not there yet; prints the table after every row."""
    del words
    if flag_values.table is None:
        raise UserError("--table is missing: 1, 2, 3 or 4")
    table = TABLES[flag_values.table]
    methods = _chosen("methods", flag_values.methods, list(table.figures))
    columns = _chosen("columns", flag_values.columns, list(table.attacks))
    attacks = [
        f"spsa{flag_values.spsa_iterations}" if column == "SPSA" else table.attacks[column]
        for column in columns
    ]
    runs = _Runs(flag_values, table)
    measured: _Rows = {}
    tasks = [(method, seed) for seed in flag_values.seeds for method in methods]
    for task, figures in _worked_off(runs, tasks, attacks, flag_values.jobs):
        measured[task] = figures
        experiments.require_same_images(one.results for one in measured.values())
        text = _as_text(table, methods, columns, measured, flag_values)
        name = f"table_{flag_values.table}.md"
        write_atomically(Path(flag_values.runs) / name, f"{text}\n".encode())
        print(f"\n{text}\n", flush=True)


def _worked_off(
    runs: _Runs, tasks: list[tuple[str, str]], attacks: list[str], jobs: int
) -> Iterator[tuple[tuple[str, str], _Measured]]:
    """Each task and its figures, as they come."""
    if jobs == 1:
        yield from ((task, runs.measured(*task, attacks)) for task in tasks)
        return
    with ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(runs.measured, *task, attacks): task for task in tasks}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _chosen(flag: str, named: list[str] | None, there: list[str]) -> list[str]:
    if unknown := set(named or ()) - set(there):
        raise UserError(
            f"--{flag} names {', '.join(sorted(unknown))}; this table has {', '.join(there)}"
        )
    return named or there


def _reads_restarts(attacks: Iterable[str]) -> bool:
    """Whether `--restarts` means something to an attack; an evaluation refuses it otherwise."""
    return any(field.name == "restarts" for name in attacks for field in registry.read_by(name))


def _other(seed: str, seeds: list[str]) -> str:
    """The seed of the copy: the next one of the series, so that few trainings are needed."""
    if len(set(seeds)) > 1:
        return seeds[(seeds.index(seed) + 1) % len(seeds)]
    return str(int(seed) + 1)


def _as_text(
    table: Table,
    methods: list[str],
    columns: list[str],
    measured: _Rows,
    flag_values: flags.FlagValues,
) -> str:
    places = [0, *(1 + list(table.attacks).index(column) for column in columns)]
    rows, made = [], []
    for method in methods:
        seeds = {seed: one for (name, seed), one in measured.items() if name == method}
        paper = [table.figures[method][place] for place in places]
        figures, differences = [""] * len(paper), [""] * len(paper)
        if seeds:
            ours = list(zip(*(one.shares for one in seeds.values()), strict=True))
            images = next(iter(seeds.values())).results["num_examples"]
            figures = [statistics.summarised(shares, images) for shares in ours]
            differences = [
                f"{100 * fmean(shares) - p:+.1f}" for shares, p in zip(ours, paper, strict=True)
            ]
        rows.append([TITLES[method], f"ours ({len(seeds)})", *figures])
        rows.append(["", "paper", *(f"{percent:.2f}" for percent in paper)])
        rows.append(["", "difference", *differences])
        for seed, one in seeds.items():
            name = f"{TITLES[method]}, seed {seed}"
            made += provenance.lines(name, one.run_dir, [one.results])
    images = f"{flag_values.num_examples or 'all'} test images"
    repeated = _reads_restarts(table.attacks[column] for column in columns)
    restarts = f", {flag_values.restarts} restarts" if repeated else ""
    spsa = f", {flag_values.spsa_iterations} iterations of SPSA" if "SPSA" in columns else ""
    return "\n\n".join(
        [
            f"Table {table.number} of the paper, accuracies in %; ours (number of seeds). "
            f"{statistics.MEANING}. {images}{restarts}{spsa}; FS-GAN by "
            f"{experiments.configuration(table.data, 'fs_gan', letter=flag_values.letter)}; "
            + (f"scaled by {flag_values.scale}" if flag_values.scale else "the paper's scale"),
            experiments.table(["method", "", "clean", *columns], rows),
            "\n".join(made),
        ]
    )


def _flags() -> flags.FlagValues:
    values = series_flags.define(runs="runs/paper_tables", scale="")
    flags.DEFINE_integer("table", None, "Table to make: 1, 2, 3 or 4.", 1, 4, flag_values=values)
    flags.DEFINE_boolean(
        "letter",
        False,
        "Train FS-GAN by configs/paper instead of what we recommend.",
        flag_values=values,
    )
    flags.DEFINE_list("methods", None, "Rows to make; all by default.", flag_values=values)
    flags.DEFINE_list(
        "columns", None, "Attacks to make columns of; all by default.", flag_values=values
    )
    flags.DEFINE_integer(
        "num_examples",
        None,
        "How many test images to attack; all by default.",
        1,
        flag_values=values,
    )
    series_flags.define_checks(values)
    flags.DEFINE_integer("restarts", 10, "Restarts of PGD and C&W.", 1, flag_values=values)
    flags.DEFINE_integer("spsa_iterations", 1000, "Iterations of SPSA.", 1, flag_values=values)
    flags.DEFINE_integer(
        "jobs",
        1,
        "How many rows to work on at once, each in a process of its own.",
        1,
        flag_values=values,
    )
    return values


if __name__ == "__main__":
    sys.exit(runner.run(main, _flags(), description=__doc__ or ""))
