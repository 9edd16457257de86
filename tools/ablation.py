"""Ablation of FS-GAN's open points on CIFAR-10, judged on the validation slice alone.

Most variants differ in one point from `accumulate`, a generator's perturbation added to the start
noise, as Feature-Scatter adds its sign step; `letter` is the paper's listing; those named after
Feature-Scatter are that method, at the same number of epochs and at the wall time of FS-GAN.

    python tools/ablation.py --data_dir=FOLDER [--seeds=0,1] [--variants=accumulate,letter,...]

Trains each variant with each seed (a finished one is not trained again), attacks its classifier
with PGD-20 and C&W-20 on the validation slice, and prints the table of docs/ablation.md.
"""

import sys
from pathlib import Path

import experiments
from absl import flags

from fsgan_tf.cli import runner
from fsgan_tf.errors import UserError

_SCALE = (
    "--flagfile=configs/cifar10.flags",
    "--classifier_depth=10",
    "--classifier_width=2",
    "--generator_width=16",
    "--batch_size=64",
    "--train_examples=8000",
    "--epochs=6",
    "--lr_decay_epochs=4,5",
    "--validation_examples=2000",
    "--eval_examples=0",
    "--generator_update=accumulate",
    "--classifier_ot_weight=0",
)
# As the configurations have it.
_CHOSEN = ("--generator_update=replace", "--classifier_ot_weight=0.1")
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
    "replace_ot_0.1": _CHOSEN,
    "replace_ot_0.1_adversarial": (*_CHOSEN, "--classifier_ot_branch=adversarial"),
    "wide": (*_CHOSEN, "--generator_width=32"),
    "two_updates": (*_CHOSEN, "--attack_iterations=2"),
    "diversity_1": (*_CHOSEN, "--diversity_weight=1"),
    "fast_generator": (*_CHOSEN, "--generator_learning_rate=0.078"),
    "both_latents": (*_CHOSEN, "--classifier_latents=2"),
    # The classifier starts from one trained without defence, as L2L-DA's does.
    "standard": ("--method=standard",),
    "from_standard": (*_CHOSEN, "--init_from={runs}/standard_seed{seed}"),
    # Twice the epochs, and Feature-Scatter at about the wall time of these.
    "long": (*_CHOSEN, "--epochs=12", "--lr_decay_epochs=8,10"),
    "feature_scatter_20_epochs": (
        "--method=feature_scatter",
        "--epochs=20",
        "--lr_decay_epochs=14,18",
    ),
    "replace_adam": (
        "--generator_update=replace",
        "--generator_optimizer=adam",
        "--generator_learning_rate=1e-3",
    ),
    # A generator that stays the sign step, but replaces the start noise.
    "replace_sign_step": (
        "--generator_update=replace",
        "--generator_gradient_skip=100",
        "--generator_learning_rate=1e-12",
    ),
    "feature_scatter": ("--method=feature_scatter",),
    "feature_scatter_10_epochs": (
        "--method=feature_scatter",
        "--epochs=10",
        "--lr_decay_epochs=7,9",
    ),
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
    "minutes",
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
            rows.append(_row(Path(flag_values.runs), variant, seed, flag_values.data_dir))
    print(experiments.table(_COLUMNS, rows))


def _row(runs: Path, variant: str, seed: str, data_dir: str | None) -> list[str]:
    """Trains and attacks what is not there yet."""
    from fsgan_tf.runs.directory import RunDirectory

    run_dir = runs / f"{variant}_seed{seed}"
    data = [f"--data_dir={data_dir}"] if data_dir else []
    settings = [flag.format(runs=runs, seed=seed) for flag in _VARIANTS[variant]]
    experiments.train(run_dir, [*_SCALE, *settings, f"--seed={seed}", *data])
    results = experiments.evaluate(run_dir, ["pgd20", "cw20"], ["--split=validation", *data])
    accuracies = experiments.accuracies(results)
    last = RunDirectory(run_dir).metrics.read()[-1]
    return [
        variant,
        seed,
        f"{results['clean_accuracy']:.3f}",
        f"{accuracies['pgd20']:.3f}",
        f"{accuracies['cw20']:.3f}",
        *(
            f"{last[name]:.{digits}f}" if name in last else ""
            for name, digits in (
                ("validation_sign_step_ot", 4),
                ("validation_generator_ot", 4),
                ("validation_perturbation_size", 2),
                ("validation_diversity", 5),
            )
        ),
        f"{experiments.training_minutes(run_dir):.1f}",
    ]


def _flags() -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_string("data_dir", None, "Folder of TFDS data with cifar10.", flag_values=values)
    flags.DEFINE_string("runs", "runs/ablation", "Folder of the runs.", flag_values=values)
    flags.DEFINE_list("seeds", ["0"], "Seeds.", flag_values=values)
    flags.DEFINE_list("variants", list(_VARIANTS), "Variants, in order.", flag_values=values)
    return values


if __name__ == "__main__":
    sys.exit(runner.run(main, _flags(), description=__doc__ or ""))
