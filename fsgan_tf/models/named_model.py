"""The one classifier that a command's settings name. Imports no TensorFlow."""

import dataclasses
from typing import Any

from fsgan_tf.errors import UserError
from fsgan_tf.models.preprocessing import Preprocessing
from fsgan_tf.models.settings import ModelSettings

_PREPROCESSING = ("input_range", "mean", "std", "channel_order")
_FOREIGN = ("output", "output_name", *_PREPROCESSING)
# Which settings go with which kind of classifier.
_OPTIONS: dict[str, tuple[str, ...]] = {
    "run_dir": (),
    "saved_model": ("signature", *_FOREIGN),
    "keras_model": _FOREIGN,
    "litert_model": _FOREIGN,
    "pretrained": (),
}
# All that decides a classifier's answers beside its files.
OPTIONS = ("signature", *_FOREIGN)


@dataclasses.dataclass(frozen=True)
class NamedModel:
    """A classifier that settings name.

    Attributes:
      flag: its kind: `run_dir`, `saved_model`, `keras_model`, `litert_model` or
        `pretrained`.
      path: that setting's value.
      options: keyword arguments of that kind's loader.
    """

    flag: str
    path: str
    options: dict[str, Any]


def named_model(asked: ModelSettings) -> NamedModel:
    """The one classifier that the settings name.

    Raises:
      UserError: they name none or several, or one does not go with that kind of classifier.
    """
    given = [name for name in _OPTIONS if getattr(asked, name)]
    if len(given) != 1:
        names = [f"--{name}" for name in _OPTIONS]
        raise UserError(
            f"name one classifier: give exactly one of {', '.join(names[:-1])} and {names[-1]}"
        )
    (flag,) = given
    options: dict[str, Any] = {name: getattr(asked, name) for name in OPTIONS}
    options = {name: value for name, value in options.items() if value is not None}
    for name in options:
        if name not in _OPTIONS[flag]:
            raise UserError(f"--{name} does not go with --{flag}; leave it out")
    preprocessing = {name: options.pop(name) for name in _PREPROCESSING if name in options}
    if preprocessing:
        options["preprocessing"] = Preprocessing(**preprocessing)
    return NamedModel(flag, getattr(asked, flag), options)
