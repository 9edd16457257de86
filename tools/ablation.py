"""Ablation of FS-GAN's open points on CIFAR-10, judged on the validation slice alone.

Each variant differs in what its name says from `fs_gan`, the setting of configs/cifar10.flags at a
scale for two cores. `frozen_sign` is the control, the gradient's sign in the generator's place, and
is in every comparison, whichever variants are named. `letter` is the paper's listing, with the
classifier and the batch of the scale; those named after Feature-Scatter are that method.

    python tools/ablation.py --data_dir=FOLDER [--seeds=0,1] [--variants=fs_gan,frozen_sign,...]

Trains each variant with each seed (a finished one is not trained again), attacks its classifier
with PGD-20 and C&W-20 on the validation slice, and prints a table of what docs/ablation.md
measures.
"""

import shlex
import sys
from pathlib import Path

import experiments
from absl import flags
from experiments import series_flags, statistics

from fsgan_tf.cli import runner
from fsgan_tf.errors import UserError

_SCALE = (
    "--classifier_depth=10 --classifier_width=2 --generator_width=16 --batch_size=64 "
    "--train_examples=8000 --epochs=6 --lr_decay_epochs=4,5 --validation_examples=2000"
)
_CONTROL = "frozen_sign"
_SGD = ("--generator_optimizer=sgd", "--generator_learning_rate=1")
_VARIANTS: dict[str, tuple[str, ...]] = {
    "fs_gan": (),
    "frozen_sign": ("--generator_update=frozen_sign",),
    "frozen_sign_1": ("--generator_update=frozen_sign", "--attack_iterations=1"),
    "feature_scatter": ("--method=feature_scatter",),
    "feature_scatter_15_epochs": (
        "--method=feature_scatter",
        "--epochs=15",
        "--lr_decay_epochs=10,13",
    ),
    # Word for word: inputs and gradient as they are, the listing's rate on the mean loss.
    "letter": (
        "--generator_inputs=literal",
        "--gradient_normalization=none",
        "--generator_optimizer=sgd",
        "--generator_learning_rate=7.8e-3",
        "--attack_iterations=1",
        "--generator_architecture=ronneberger",
        "--latent_use=concatenate",
        "--nogenerator_input_skip",
        "--diversity_weight=0.05",
        "--diversity_scale=pixel",
    ),
    # The listing's 1/n in the rate, and inputs scaled: nearest to it of those that learn.
    "listing_at_rate_1": (
        *_SGD,
        "--attack_iterations=1",
        "--latent_use=concatenate",
        "--nogenerator_input_skip",
        "--diversity_weight=0.05",
        "--diversity_scale=pixel",
    ),
    "moving_statistics": ("--adversary_statistics=moving",),
    "logits": ("--ot_on=logits",),
    "logits_0.1": ("--ot_on=logits", "--classifier_ot_weight=0.1"),
    "centered_logits": ("--ot_on=centered_logits",),
    "ot_0": ("--classifier_ot_weight=0",),
    "ot_0.1": ("--classifier_ot_weight=0.1",),
    "ot_adversarial_branch": ("--classifier_ot_branch=adversarial",),
    "accumulate": ("--generator_update=accumulate",),
    "skip_0.5": ("--generator_gradient_skip=0.5",),
    "skip_2": ("--generator_gradient_skip=2",),
    "rate_7.8e-3": ("--generator_optimizer=sgd", "--generator_learning_rate=7.8e-3"),
    "rate_1": _SGD,
    "literal_inputs": ("--generator_inputs=literal",),
    "gradient_as_it_is": ("--gradient_normalization=none",),
    "gradient_sign": ("--gradient_normalization=sign",),
    "gradient_channel_l2": ("--gradient_normalization=channel_l2",),
    "ronneberger": ("--generator_architecture=ronneberger",),
    "wide": ("--generator_width=32",),
    "latents_concatenated": ("--latent_use=concatenate",),
    "latents_scale": ("--latent_use=scale",),
    "no_input_skip": ("--nogenerator_input_skip",),
    "one_latent": ("--classifier_latents=1",),
    "two_latents": ("--classifier_latents=2",),
    "one_iteration": ("--attack_iterations=1",),
    "three_iterations": ("--attack_iterations=3",),
    "no_diversity": ("--diversity_weight=0",),
    "diversity_0.005": ("--diversity_scale=epsilon", "--diversity_weight=0.005"),
    "diversity_0.02": ("--diversity_scale=epsilon", "--diversity_weight=0.02"),
    "diversity_0.05": ("--diversity_scale=epsilon", "--diversity_weight=0.05"),
    # The classifier starts from one trained without defence, as L2L-DA's does.
    "standard": ("--method=standard",),
    "from_standard": ("--init_from={runs}/standard_seed{seed}",),
}
_COLUMNS = (
    "variant",
    "seed",
    "clean",
    "PGD-20",
    "C&W-20",
    "moved",
    "generator OT",
    "sign OT",
    "diversity share",
    "latent share",
    "mean abs δ / ε",
    "logits' offset",
    "minutes",
)


def main(flag_values: flags.FlagValues, words: list[str]) -> None:
    """Runs what is not there yet and prints the table."""
    del words
    unknown = [name for name in flag_values.variants if name not in _VARIANTS]
    if unknown:
        raise UserError(f"unknown variants {unknown}; there are {', '.join(_VARIANTS)}")
    variants = list(dict.fromkeys([_CONTROL, *flag_values.variants]))
    rows = [_row(variant, seed, flag_values) for seed in flag_values.seeds for variant in variants]
    print(experiments.table(_COLUMNS, rows))


def _row(variant: str, seed: str, flag_values: flags.FlagValues) -> list[str]:
    """Trains and attacks what is not there yet."""
    from fsgan_tf.runs.directory import RunDirectory

    runs = Path(flag_values.runs)
    run_dir = runs / f"{variant}_seed{seed}"
    data = series_flags.data(flag_values)
    scale = [f"--flagfile={experiments.configuration('cifar10', 'fs_gan')}"]
    scale += [*shlex.split(flag_values.scale), "--eval_examples=0"]
    settings = [flag.format(runs=runs, seed=seed) for flag in _VARIANTS[variant]]
    experiments.train(run_dir, [*scale, *settings, f"--seed={seed}", *data])
    results = experiments.evaluate(
        run_dir,
        ["pgd20", "cw20"],
        ["--split=validation", *data],
        output_dir=experiments.measurement(run_dir, "validation"),
    )
    accuracies = experiments.accuracies(results)
    shares = [results["clean_accuracy"], accuracies["pgd20"], accuracies["cw20"]]
    last = RunDirectory(run_dir).metrics.read()[-1]
    return [
        variant,
        seed,
        *(statistics.summarised([share], results["num_examples"]) for share in shares),
        *(
            f"{last[name]:.{digits}f}" if name in last else ""
            for name, digits in (
                ("generator_displacement", 3),
                ("validation_generator_ot", 4),
                ("validation_replaced_sign_ot", 4),
                ("diversity_share", 3),
                ("validation_latent_share", 3),
                ("validation_perturbation_size", 2),
                ("validation_logit_offset", 2),
            )
        ),
        f"{experiments.training_minutes(run_dir):.1f}",
    ]


def _flags() -> flags.FlagValues:
    values = series_flags.define(runs="runs/ablation", scale=_SCALE, data="data with cifar10")
    flags.DEFINE_list(
        "variants", list(_VARIANTS), "Variants to train, in order.", flag_values=values
    )
    return values


if __name__ == "__main__":
    sys.exit(runner.run(main, _flags(), description=__doc__ or ""))
