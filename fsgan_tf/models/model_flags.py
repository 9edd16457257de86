"""The flags that name a classifier and say what it takes and returns. Imports no TensorFlow."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from absl import flags

from fsgan_tf.errors import UserError
from fsgan_tf.models.preprocessing import CHANNEL_ORDERS, INPUT_RANGES, Preprocessing

OUTPUTS = ("logits", "probabilities")
_PREPROCESSING = ("input_range", "mean", "std", "channel_order")
_FOREIGN = ("output", "output_name", *_PREPROCESSING)
# Which flags go with which kind of classifier.
_OPTIONS: dict[str, tuple[str, ...]] = {
    "run_dir": (),
    "saved_model": ("signature", "input_name", *_FOREIGN),
    "keras_model": _FOREIGN,
    "litert_model": _FOREIGN,
}
# All that decides a classifier's answers beside its files.
OPTIONS = ("signature", "input_name", *_FOREIGN)


@dataclasses.dataclass(frozen=True)
class NamedModel:
    """A classifier that the flags name.

    Attributes:
      flag: its kind: `run_dir`, `saved_model`, `keras_model` or `litert_model`.
      path: that flag's value.
      options: keyword arguments of that kind's loader.
    """

    flag: str
    path: str
    options: dict[str, Any]


class _ShareParser(flags.FloatParser):
    def parse(self, argument: float | str) -> float:
        try:
            share = float(argument)
        except ValueError:
            share = -1.0
        if not 0 <= share <= 1:
            raise ValueError("must be a share from 0 to 1, such as 0.92")
        return share


def define(values: flags.FlagValues) -> None:
    """Defines the flags; None where one is not given."""

    def text(name: str, help_text: str) -> None:
        flags.DEFINE_string(name, None, help_text, flag_values=values)

    def choice(name: str, choices: Sequence[str], help_text: str) -> None:
        flags.DEFINE_enum(name, None, choices, help_text, flag_values=values)

    def numbers(name: str, help_text: str) -> None:
        flags.DEFINE_list(name, None, help_text, flag_values=values)
        flags.register_validator(
            name, _are_numbers, "must be numbers separated by commas", flag_values=values
        )

    text("run_dir", "Evaluate the classifier of this run.")
    text("saved_model", "Evaluate this SavedModel.")
    text("keras_model", "Evaluate this .keras, .h5 or .hdf5 file.")
    text("litert_model", "Evaluate this LiteRT (.tflite) file, by attacks that need no gradients.")
    choice(
        "input_range",
        list(INPUT_RANGES),
        "Range of the pixels that the model takes, before --mean and --std: 0,1 by default, "
        "0,255 where it takes integers. --epsilon stays on the scale of [0,1].",
    )
    numbers(
        "mean",
        "Subtract this from the pixels, in units of --input_range: one number, or one for each "
        "channel in the model's order.",
    )
    numbers(
        "std",
        "Divide the pixels by this after --mean: one number, or one for each channel in the "
        "model's order.",
    )
    choice(
        "channel_order",
        CHANNEL_ORDERS,
        "Order of the colour channels that the model takes; rgb by default.",
    )
    choice(
        "output",
        OUTPUTS,
        "What the model returns (logits by default). A final softmax or sigmoid of a Keras "
        "file is cut off; elsewhere probabilities are turned into log-probabilities and used "
        "as logits.",
    )
    text("signature", "Signature of the SavedModel; serving_default by default.")
    text(
        "input_name",
        "Input of the SavedModel that takes the images; by default its only one.",
    )
    text(
        "output_name",
        "Output of the model to take; by default the one with the name that --output says, "
        "else the only one with another name.",
    )
    flags.DEFINE_enum(
        "preprocessing",
        "checked",
        ("checked", "as_given"),
        "checked stops where another --input_range, --mean, --std or --channel_order gives a "
        "clearly better clean accuracy; as_given evaluates with those that are given.",
        flag_values=values,
    )
    flags.DEFINE(
        _ShareParser(),
        "expected_clean_accuracy",
        None,
        "Stop unless the clean accuracy is within two standard errors of this, such as 0.92.",
        values,
        flags.ArgumentSerializer(),
    )


def named_model(flag_values: flags.FlagValues) -> NamedModel:
    """The one classifier that the flags name.

    Raises:
      UserError: they name none or several, or a flag does not go with that kind of classifier.
    """
    given = [name for name in _OPTIONS if flag_values[name].value]
    if len(given) != 1:
        names = [f"--{name}" for name in _OPTIONS]
        raise UserError(
            f"name one classifier: give exactly one of {', '.join(names[:-1])} and {names[-1]}"
        )
    (flag,) = given
    options: dict[str, Any] = {name: flag_values[name].value for name in OPTIONS}
    options = {name: value for name, value in options.items() if value is not None}
    for name in options:
        if name not in _OPTIONS[flag]:
            raise UserError(f"--{name} does not go with --{flag}; leave it out")
    preprocessing = {name: options.pop(name) for name in _PREPROCESSING if name in options}
    for name in {"mean", "std"} & set(preprocessing):
        preprocessing[name] = tuple(float(number) for number in preprocessing[name])
    if preprocessing:
        options["preprocessing"] = Preprocessing(**preprocessing)
    return NamedModel(flag, str(flag_values[flag].value), options)


def _are_numbers(words: list[str] | None) -> bool:
    try:
        return all(abs(float(word)) < float("inf") for word in words or ())
    except ValueError:
        return False
