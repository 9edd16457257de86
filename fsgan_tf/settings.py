"""Every flag of every command, its parser and its validator. Imports no TensorFlow.

Each command gets a fresh `flags.FlagValues`, so nothing is global: `main` reads it, a method's
`from_flags` reads it, everything below takes keyword arguments.

Defaults are those of the embedded digits; `configs/*.flags` hold the paper's settings.
"""

import math
import pkgutil
import re
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

from absl import flags

SUITES = ("quick", "strong", "paper_white_box", "paper_black_box")
STRATEGIES = ("auto", "one_device", "mirrored", "multi_worker")
INPUT_RANGES = ("0,1", "0,255", "-1,1")
OUTPUTS = ("logits", "probabilities")
MAX_ROLLBACKS = 3
PRECISIONS = ("auto", "float32", "mixed_bfloat16", "mixed_float16")
_METHODS_DIR = Path(__file__).parent / "methods"

# What a flag is where it was not given: the value of the method's own authors. Sources: the files
# named at the top of each method's module. `attack_step_size` is in units of epsilon.
_COMMON_DEFAULTS: dict[str, int | float | bool | str] = {
    "classifier_learning_rate": 0.1,
    "weight_decay": 2e-4,
    # The paper's 7.8e-3 is 1/128: the 1/n of its listing may be in it. 1.0 on a mean loss then.
    "generator_learning_rate": 1.0,
    "generator_optimizer": "sgd",
    "generator_weight_decay": 1e-5,
    "generator_lr_decay": True,
    "gradient_clip_norm": 0.0,
    # FS-GAN's, in units of epsilon (--diversity_scale); the paper has 0.05, in those or in pixels.
    "diversity_weight": 0.01,
    "latent_dim": 10,
    "attack_iterations": 1,
    "attack_step_size": 1.0,
}
_METHOD_DEFAULTS: dict[str, dict[str, int | float | bool | str]] = {
    "pgd_at": {"attack_iterations": 10, "attack_step_size": 0.25},
    "l2l": {
        "generator_optimizer": "adam",
        "generator_learning_rate": 1e-3,
        "generator_weight_decay": 2e-4,
        "generator_lr_decay": False,
    },
    "l2l_da": {
        "classifier_learning_rate": 0.01,
        "weight_decay": 1e-5,
        "generator_learning_rate": 0.01,
        "generator_lr_decay": False,
        "gradient_clip_norm": 1.0,
        "diversity_weight": 0.5,
        "latent_dim": 8,
        "attack_iterations": 10,
        "attack_step_size": 0.25,
    },
}


def method_names() -> list[str]:
    """Names of the training methods: one module of `fsgan_tf.methods` each."""
    modules = (module.name for module in pkgutil.iter_modules([str(_METHODS_DIR)]))
    return sorted(name for name in modules if name != "base")


class _FractionParser(flags.ArgumentParser):
    """Parses `0.05` and `8/255` alike."""

    syntactic_help = "a number or a fraction such as 8/255"

    def parse(self, argument: str | float) -> float:
        try:
            return float(Fraction(str(argument).replace(" ", "")))
        except (ValueError, ZeroDivisionError):
            raise ValueError(f"{argument!r} is not a number or a fraction such as 8/255") from None

    def flag_type(self) -> str:
        return "fraction"


class _FractionSerializer(flags.ArgumentSerializer):
    def serialize(self, value: float) -> str:
        return repr(value)


def training_flags() -> flags.FlagValues:
    """The flags of `python -m fsgan_tf.train`."""
    values = flags.FlagValues()
    _define_data(values)
    _string(values, "run_dir", None, "Folder of this run; runs/DATASET_METHOD by default.")
    _boolean(values, "dry_run", False, "Print the resolved configuration and its cost, then stop.")
    _enum(values, "method", "fs_gan", method_names(), "Training method.")
    _integer(values, "epochs", 15, "Passes over the training set.", lower=1)
    _integer(
        values,
        "batch_size",
        64,
        "Examples a replica and step; optimal transport couples the examples of one replica.",
        lower=2,
    )
    _integer(
        values,
        "train_examples",
        None,
        "Train on the first N examples of the training set only.",
        lower=2,
    )
    _define_validation(values)
    _integer(
        values,
        "eval_examples",
        1000,
        "Test examples attacked once at the end; 0 skips the evaluation.",
        lower=0,
    )
    _enum(
        values,
        "augmentation",
        "auto",
        ("auto", "none", "crop_flip"),
        "Of training images: crop_flip pads by 4, crops and flips; auto is crop_flip for CIFAR.",
    )
    _integer(values, "classifier_depth", 10, "Wide ResNet depth, 6n+4.", lower=10)
    flags.register_validator(
        "classifier_depth",
        lambda depth: (depth - 4) % 6 == 0,
        "must be 6n+4 (10, 16, 22, 28, 34, ...): three groups of n blocks of two convolutions",
        flag_values=values,
    )
    _integer(values, "classifier_width", 1, "Wide ResNet width multiplier.", lower=1)
    _integer(values, "generator_width", 16, "Channels of the generator's first block.", lower=1)
    # A multiple of 1/255, as 8-bit images need.
    _epsilon(values, 13 / 255)
    _by_method(values, _positive, "classifier_learning_rate", "Of the classifier's SGD.")
    _by_method(values, _positive, "generator_learning_rate", "Of the generator's optimizer.")
    flags.DEFINE_list(
        "lr_decay_epochs",
        ["10", "13"],
        "Epochs (from 0) at which learning rates are multiplied by --lr_decay_factor.",
        flag_values=values,
    )
    flags.register_validator(
        "lr_decay_epochs",
        lambda epochs: all(re.fullmatch("[0-9]{1,9}", epoch.strip()) for epoch in epochs),
        "must be whole numbers separated by commas, such as 60,90",
        flag_values=values,
    )
    _float(values, "lr_decay_factor", 0.1, "See --lr_decay_epochs.", 0.0, 1.0)
    _by_method(
        values, _enum, "generator_optimizer", "The generator's optimizer.", choices=("sgd", "adam")
    )
    _by_method(
        values, _boolean, "generator_lr_decay", "Whether the generator's learning rate drops too."
    )
    _by_method(
        values, _float, "weight_decay", "Coupled L2 on every classifier parameter.", lower=0.0
    )
    _by_method(
        values, _float, "generator_weight_decay", "Coupled L2 on generator parameters.", lower=0.0
    )
    _by_method(
        values,
        _float,
        "gradient_clip_norm",
        "Largest l2 norm of each network's gradient, over all replicas; 0 for no limit.",
        lower=0.0,
    )
    _float(values, "momentum", 0.9, "Of every SGD.", 0.0, 0.999)
    _float(
        values,
        "label_smoothing",
        0.5,
        "fs_gan, feature_scatter: mass taken from the true class and shared by the others.",
        0.0,
        0.999,
    )
    _define_adversary(values)
    _positive(values, "entropic_regularization", 0.01, "Of the Sinkhorn plan.")
    _enum(
        values,
        "sinkhorn_solver",
        "reference",
        ("reference", "converged"),
        "reference stops where Feature-Scatter's code stops; converged meets both marginals.",
    )
    _define_fs_gan(values)
    _string(
        values,
        "init_from",
        None,
        "Start from the classifier of this run, of the same shape and classes; l2l_da's authors "
        "start from one trained with --method=standard.",
    )
    _integer(values, "seed", 0, "Of initialisation, data order and every random draw.", lower=0)
    _enum(
        values,
        "strategy",
        "auto",
        STRATEGIES,
        "auto: mirrored over all GPUs where there is one, one device otherwise; multi_worker: one "
        "of the workers that TF_CONFIG names (tools/launch_local.sh starts some here).",
    )
    _enum(
        values,
        "precision",
        "auto",
        PRECISIONS,
        "auto: mixed_bfloat16 where the hardware multiplies it faster than float32, else float32.",
    )
    _boolean(values, "jit_compile", False, "Compile the train step with XLA.")
    _define_deterministic(values)
    _enum(
        values,
        "on_nan",
        "stop",
        ("stop", "rollback"),
        "When a loss or a weight is NaN or infinite: stop, or go back to the last checkpoint and "
        "on from there with other random draws and another order of the data, at most "
        f"{MAX_ROLLBACKS} times from one checkpoint.",
    )
    return values


def _define_adversary(values: flags.FlagValues) -> None:
    """Flags that several methods read, each with its authors' value by default."""
    _by_method(
        values,
        _float,
        "diversity_weight",
        "fs_gan, l2l_da: lambda, the weight of the diversity loss.",
        lower=0.0,
    )
    _by_method(
        values,
        _integer,
        "latent_dim",
        "fs_gan, l2l_da: dimension of the generator's latent vector.",
        lower=1,
    )
    _by_method(
        values,
        _integer,
        "attack_iterations",
        "Steps of the training adversary; fs_gan, l2l, l2l_da: generator passes (l2l: 1 or 2).",
        lower=1,
    )
    _by_method(
        values,
        _positive,
        "attack_step_size",
        "pgd_at, feature_scatter, l2l_da: length of such a step, in units of epsilon.",
    )
    _enum(
        values,
        "adversary_mode",
        "eval",
        ("eval", "train"),
        "pgd_at: the classifier's mode while it is attacked; train as Madry's code has it, with "
        "the batch's statistics.",
    )


def _define_fs_gan(values: flags.FlagValues) -> None:
    """The open points of the paper (docs/ablation.md says how the defaults were chosen)."""
    _enum(
        values,
        "generator_update",
        "replace",
        ("replace", "accumulate", "frozen_sign"),
        "fs_gan: the perturbation is the generator's output, or that added to the start noise; "
        "frozen_sign is a control: the gradient's sign in place of a generator.",
    )
    _enum(
        values,
        "generator_architecture",
        "l2l_da",
        ("l2l_da", "ronneberger"),
        "fs_gan: L2L-DA's shallow UNet, or that of the paper's reference [27], with two 3x3 "
        "convolutions a level.",
    )
    _integer(
        values,
        "generator_levels",
        2,
        "fs_gan: times that ronneberger's UNet halves the images.",
        lower=1,
    )
    _enum(
        values,
        "latent_use",
        "modulate",
        ("concatenate", "scale", "both", "modulate"),
        "fs_gan: z joins the generator's inputs as L2L-DA has it, scales its last features by "
        "gains linear in z, or both; modulate: joins, and scales by 1 + such gains.",
    )
    _boolean(
        values,
        "generator_input_skip",
        True,
        "fs_gan: the generator's input images also join its last features.",
    )
    _float(
        values,
        "generator_gradient_skip",
        0.0,
        "fs_gan: weight of the gradient's sign added before the generator's tanh; 0 for none.",
        0.0,
    )
    _enum(
        values,
        "generator_inputs",
        "unit",
        ("unit", "literal"),
        "fs_gan: perturbation and image scaled to unit size for the generator, or in pixel units.",
    )
    _enum(
        values,
        "gradient_normalization",
        "rms",
        ("none", "rms", "channel_l2", "batch_max", "sign"),
        "fs_gan: of the gradient given to the generator; as it is, unit RMS a sample, unit l2 norm "
        "a sample and channel (L2L-DA), the batch's largest entry 1 (L2L), or its sign.",
    )
    _enum(
        values,
        "adversary_statistics",
        "batch",
        ("batch", "moving"),
        "fs_gan: what the classifier normalises by while it is attacked: each batch, as when it "
        "trains, with its moving averages left as they are, or those averages.",
    )
    _enum(
        values,
        "ot_on",
        "probabilities",
        ("logits", "centered_logits", "probabilities"),
        "fs_gan: what the optimal-transport cost compares: logits (the paper's section IV-B), "
        "those less their mean, or probabilities (its eq. 4).",
    )
    flags.DEFINE_integer(
        "classifier_latents",
        1,
        "fs_gan: the classifier trains on the images of the first latent (1), or of both (2).",
        lower_bound=1,
        upper_bound=2,
        flag_values=values,
    )
    _float(
        values,
        "classifier_ot_weight",
        1.0,
        "fs_gan: weight of the optimal-transport loss in the classifier's loss.",
        0.0,
    )
    _enum(
        values,
        "classifier_ot_branch",
        "both",
        ("both", "adversarial"),
        "fs_gan: whether that loss also pulls the clean logits.",
    )
    _enum(
        values,
        "diversity_scale",
        "epsilon",
        ("epsilon", "pixel"),
        "fs_gan: diversity is measured on the perturbation in pixel units, or over epsilon.",
    )


def evaluation_flags() -> flags.FlagValues:
    """The flags of `python -m fsgan_tf.evaluate`."""
    values = flags.FlagValues()
    _define_data(values, default=None)
    _define_validation(values, default=None)
    _string(values, "run_dir", None, "Evaluate the classifier of this run.")
    _string(values, "saved_model", None, "Evaluate this SavedModel.")
    _string(values, "keras_model", None, "Evaluate this .keras file.")
    _define_foreign_model(values)
    _enum(values, "suite", "quick", SUITES, "Attacks by suite.")
    flags.DEFINE_list(
        "attacks",
        None,
        "Attacks by name instead of --suite: fgsm; pgdN, cwN, spsaN for N steps; apgd_ce, apgd_t, "
        "fab_t, square; transfer_ before fgsm, pgdN or cwN.",
        flag_values=values,
    )
    flags.DEFINE_list(
        "source",
        [],
        "Classifiers that transfer attacks make their images against, and the checks compare with: "
        "run directories, SavedModels or .keras files. A run of --method=standard is the "
        "undefended twin.",
        flag_values=values,
    )
    _string(
        values,
        "verify_examples",
        None,
        "Also propose the images of this file of --save_examples, before every attack.",
    )
    _boolean(
        values,
        "save_examples",
        False,
        "Write the adversarial images to OUTPUT_DIR/adversarial_examples.npz.",
    )
    _integer(values, "restarts", None, "Random restarts of pgdN and cwN.", lower=1)
    _positive(values, "step_size", None, "Step of pgdN and cwN; epsilon/4 by default.")
    _boolean(
        values,
        "standalone",
        False,
        "Run every attack on every image, for accuracies to compare between papers; by default "
        "an attack sees only the images no attack before it fooled.",
    )
    _enum(
        values,
        "split",
        "test",
        ("test", "validation"),
        "Examples to attack; choose settings on validation, held out of the training set.",
    )
    _integer(values, "num_examples", None, "First N examples; all by default.", lower=1)
    _integer(values, "batch_size", 128, "Images attacked together on a device.", lower=1)
    _enum(
        values,
        "strategy",
        "auto",
        [name for name in STRATEGIES if name != "multi_worker"],
        "Devices that share the batches: auto is all GPUs, else one device; mirrored is all GPUs, "
        "or all logical CPUs.",
    )
    _string(values, "output_dir", None, "Where results go; RUN_DIR/evaluation by default.")
    _epsilon(values, None)
    _integer(values, "seed", 0, "Of random starts.", lower=0)
    _define_deterministic(values)
    return values


def _define_foreign_model(values: flags.FlagValues) -> None:
    """What a model of others takes and returns; None where the flag is not given."""
    _enum(
        values,
        "input_range",
        None,
        INPUT_RANGES,
        "Pixels that --saved_model or --keras_model takes (0,1 by default); --epsilon is in pixels "
        "of [0,1] all the same.",
    )
    _enum(
        values,
        "output",
        None,
        OUTPUTS,
        "What --saved_model or --keras_model returns (logits by default); attacks see the "
        "logarithms of probabilities.",
    )
    _string(
        values, "signature", None, "Of --saved_model, the signature; serving_default by default."
    )
    _string(
        values,
        "input_name",
        None,
        "Of --saved_model, the input that takes the images; its only one by default.",
    )
    _string(
        values,
        "output_name",
        None,
        "Of --saved_model, the output; by default the one named as --output says, else the only "
        "one of another name.",
    )


def export_flags() -> flags.FlagValues:
    """The flags of `python -m fsgan_tf.export`."""
    values = flags.FlagValues()
    _string(values, "run_dir", None, "Run whose classifier is exported.")
    _string(
        values,
        "export_dir",
        None,
        "Where the export goes; RUN_DIR/saved_model or RUN_DIR/litert by default.",
    )
    _enum(
        values,
        "format",
        "saved_model",
        ("saved_model", "litert", "litert_float16"),
        "A SavedModel, or a LiteRT (TFLite) file; litert_float16 has half the size.",
    )
    return values


def predict_flags() -> flags.FlagValues:
    """The flags of `python -m fsgan_tf.predict`."""
    values = flags.FlagValues()
    _string(values, "saved_model", None, "SavedModel that labels the images.")
    return values


def complete(values: flags.FlagValues) -> None:
    """Fills in the training flags that were not given and depend on others."""
    if values.run_dir is None:
        values.run_dir = f"runs/{Path(values.dataset).name}_{values.method}"
    for name, default in _defaults_of(values.method).items():
        if values[name].value is None:
            values[name].value = default


def departures(values: flags.FlagValues) -> list[str]:
    """What was given otherwise than a baseline's authors have it, as by another method's flag file.

    Args:
      values: the training flags, completed.

    Returns:
      A phrase for each such flag of those whose values are the method's own.
    """
    return [
        f"--{name}={values[name].value} (its authors: {authors})"
        for name, authors in _METHOD_DEFAULTS.get(values.method, {}).items()
        if values[name].value != authors
    ]


def decay_epochs(values: flags.FlagValues) -> tuple[int, ...]:
    """`--lr_decay_epochs` as sorted integers."""
    return tuple(sorted(int(epoch) for epoch in values.lr_decay_epochs))


def _defaults_of(method: str) -> dict[str, int | float | bool | str]:
    return _COMMON_DEFAULTS | _METHOD_DEFAULTS.get(method, {})


def _by_method(
    values: flags.FlagValues, define: Callable[..., None], name: str, text: str, **options: Any
) -> None:
    """Defines a flag that is None until `complete` gives it the method's value."""
    others = [
        f"{defaults[name]} for {method}"
        for method, defaults in _METHOD_DEFAULTS.items()
        if name in defaults
    ]
    by_default = ", ".join([f"{_COMMON_DEFAULTS[name]} by default", *others])
    define(values, name, default=None, text=f"{text} ({by_default})", **options)


def _define_data(values: flags.FlagValues, default: str | None = "digits") -> None:
    _string(
        values,
        "dataset",
        default,
        "digits (embedded), a TFDS name (svhn_cropped, cifar10, cifar100, ...) or a folder of "
        "class folders.",
    )
    _string(values, "data_dir", None, "Folder of TFDS data; ~/tensorflow_datasets by default.")
    _integer(
        values,
        "image_size",
        None,
        "Resize images to this height and width; 32 for folders of images by default.",
        lower=8,
    )


def _define_deterministic(values: flags.FlagValues) -> None:
    _boolean(
        values,
        "deterministic",
        False,
        "The same bits from the same seed on the same machine; docs/reliability.md says what it "
        "costs.",
    )


def _define_validation(values: flags.FlagValues, default: int | None = 1000) -> None:
    _integer(
        values,
        "validation_examples",
        default,
        "Examples held out of the training set to watch it; at most a tenth of it is taken.",
        lower=1,
    )


def _epsilon(values: flags.FlagValues, default: float | None) -> None:
    _fraction(values, "epsilon", default, "Radius of the l_inf ball, in pixels of [0,1]: 8/255.")
    flags.register_validator(
        "epsilon",
        lambda epsilon: epsilon is None or 0 < epsilon <= 1,
        "must be above 0 and at most 1 (pixels lie in [0,1]), such as 8/255",
        flag_values=values,
    )


def _positive(values: flags.FlagValues, name: str, default: float | None, text: str) -> None:
    _fraction(values, name, default, text)
    flags.register_validator(
        name,
        lambda value: value is None or (0 < value < math.inf),
        "must be above 0",
        flag_values=values,
    )


def _fraction(values: flags.FlagValues, name: str, default: float | None, text: str) -> None:
    flags.DEFINE(_FractionParser(), name, default, text, values, _FractionSerializer())


def _string(values: flags.FlagValues, name: str, default: str | None, text: str) -> None:
    flags.DEFINE_string(name, default, text, flag_values=values)


def _boolean(values: flags.FlagValues, name: str, default: bool | None, text: str) -> None:
    flags.DEFINE_boolean(name, default, text, flag_values=values)


def _enum(
    values: flags.FlagValues, name: str, default: str | None, choices: Iterable[str], text: str
) -> None:
    flags.DEFINE_enum(name, default, list(choices), text, flag_values=values)


def _integer(
    values: flags.FlagValues, name: str, default: int | None, text: str, lower: int
) -> None:
    flags.DEFINE_integer(name, default, text, lower_bound=lower, flag_values=values)


def _float(
    values: flags.FlagValues,
    name: str,
    default: float | None,
    text: str,
    lower: float,
    upper: float | None = None,
) -> None:
    flags.DEFINE_float(name, default, text, lower, upper, flag_values=values)
