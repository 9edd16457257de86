"""Ablation of FS-GAN's open points on CIFAR-10, judged on the validation slice alone.

Each variant differs in one point from `accumulate`, a generator's perturbation added to the start
noise, as Feature-Scatter adds its sign step; `letter` is the paper's listing.

    python tools/ablation.py --data_dir=FOLDER [--seeds=0,1] [--variants=accumulate,letter,...]

Trains each variant with each seed (a finished one is not trained again), attacks its classifier
with PGD-20 and C&W-20 on the validation slice, and prints the table of docs/ablation.md.
"""

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from absl import flags

from fsgan_tf import cli
from fsgan_tf.errors import RunError, UserError
from fsgan_tf.run_dir import RunDirectory

_SCALE = (
    "--flagfile=configs/cifar10.flags",
    "--classifier_depth=10",
    "--classifier_width=2",
    "--generator_width=16",
    "--batch_size=64",
    "--train_examples=8000",
    "--epochs=6",
    "--lr_decay_epochs=4,5",
    "--eval_examples=0",
    "--generator_update=accumulate",
    "--classifier_ot_weight=0",
)
_VARIANTS: dict[str, tuple[str, ...]] = {
    "accumulate": (),
    "letter": (
        "--generator_inputs=literal",
        "--gradient_normalization=channel_l2",
        "--generator_gradient_skip=0",
        "--generator_update=replace",
        "--classifier_ot_weight=1",
    ),
    # tanh(100) = 1 and a generator that stays as it is: Feature-Scatter's sign step.
    "sign_step": ("--generator_gradient_skip=100", "--generator_learning_rate=1e-12"),
    "no_skip": ("--generator_gradient_skip=0",),
    "no_skip_adam": (
        "--generator_gradient_skip=0",
        "--generator_optimizer=adam",
        "--generator_learning_rate=1e-3",
    ),
    "replace": ("--generator_update=replace",),
    "replace_ot_0.1": ("--generator_update=replace", "--classifier_ot_weight=0.1"),
    "ot_0.1": ("--classifier_ot_weight=0.1",),
    "ot_1": ("--classifier_ot_weight=1",),
    "ot_1_adversarial": ("--classifier_ot_weight=1", "--classifier_ot_branch=adversarial"),
    "adam": ("--generator_optimizer=adam", "--generator_learning_rate=1e-3"),
    "diversity_epsilon": ("--diversity_scale=epsilon",),
    "channel_l2": ("--gradient_normalization=channel_l2",),
    "batch_max": ("--gradient_normalization=batch_max",),
    "literal_inputs": ("--generator_inputs=literal",),
}
_COLUMNS = (
    "variant",
    "seed",
    "clean",
    "PGD-20",
    "C&W-20",
    "sign OT",
    "generator OT",
    "mean abs δ / ε",
    "r",
)


def main(flag_values: flags.FlagValues, words: list[str]) -> None:
    """Runs what is not there yet and prints the table."""
    del words
    unknown = [name for name in flag_values.variants if name not in _VARIANTS]
    if unknown:
        raise UserError(f"unknown variants {unknown}; there are {', '.join(_VARIANTS)}")
    rows = []
    for seed in flag_values.seeds:
        for variant in flag_values.variants:
            run_dir = Path(flag_values.runs) / f"{variant}_seed{seed}"
            _run(run_dir, variant, seed, flag_values.data_dir)
            rows.append(_row(run_dir, variant, seed))
            print(_line(rows[-1]), flush=True)
    table = [_line(_COLUMNS), _line(["---"] * len(_COLUMNS)), *map(_line, rows)]
    print("\n".join(table))


def _run(run_dir: Path, variant: str, seed: str, data_dir: str | None) -> None:
    if (run_dir / "evaluation" / "results.json").exists():
        return
    data = [f"--data_dir={data_dir}"] if data_dir else []
    where = [f"--run_dir={run_dir}", *data]
    _python("fsgan_tf.train", *_SCALE, *_VARIANTS[variant], f"--seed={seed}", *where)
    _python(
        "fsgan_tf.evaluate", "--split=validation", "--attacks=pgd20,cw20", "--standalone", *where
    )


def _python(module: str, *arguments: str) -> None:
    code = subprocess.run([sys.executable, "-m", module, *arguments], check=False).returncode
    if code:
        raise RunError(f"{module} {' '.join(arguments)} ended with exit code {code}")


def _row(run_dir: Path, variant: str, seed: str) -> list[str]:
    results = json.loads((run_dir / "evaluation" / "results.json").read_text())
    accuracies = {attack["name"]: attack["accuracy"] for attack in results["attacks"]}
    last = RunDirectory(run_dir).read_metrics()[-1]
    return [
        variant,
        seed,
        f"{results['clean_accuracy']:.3f}",
        f"{accuracies['pgd20']:.3f}",
        f"{accuracies['cw20']:.3f}",
        f"{last['validation_sign_step_ot']:.4f}",
        f"{last['validation_generator_ot']:.4f}",
        f"{last['validation_perturbation_size']:.2f}",
        f"{last['validation_diversity']:.5f}",
    ]


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _flags() -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_string("data_dir", None, "Folder of TFDS data with cifar10.", flag_values=values)
    flags.DEFINE_string("runs", "runs/ablation", "Folder of the runs.", flag_values=values)
    flags.DEFINE_list("seeds", ["0"], "Seeds.", flag_values=values)
    flags.DEFINE_list("variants", list(_VARIANTS), "Variants, in order.", flag_values=values)
    return values


if __name__ == "__main__":
    sys.exit(cli.run(main, _flags(), description=__doc__ or ""))
