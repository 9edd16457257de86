"""Classes of settings: what is known of each field, and its value from a text."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from fsgan_tf.errors import UserError
from fsgan_tf.settings import texts

Choices = Iterable[str] | Callable[[], Iterable[str]]
S = TypeVar("S", bound="Settings")
_SETTING = "setting"
# Digits of a number that needs no fraction to be read.
_SHORT = 6
_LARGEST = 2**63 - 1  # TensorFlow's largest whole number.
_TYPES: dict[str, type] = {"bool": bool, "int": int, "float": float, "str": str, "tuple": tuple}


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is known of one setting beside its name, type and default.

    Attributes:
      help: a sentence for `--help`.
      lower: smallest value allowed.
      upper: largest value allowed.
      above: the value must be larger than this.
      choices: the values allowed, or a function that lists them.
      fraction: whether `8/255` is understood.
      ours: whether the default is this package's own choice, not the method's authors'.
      check: returns what is wrong with a value, or None.
      parse: reads a value of a text, where the type does not say how; ValueError if it cannot.
      noun: what such a text is, after "must be".
    """

    help: str
    lower: float | None = None
    upper: float | None = None
    above: float | None = None
    choices: Choices | None = None
    fraction: bool = False
    ours: bool = False
    check: Callable[[Any], str | None] | None = None
    parse: Callable[[str], Any] | None = None
    noun: str | None = None

    def allowed(self) -> tuple[str, ...]:
        """The values to choose from; none where any value of the type is allowed."""
        choices = self.choices() if callable(self.choices) else self.choices
        return tuple(choices or ())

    def fault(self, value: Any) -> str | None:
        """What is wrong with a value of the right type, after "it must be"; None if nothing is."""
        allowed = self.allowed()
        if allowed and value not in allowed:
            return f"must be one of {', '.join(allowed)}"
        if isinstance(value, tuple) and not all(_is_finite(part) for part in value):
            return "must be finite numbers"
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            if isinstance(value, int) and abs(value) > _LARGEST:
                return f"must be at most {_LARGEST}"
            if not _is_finite(value):
                return "must be a finite number"
            if self.above is not None and value <= self.above:
                limit = "" if self.upper is None else f" and at most {self.upper:g}"
                return f"must be above {self.above:g}{limit}"
            if self.lower is not None and value < self.lower:
                return f"must be at least {self.lower:g}"
            if self.upper is not None and value > self.upper:
                return f"must be at most {self.upper:g}"
        return self.check(value) if self.check else None


def setting(default: Any, help: str, **options: Any) -> Any:
    """A field of a `Settings` class.

    Args:
      default: its value where none is given; None means that something else decides.
      help: a sentence for `--help`.
      **options: the other attributes of `Setting`.
    """
    return dataclasses.field(
        default=default, metadata={_SETTING: Setting(help, **options)}, kw_only=True
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Base of all settings: checks itself when it is made."""

    def __post_init__(self) -> None:
        """Checks types and bounds.

        Raises:
          ValueError: a value is of the wrong type or outside its bounds.
        """
        for field in fields_of(type(self)):
            value = getattr(self, field.name)
            if fault := field.fault(value):
                raise ValueError(f"{field.name} is {value!r}; it {fault}")


@dataclasses.dataclass(frozen=True)
class Field:
    """One setting of a class.

    Attributes:
      name: of the attribute and of the flag.
      type: `bool`, `int`, `float`, `str` or `tuple`, of whole numbers unless `parse` says more.
      default: None where something else decides.
      setting: help and bounds.
    """

    name: str
    type: type
    default: Any
    setting: Setting

    def fault(self, value: Any) -> str | None:
        """What is wrong with a value; None if nothing is."""
        if value is None and self.default is None:
            return None
        accepted = (int, float) if self.type is float else (self.type,)
        if not isinstance(value, accepted) or (isinstance(value, bool) and self.type is not bool):
            return f"must be {self.noun}"
        return self.setting.fault(value)

    def parse(self, text: str) -> Any:
        """The value that a text stands for.

        Raises:
          ValueError: it stands for none, or for one out of bounds.
        """
        try:
            value = (self.setting.parse or texts.PARSERS[self.type])(text.strip())
        except (ValueError, ArithmeticError):
            raise ValueError(f"must be {self.noun}") from None
        if fault := self.fault(value):
            raise ValueError(fault)
        return value

    def text(self, value: Any) -> str:
        """What `parse` reads back as this value."""
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, tuple):
            return ",".join(map(str, value))
        if self.setting.fraction and len(str(value)) > _SHORT and (of_255 := round(255 * value)):
            return f"{of_255}/255" if of_255 / 255 == value else str(value)
        return str(value)

    @property
    def noun(self) -> str:
        """What the setting is, for messages and help."""
        if self.setting.allowed():
            return f"one of {', '.join(self.setting.allowed())}"
        if self.setting.noun:
            return self.setting.noun
        if self.setting.fraction:
            return "a number or a fraction such as 8/255"
        return texts.NOUNS[self.type]


def fields_of(cls: type) -> list[Field]:
    """The settings of a class, inherited ones first."""
    found = []
    for field in dataclasses.fields(cls):
        described = next(
            base.__dict__["__dataclass_fields__"][field.name].metadata[_SETTING]
            for base in cls.__mro__
            if _SETTING
            in getattr(
                base.__dict__.get("__dataclass_fields__", {}).get(field.name), "metadata", ()
            )
        )
        found.append(Field(field.name, _type_of(field.type), field.default, described))
    return found


def readers_of(groups: Mapping[str, type]) -> dict[str, list[str]]:
    """By setting, the names of the classes that declare it."""
    found: dict[str, list[str]] = {}
    for group, cls in groups.items():
        for field in fields_of(cls):
            found.setdefault(field.name, []).append(group)
    return found


def from_text(cls: type[S], given: Mapping[str, str]) -> S:
    """Settings of a class from flags' texts; names that it does not declare are left alone.

    Raises:
      UserError: a text that stands for no value, or for one out of bounds, which it names; or
        values that do not go together.
    """
    values = values_of(fields_of(cls), given)
    try:
        return cls(**values)
    except ValueError as error:
        raise UserError(str(error)) from None


def values_of(fields: Iterable[Field], given: Mapping[str, str]) -> dict[str, Any]:
    """The values that flags' texts stand for, of those fields that are given.

    Raises:
      UserError: as `from_text`.
    """
    values = {}
    for field in fields:
        if field.name in given:
            try:
                values[field.name] = field.parse(given[field.name])
            except ValueError as error:
                raise UserError(f"--{field.name}={given[field.name]}: {error}") from None
    return values


def _type_of(annotation: Any) -> type:
    """The type in `int`, `int | None`, `tuple[int, ...]`, as a type or as text."""
    if isinstance(annotation, str):
        return _TYPES[annotation.partition("|")[0].partition("[")[0].strip()]
    origin = typing.get_origin(annotation)
    if origin is None or isinstance(origin, type) and origin is not types.UnionType:
        return origin or annotation
    return next(_type_of(part) for part in typing.get_args(annotation) if part is not type(None))


def _is_finite(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)
