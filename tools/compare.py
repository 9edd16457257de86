"""All training methods at one scale: same classifier, images and epochs; the table of them.

    python tools/compare.py --data_dir=FOLDER [--dataset=cifar10] [--seeds=0,1] [--methods=...]
    python tools/compare.py --runs=RUN,RUN,... [--split=validation]

The first trains each method by its own configuration, scaled down by the flags of --scale, into
RUNS/METHOD_seedSEED; l2l_da starts from the standard classifier of its seed, as its authors' does.
The second takes finished runs that were made elsewhere, a row for each method and its settings, and
refuses those whose data, length, network or epsilon differ.

Both attack every classifier: an attack in --columns on every image, a suite as it is, each attack
on what the ones before it left; its figure is what is left in the end. What is done is not done
again: the same command resumes after an interruption. The table is printed after every run, and
written to --table, RUNS/table.md by default. Settings are chosen on --split=validation.
"""

from __future__ import annotations

import dataclasses
import functools
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import experiments
from absl import flags
from experiments import groups, provenance, series_flags, statistics

from fsgan_tf import methods
from fsgan_tf.attacks import registry
from fsgan_tf.attacks.suites import SUITES
from fsgan_tf.cli import runner
from fsgan_tf.errors import UserError
from fsgan_tf.files import write_atomically
from fsgan_tf.runs.configuration import TrainingConfiguration

_SCALE = (
    "--classifier_depth=10 --classifier_width=2 --generator_width=16 --batch_size=64 "
    "--train_examples=8000 --epochs=6 --lr_decay_epochs=4,5 --eval_examples=0"
)
_COLUMNS = ("pgd20", "cw20", "strong")
_TITLES = {"pgd20": "PGD-20", "cw20": "C&W-20", "fgsm": "FGSM", "pgd100": "PGD-100"}
# The data sets whose files in configs/ have another name than theirs.
_FILES_OF = {"svhn_cropped": "svhn"}


@dataclasses.dataclass(frozen=True)
class _Measured:
    """A run and what its attacks left, within [0, 1]; results.json of each evaluation."""

    run: groups.Run
    shares: list[float]
    results: list[dict[str, Any]]


def main(flag_values: flags.FlagValues, words: list[str]) -> None:
    """Runs what is not there yet and prints the table after every run."""
    del words
    _require_columns(flag_values.columns)
    folders = [Path(name) for name in dict.fromkeys(flag_values.runs.split(","))]
    given = len(folders) > 1 or (folders[0] / "flags.txt").is_file()
    runs = _given(folders) if given else _trained(folders[0], flag_values)
    file = flag_values.table or (None if given else folders[0] / "table.md")
    measured: list[_Measured] = []
    for run in runs:
        measured.append(_measure(run, flag_values))
        experiments.require_same_images(result for one in measured for result in one.results)
        text = _as_text(measured, flag_values)
        if file:
            write_atomically(Path(file), f"{text}\n".encode())
        print(f"\n{text}\n", flush=True)


def _require_columns(columns: list[str]) -> None:
    """Raises UserError before anything is trained."""
    # Those that transfer need another classifier to transfer from.
    attacks = [kind for kind in registry.kinds() if not kind.name.endswith("ATTACK")]

    def is_attack(name: str) -> bool:
        return any(kind.match(name) for kind in attacks)

    suites = [name for name, suite in SUITES.items() if all(map(is_attack, suite.attacks))]
    known = [*(kind.name for kind in attacks), *suites]
    if not columns or not all(name in suites or is_attack(name) for name in columns):
        raise UserError(
            f"--columns={','.join(columns)} must be attacks or suites: {', '.join(known)} (N is a "
            "number of steps)"
        )


def _given(folders: list[Path]) -> Iterator[groups.Run]:
    """Runs that were made elsewhere, once all are known to fit."""
    runs = [groups.read(folder) for folder in folders]
    groups.require_one_scale(runs)
    return iter(runs)


def _trained(runs: Path, flag_values: flags.FlagValues) -> Iterator[groups.Run]:
    """Runs of this tool, each trained when it is asked for."""
    # The standard classifier first: l2l_da starts from it.
    known = sorted(methods.names(), key=lambda name: (name != "standard", name))
    chosen = flag_values.methods or known
    if unknown := [name for name in chosen if name not in known]:
        raise UserError(f"unknown methods {', '.join(unknown)}; there are {', '.join(known)}")
    for seed in flag_values.seeds:
        for method in chosen:
            run_dir, standard = (runs / f"{name}_seed{seed}" for name in (method, "standard"))
            started = experiments.initialisation(method, standard)
            if started and not standard.is_dir():
                raise UserError(f"{method} starts from {standard}; put standard first in --methods")
            if not run_dir.is_dir():
                print(f"there is no {run_dir} yet: training it", file=sys.stderr, flush=True)
            experiments.train(
                run_dir,
                [
                    *_configured(flag_values.dataset, method),
                    *shlex.split(flag_values.scale),
                    *started,
                    f"--seed={seed}",
                    *series_flags.data(flag_values),
                ],
            )
            yield groups.read(run_dir)


def _configured(dataset: str, method: str) -> list[str]:
    """The method's flag file for these data, or its own defaults where there is none."""
    file = experiments.configuration(_FILES_OF.get(dataset, dataset), method)
    if Path(file).is_file():
        return [f"--flagfile={file}"]
    return [f"--dataset={dataset}", f"--method={method}"]


def _measure(run: groups.Run, flag_values: flags.FlagValues) -> _Measured:
    """Attacks the classifier by what has no results yet."""
    split, count, columns = flag_values.split, flag_values.num_examples, flag_values.columns
    arguments = [f"--split={split}", f"--num_examples={count}", f"--checks={flag_values.checks}"]
    arguments += series_flags.data(flag_values)
    attacks = [name for name in columns if name not in SUITES]
    evaluate = functools.partial(experiments.evaluate, run.path, attacks, arguments)
    made_with = (split, f"{count}_images", series_flags.checks_in_name(flag_values))
    by_column, results = {}, []
    if attacks:
        found = evaluate(output_dir=experiments.measurement(run.path, "each", *made_with))
        by_column, results = experiments.accuracies(found), [found]
    for suite in (name for name in columns if name in SUITES):
        folder = experiments.measurement(run.path, suite, *made_with)
        found = evaluate(suite=suite, output_dir=folder)
        by_column[suite] = found["worst_case_accuracy"]
        results.append(found)
    return _Measured(
        run, [results[0]["clean_accuracy"], *(by_column[name] for name in columns)], results
    )


def _as_text(measured: list[_Measured], flag_values: flags.FlagValues) -> str:
    """The table, what its runs have alike, and how each figure was made."""
    by_run = {one.run.path: one for one in measured}
    rows, made = [], []
    for name, runs in groups.labelled(one.run for one in measured).items():
        rows.append([name, *_row([by_run[run.path] for run in runs])])
        for run in runs:
            made += provenance.lines(
                f"`{name}`, seed {run.seed}", run.path, by_run[run.path].results
            )
    titles = [_TITLES.get(name, name) for name in flag_values.columns]
    header = ["method", "seeds", "clean", *titles, "training minutes", "passes an image"]
    scale = " ".join(f"--{name}={text}" for name, text in measured[0].run.scale.items())
    images = measured[0].results[0]["num_examples"]
    return "\n\n".join(
        [
            f"Accuracies in % on {images} images of the {flag_values.split} split; all runs with "
            f"`{scale}`. {statistics.MEANING}. Minutes are of training steps, passes are runs of "
            "the classifier forward or backward that a step makes of each image.",
            experiments.table(header, rows),
            "\n".join(made),
        ]
    )


def _row(seeds: list[_Measured]) -> list[str]:
    """What stands beside a row's name."""
    images = seeds[0].results[0]["num_examples"]
    minutes = [experiments.training_minutes(one.run.path) for one in seeds]
    return [
        ", ".join(str(one.run.seed) for one in seeds),
        *(
            statistics.summarised(shares, images)
            for shares in zip(*(one.shares for one in seeds), strict=True)
        ),
        f"{sum(minutes) / len(minutes):.1f}",
        f"{_passes(seeds[0].run.configuration):g}",
    ]


def _passes(configuration: TrainingConfiguration) -> float:
    """Classifier passes of a training step: the method's settings decide, so a small network."""
    from fsgan_tf.networks import classifiers
    from fsgan_tf.training.build import build_method

    small = classifiers.declared("wide_resnet").settings(classifier_depth=10, classifier_width=1)
    training = dataclasses.replace(
        configuration.training, architecture="wide_resnet", precision="float32"
    )
    method = build_method(
        dataclasses.replace(configuration, training=training, classifier=small), 10, (16, 16, 3)
    )
    return method.forward_equivalents["classifier"]


def _flags() -> flags.FlagValues:
    values = series_flags.define(
        runs="runs/comparison",
        scale=_SCALE,
        runs_help="Folder for the runs; or finished runs made elsewhere, separated by commas.",
    )
    flags.DEFINE_string(
        "dataset", "cifar10", "Data to train on, any that the training takes.", flag_values=values
    )
    flags.DEFINE_list(
        "methods", None, "Methods to train, in order; all by default.", flag_values=values
    )
    flags.DEFINE_list(
        "columns", list(_COLUMNS), "Attacks and suites to make columns of.", flag_values=values
    )
    flags.DEFINE_enum(
        "split",
        "test",
        ["test", "validation"],
        "Images to attack: test, or held out of the training set, to choose settings on.",
        flag_values=values,
    )
    series_flags.define_checks(values)
    flags.DEFINE_integer("num_examples", 1000, "How many images to attack.", 1, flag_values=values)
    flags.DEFINE_string("table", None, "File to write the table to.", flag_values=values)
    return values


if __name__ == "__main__":
    sys.exit(runner.run(main, _flags(), description=__doc__ or ""))
