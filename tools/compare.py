"""The paper's six methods, or those of --methods, at one scale: same classifier, images and epochs.

    python tools/compare.py --data_dir=FOLDER [--seeds=0,1] [--methods=standard,...]

Trains each method by its own configuration, scaled down by the same flags, and attacks every
classifier on test images, each attack on each image. l2l_da starts from the standard classifier of
its seed, as its authors' does. What is done is not done again: the same command resumes after an
interruption. Prints the table and writes it to RUNS/table.md.
"""

import shlex
import sys
from pathlib import Path

import experiments
from absl import flags

from fsgan_tf import methods
from fsgan_tf.cli import runner
from fsgan_tf.errors import UserError

_SCALE = (
    "--classifier_depth=10 --classifier_width=2 --generator_width=16 --batch_size=64 "
    "--train_examples=8000 --epochs=6 --lr_decay_epochs=4,5 --eval_examples=0"
)
_ATTACKS = {"fgsm": "FGSM", "pgd20": "PGD-20", "pgd100": "PGD-100", "cw20": "C&W-20"}
_COLUMNS = ("method", "seed", "clean", *_ATTACKS.values(), "worst case", "training minutes")
# The standard classifier first: l2l_da starts from it.
_METHODS = ("standard", "feature_scatter", "fs_gan", "pgd_at", "l2l", "l2l_da")


def main(flag_values: flags.FlagValues, words: list[str]) -> None:
    """Runs what is not there yet and prints the table after every run."""
    del words
    unknown = [name for name in flag_values.methods if name not in methods.names()]
    if unknown:
        raise UserError(f"unknown methods {unknown}; there are {', '.join(_METHODS)}")
    from fsgan_tf.files import write_atomically

    runs = Path(flag_values.runs)
    rows: list[list[str]] = []
    for seed in flag_values.seeds:
        for method in flag_values.methods:
            rows.append(_row(runs, method, seed, flag_values))
            text = experiments.table(_COLUMNS, rows)
            write_atomically(runs / "table.md", f"{text}\n".encode())
            print(f"\n{text}\n", flush=True)


def _row(runs: Path, method: str, seed: str, flag_values: flags.FlagValues) -> list[str]:
    run_dir = runs / f"{method}_seed{seed}"
    data = [f"--data_dir={flag_values.data_dir}"] if flag_values.data_dir else []
    experiments.train(
        run_dir,
        [
            f"--flagfile={experiments.configuration('cifar10', method)}",
            *shlex.split(flag_values.scale),
            *_initialisation(runs, method, seed),
            f"--seed={seed}",
            *data,
        ],
    )
    results = experiments.evaluate(
        run_dir, list(_ATTACKS), [f"--num_examples={flag_values.num_examples}", *data]
    )
    accuracies = experiments.accuracies(results)
    shares = [results["clean_accuracy"], *(accuracies[attack] for attack in _ATTACKS)]
    shares.append(results["worst_case_accuracy"])
    minutes = experiments.training_minutes(run_dir)
    return [method, seed, *(f"{share:.3f}" for share in shares), f"{minutes:.1f}"]


def _initialisation(runs: Path, method: str, seed: str) -> list[str]:
    if method != "l2l_da":
        return []
    standard = runs / f"standard_seed{seed}"
    if not standard.is_dir():
        raise UserError(f"l2l_da starts from {standard}; put standard first in --methods")
    return [f"--init_from={standard}"]


def _flags() -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_string("data_dir", None, "Folder of TFDS data with cifar10.", flag_values=values)
    flags.DEFINE_string("runs", "runs/comparison", "Folder for the runs.", flag_values=values)
    flags.DEFINE_string("scale", _SCALE, "Training flags for all methods.", flag_values=values)
    flags.DEFINE_integer(
        "num_examples", 1000, "How many test images to attack.", 1, flag_values=values
    )
    flags.DEFINE_list("seeds", ["0"], "Seeds to train with.", flag_values=values)
    flags.DEFINE_list("methods", list(_METHODS), "Methods to train, in order.", flag_values=values)
    return values


if __name__ == "__main__":
    sys.exit(runner.run(main, _flags(), description=__doc__ or ""))
