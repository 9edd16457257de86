"""The flags of evaluation, export and prediction. Imports no TensorFlow.

Each command gets a fresh `flags.FlagValues`, so nothing is global: `main` reads it, everything
below takes keyword arguments. The flags of training are made from its settings: `training_flags`.
"""

import math
import re
from collections.abc import Iterable
from fractions import Fraction

from absl import flags

from fsgan_tf.attacks import registry as attacks
from fsgan_tf.attacks.suites import SUITES
from fsgan_tf.cli import flag_files
from fsgan_tf.data import registry
from fsgan_tf.data.settings import MIN_SIDE
from fsgan_tf.models import model_flags

STRATEGIES = ("auto", "one_device", "mirrored")


class _WholeNumberParser(flags.IntegerParser):
    """Says what a whole number is where absl repeats Python's words."""

    def convert(self, argument: int | str) -> int:
        try:
            return super().convert(argument)
        except ValueError:
            raise ValueError("must be a whole number") from None


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


class _SizeParser(flags.ArgumentParser):
    """Parses `32` and `64,96` to height and width."""

    syntactic_help = "a side such as 32, or a height and a width such as 64,96"

    def parse(self, argument: str | int | tuple[int, int]) -> tuple[int, int]:
        if isinstance(argument, tuple):
            return argument
        sides = [side.strip() for side in str(argument).split(",")]
        if len(sides) > 2 or not all(re.fullmatch("[0-9]{1,9}", side) for side in sides):
            raise ValueError(f"{argument!r} is not {self.syntactic_help}")
        if min(map(int, sides)) < MIN_SIDE:
            raise ValueError(f"sides must be at least {MIN_SIDE}, not {argument}")
        return int(sides[0]), int(sides[-1])

    def flag_type(self) -> str:
        return "size"


class _SizeSerializer(flags.ArgumentSerializer):
    def serialize(self, value: tuple[int, int]) -> str:
        return str(value[0]) if value[0] == value[1] else f"{value[0]},{value[1]}"


def evaluation_flags() -> flags.FlagValues:
    """The flags of `python -m fsgan_tf.evaluate`."""
    values = flag_files.FlagValues()
    _define_data(values, default=None)
    _define_validation(values, default=None)
    model_flags.define(values)
    _enum(values, "suite", "quick", SUITES, "Which list of attacks to run.")
    _enum(
        values,
        "format",
        None,
        ("robustbench",),
        "Also write robustbench.json, an entry in RobustBench's form.",
    )
    _enum(
        values,
        "fail_on",
        None,
        ("fail", "warn"),
        "End with exit code 3 where a check fails (fail), or where the verdict is not "
        "`trustworthy`, which takes the strong suite (warn). The results are written all the same.",
    )
    flags.DEFINE_list(
        "attacks",
        None,
        f"Attacks by name instead of --suite, with a number for N: {attacks.described()}.",
        flag_values=values,
    )
    flags.DEFINE_list(
        "source",
        [],
        "Classifiers that transfer attacks make their images against, and that the checks "
        "compare with: run directories, SavedModels or .keras files. A run of "
        "--method=standard serves the checks as the undefended classifier.",
        flag_values=values,
    )
    _string(
        values,
        "verify_examples",
        None,
        "Before any attack, try the images of this file, which --save_examples wrote.",
    )
    _boolean(
        values,
        "save_examples",
        False,
        "Write the adversarial images to OUTPUT_DIR/adversarial_examples.npz.",
    )
    for name, (field, having) in attacks.options().items():
        define = flags.DEFINE_boolean if field.type is bool else flags.DEFINE_string
        define(name, None, f"{field.setting.help} ({', '.join(having)})", flag_values=values)
    _boolean(
        values,
        "standalone",
        False,
        "Run every attack on every image, for accuracies that can be compared between papers; "
        "by default an attack sees only the images that no attack before it fooled.",
    )
    _string(
        values,
        "split",
        None,
        "Examples to attack: test, validation (held out of the training set, to choose "
        "settings on), train, all, or a part as TFDS writes it, train[80%:]. By default the "
        "test split or, in a data set without one, every image that the classifier was not "
        "trained on.",
    )
    _integer(
        values,
        "num_examples",
        None,
        "Evaluate on the first N examples; on all by default.",
        lower=1,
    )
    _integer(values, "batch_size", 128, "Images attacked together on a device.", lower=1)
    _enum(
        values,
        "strategy",
        "auto",
        STRATEGIES,
        "Devices that share the batches. auto: all GPUs, or one device where there is none; "
        "mirrored: all GPUs, or all logical CPUs where there is none.",
    )
    _boolean(
        values,
        "dry_run",
        False,
        "Say how many images and passes, and how long it would take here, then stop.",
    )
    _string(values, "output_dir", None, "Where results go; RUN_DIR/evaluation by default.")
    _epsilon(values, None)
    _integer(values, "seed", 0, "Seed of the random starts.", lower=0)
    _define_deterministic(values)
    return values


def export_flags() -> flags.FlagValues:
    """The flags of `python -m fsgan_tf.export`."""
    values = flag_files.FlagValues()
    _string(values, "run_dir", None, "Export the classifier of this run.")
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
    values = flag_files.FlagValues()
    _string(values, "saved_model", None, "Label the images with this SavedModel.")
    _string(values, "run_dir", None, "Label the images with the newest classifier of this run.")
    _integer(values, "top", 1, "Print the K most probable classes of an image.", lower=1)
    _boolean(values, "json", False, "Print one JSON object a line instead of text.")
    return values


def _define_data(values: flags.FlagValues, default: str | None) -> None:
    _string(
        values,
        "dataset",
        default,
        "digits (embedded), a TFDS name (svhn_cropped, cifar10, cifar100, ...) or a folder of "
        "class folders.",
    )
    for name, field in registry.all_own_fields().items():
        _string(values, name, None, field.setting.help)
    flags.DEFINE(
        _SizeParser(),
        "image_size",
        None,
        "Resize images to this height and width (32), or to a height and a width (64,96); 32 for "
        "folders of images by default.",
        values,
        _SizeSerializer(),
    )
    _integer(
        values,
        "channels",
        None,
        "Channels of the images in a folder: 1 for grey, 3 for colour (the default).",
        lower=1,
    )
    flags.register_validator(
        "channels",
        lambda channels: channels in (None, 1, 3),
        "must be 1 (grey) or 3 (colour)",
        flag_values=values,
    )
    _string(
        values,
        "class_names",
        None,
        "File with one class name a line, in the order of the labels; it may name classes that "
        "the data do not have.",
    )
    _positive(
        values,
        "memory_limit",
        None,
        "Memory that training images may take, in GiB; where they need more, they are read "
        "from disk as they are used. Half of the free memory by default.",
    )


def _define_deterministic(values: flags.FlagValues) -> None:
    _boolean(
        values,
        "deterministic",
        False,
        "Compute the same bits from the same seed on the same machine; docs/reliability.md "
        "says what this covers and costs.",
    )


def _define_validation(values: flags.FlagValues, default: int | None) -> None:
    _integer(
        values,
        "validation_examples",
        default,
        "Examples held out of the training set to watch the training, at most a tenth of it.",
        lower=1,
    )


def _epsilon(values: flags.FlagValues, default: float | None) -> None:
    _fraction(
        values,
        "epsilon",
        default,
        "Largest change of a pixel, on the scale of [0,1], such as 8/255: the radius of the "
        "l_inf ball.",
    )
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
    written: flags.ArgumentSerializer = flags.ArgumentSerializer()
    flags.DEFINE(_WholeNumberParser(lower), name, default, text, values, written)
