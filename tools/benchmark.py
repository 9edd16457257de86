"""How fast training and attacks run here, beside other code and beside what the machine can do.

    python tools/benchmark.py train [--data_dir=FOLDER --feature_scatter=FOLDER]
    python tools/benchmark.py attack --run_dir=RUN [--data_dir=FOLDER]
    python tools/benchmark.py all ...

Prints Markdown tables and writes them, with every timing, to RESULTS/benchmark.json. What is
compared takes turns within every round (A B A B), so that other work on the machine meets all of
it alike; a figure is the median of the rounds. Arithmetic is counted (`--dry_run`'s), and only what
the algorithm needs; the peak is that of a matrix product of the same precision, timed in every
round. Peers come from requirements-peers.txt, and the authors' code of Feature-Scatter from
--feature_scatter; one that is missing is a line in the table.
"""

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path

import experiments
from absl import flags
from benchmarks import attacks, training
from benchmarks.timing import Section

from fsgan_tf import methods
from fsgan_tf.cli import quiet, runner
from fsgan_tf.errors import UserError

_WORDS = ("train", "attack", "all")


def main(flag_values: flags.FlagValues, words: list[str]) -> None:
    """Times what the words name, prints the tables as they come and writes the JSON."""
    if len(words) != 1 or words[0] not in _WORDS:
        raise UserError(f"say what to time: python tools/benchmark.py {'|'.join(_WORDS)}")
    sections = [*_training_sections(flag_values)] if words[0] != "attack" else []
    if words[0] != "train":
        sections += _attack_sections(flag_values)
    quiet.start_tensorflow()
    from fsgan_tf.files import make_folder, write_atomically

    results = Path(flag_values.results)
    make_folder(results, "results")
    done: list[Section] = []
    for section in sections:
        done.append(section())
        print(f"\n## {done[-1].title}\n\n{_text(done[-1])}", flush=True)
        content = json.dumps([dataclasses.asdict(section) for section in done], indent=2)
        write_atomically(results / "benchmark.json", content.encode())


def _training_sections(values: flags.FlagValues) -> list[Callable[[], Section]]:
    asked = values.methods
    unknown = [name for name in asked if name not in methods.names()]
    if unknown:
        raise UserError(f"unknown methods {unknown}; there are {methods.names()}")
    scale, rounds = values.training_flags, values.rounds
    steps = training.parse(asked, scale)
    available: dict[str, Callable[[], Section]] = {
        "steps": lambda: training.steps(steps, rounds),
        "peer": lambda: training.peer(values.feature_scatter, scale, rounds),
        "epoch": lambda: training.epoch(
            values.epoch_methods, scale, values.data_dir, Path(values.results)
        ),
        "start": lambda: training.start(values.data_dir, Path(values.results)),
        "growth": lambda: training.growth(asked, scale, rounds),
        "deterministic": lambda: training.deterministic(asked, scale, rounds),
    }
    return _chosen(available, values.training_parts, "training_parts")


def _attack_sections(values: flags.FlagValues) -> list[Callable[[], Section]]:
    if values.run_dir is None:
        raise UserError("--run_dir is missing: name a trained run to attack")
    task = attacks.Task(
        values.run_dir,
        values.data_dir,
        values.num_examples,
        values.steps,
        values.restarts,
        values.rounds,
    )
    available: dict[str, Callable[[], Section]] = {
        "pgd": lambda: attacks.pgd(task),
        "strong": lambda: attacks.strong(task),
        "growth": lambda: attacks.growth(task),
    }
    return _chosen(available, values.attack_parts, "attack_parts")


def _chosen(
    available: dict[str, Callable[[], Section]], names: list[str], flag: str
) -> list[Callable[[], Section]]:
    unknown = [name for name in names if name not in available]
    if unknown:
        raise UserError(f"--{flag} knows {', '.join(available)}, not {', '.join(unknown)}")
    return [available[name] for name in names]


def _text(section: Section) -> str:
    table = experiments.table(section.columns, section.rows)
    return "\n\n".join([table, *section.notes])


def _flags() -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_list(
        "methods", methods.names(), "Training methods to time, in order.", flag_values=values
    )
    flags.DEFINE_string(
        "training_flags",
        "--classifier_depth=10 --classifier_width=2 --generator_width=16 --batch_size=64 "
        "--epsilon=8/255",
        "Training flags for all methods.",
        flag_values=values,
    )
    flags.DEFINE_list(
        "training_parts",
        ["steps", "peer", "epoch", "start", "growth", "deterministic"],
        "Parts of train: steps (of every method), peer (Feature-Scatter's authors' code), epoch "
        "(of the whole command), start (to the first step of WRN-28-10), growth, deterministic "
        "(what --deterministic costs).",
        flag_values=values,
    )
    flags.DEFINE_list(
        "epoch_methods",
        ["feature_scatter", "fs_gan"],
        "Methods whose epochs are timed.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "feature_scatter", None, "Checkout of Haichao-Zhang/FeatureScatter.", flag_values=values
    )
    flags.DEFINE_list(
        "attack_parts",
        ["pgd", "strong", "growth"],
        "Parts of attack: pgd (restarts, beside other libraries), strong (AutoAttack's), growth.",
        flag_values=values,
    )
    flags.DEFINE_string("run_dir", None, "Trained run to attack.", flag_values=values)
    flags.DEFINE_string("data_dir", None, "Folder of TFDS data with cifar10.", flag_values=values)
    flags.DEFINE_integer(
        "num_examples", 256, "How many test images to attack.", 1, flag_values=values
    )
    flags.DEFINE_integer("steps", 100, "Steps of PGD.", 1, flag_values=values)
    flags.DEFINE_integer("restarts", 10, "Restarts of PGD.", 1, flag_values=values)
    flags.DEFINE_integer("rounds", 5, "How often each is timed.", 1, flag_values=values)
    flags.DEFINE_string("results", "runs/benchmark", "Folder for the results.", flag_values=values)
    return values


if __name__ == "__main__":
    sys.exit(runner.run(main, _flags(), description=__doc__ or "", takes_words=True))
