"""The demonstration: a standard and an FS-GAN classifier on the embedded digits, side by side.

    python tools/demo.py [--seed=0] [--runs=runs]

Trains both (`demo_standard`, `demo_fs_gan`), attacks both, exports both and prints the table. Run
again, it resumes where it stopped, and trains nothing twice.
"""

import sys
import time
from pathlib import Path

import experiments
from absl import flags

from fsgan_tf import norms
from fsgan_tf.cli import runner
from fsgan_tf.reporting import results_file

_METHODS = ("standard", "fs_gan")
_ATTACKS = {"fgsm": "FGSM", "pgd20": "PGD-20", "cw20": "C&W-20"}


def main(flag_values: flags.FlagValues, words: list[str]) -> None:
    """Trains, attacks and exports both classifiers, then prints the table and the paths."""
    del words
    start = time.monotonic()
    run_dirs = {name: Path(flag_values.runs) / f"demo_{name}" for name in _METHODS}
    for name, run_dir in run_dirs.items():
        print(f"\n== {name} ==", flush=True)
        _train(name, run_dir, flag_values.seed)
    print(f"\nAccuracy on 360 test digits, {_epsilon(run_dirs['fs_gan'])}:\n")
    print(_table(run_dirs))
    print(f"\n{'':10} SavedModel, report, checkpoints, metrics:")
    for name, run_dir in run_dirs.items():
        print(f"{name:10} {run_dir / 'saved_model'}  {run_dir / 'evaluation' / 'report.html'}")
    print("\nThese come with the package (fsgan_tf.load_pretrained), under --suite=strong:\n")
    print(_packaged())
    print(f"\nwatch:     .venv/bin/tensorboard --logdir={flag_values.runs}")
    print(f"{time.monotonic() - start:.0f} seconds")


def _train(method: str, run_dir: Path, seed: int) -> None:
    where = [f"--method={method}", f"--run_dir={run_dir}", f"--seed={seed}"]
    experiments.run_module("fsgan_tf.train", ["--flagfile=configs/digits.flags", *where])


def _results(run_dir: Path) -> dict:
    return results_file.read(run_dir / "evaluation" / "results.json")


def _epsilon(run_dir: Path) -> str:
    epsilon = _results(run_dir)["threat_model"]["epsilon"]
    return f"no pixel changed by more than {norms.radius_text('linf', epsilon)}"


def _table(run_dirs: dict[str, Path]) -> str:
    header = ["", "clean", *_ATTACKS.values(), "worst case"]
    lines = ["".join(f"{cell:>12}" for cell in header)]
    for name, run_dir in run_dirs.items():
        results = _results(run_dir)
        attacks = experiments.accuracies(results)
        shares = [results["clean_accuracy"], *(attacks[attack] for attack in _ATTACKS)]
        shares.append(results["worst_case_accuracy"])
        lines.append(f"{name:>12}" + "".join(f"{share:>12.1%}" for share in shares))
    return "\n".join(lines)


def _packaged() -> str:
    """A line for each packaged classifier, as its model card has it."""
    from fsgan_tf.runs import pretrained

    lines = []
    for name in pretrained.names():
        found = pretrained.results(name)
        lines.append(
            f"  {name}: {found['num_examples']} images of {found['dataset']}, clean "
            f"{found['clean_accuracy']:.1%}, worst case {found['worst_case_accuracy']:.1%}; "
            f"{pretrained.FOLDER / name}.md"
        )
    return "\n".join(lines)


def _flags() -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_integer("seed", 0, "Seed of both trainings.", flag_values=values)
    flags.DEFINE_string("runs", "runs", "Folder for the two runs.", flag_values=values)
    return values


if __name__ == "__main__":
    sys.exit(runner.run(main, _flags(), description=__doc__ or ""))
