"""Finds attacks by name. Listing them imports no TensorFlow; making one imports its file."""

import dataclasses
import functools
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fsgan_tf.attacks.suites import SUITES
from fsgan_tf.errors import UserError
from fsgan_tf.settings import Field, fields_of
from fsgan_tf.settings.registry import Registry

if TYPE_CHECKING:
    from fsgan_tf.attacks.parts.attack import Attack
    from fsgan_tf.attacks.parts.source import TransferSource

_FILES = Registry("fsgan_tf.attacks")
# What the end of a NAME stands for, as a pattern of regular expressions.
_NUMBER, _OTHER = "([1-9][0-9]{0,4})", "(.+)"


@dataclasses.dataclass(frozen=True)
class Kind:
    """What the file of an attack declares.

    Attributes:
      module: the file's name, as a module.
      name: such as `fgsm`, `pgdN` or `transfer_ATTACK`.
      help: a phrase.
      access: what it asks of the classifier.
      settings: its `Settings` class.
      norms: in which it attacks.
    """

    module: str
    name: str
    help: str
    access: str
    settings: type
    norms: tuple[str, ...] = ("linf",)

    @property
    def fields(self) -> tuple[Field, ...]:
        """Its settings."""
        return tuple(fields_of(self.settings))

    def match(self, name: str) -> re.Match[str] | None:
        """Whether a name is one of this kind, and what its end is."""
        for end, pattern in (("ATTACK", _OTHER), ("N", _NUMBER)):
            if self.name.endswith(end):
                return re.fullmatch(re.escape(self.name.removesuffix(end)) + pattern, name)
        return re.fullmatch(re.escape(self.name), name)


@functools.cache
def kinds() -> tuple[Kind, ...]:
    """Every kind of attack there is, by name."""
    found = []
    for module in _FILES.names():
        declared = _FILES.declared(module)
        constants = declared.constants
        if "NAME" in constants:
            name, text, access = (constants[key] for key in ("NAME", "HELP", "ACCESS"))
            known = constants.get("NORMS", ("linf",))
            found.append(Kind(module, name, text, access, declared.settings, known))
    return tuple(sorted(found, key=lambda kind: kind.name))


def options() -> dict[str, tuple[Field, list[str]]]:
    """Every setting of an attack by name, and which kinds have it."""
    found: dict[str, tuple[Field, list[str]]] = {}
    for kind in kinds():
        for field in kind.fields:
            found.setdefault(field.name, (field, []))[1].append(kind.name)
    return found


def read_by(name: str) -> tuple[Field, ...]:
    """The settings that an attack reads; of a transferred one also those of what is transferred.

    Args:
      name: such as `pgd20` or `transfer_cw20`.

    Raises:
      UserError: the name is unknown.
    """
    kind, end = _kind(name)
    inner = read_by(end) if end and kind.name.endswith("ATTACK") else ()
    return (*kind.fields, *inner)


def described() -> str:
    """A phrase on each kind of attack, for `--help`."""
    return "; ".join(f"{kind.name}: {kind.help}" for kind in kinds())


def suite(
    name: str,
    epsilon: float,
    *,
    norm: str = "linf",
    sources: Sequence["TransferSource"] = (),
    **given: Any,
) -> list["Attack"]:
    """The attacks of a suite.

    Args:
      name: one of `SUITES`.
      epsilon: radius of the ball, in the norm's unit.
      norm: one of `norms.NAMES`.
      sources: classifiers to transfer from.
      **given: see `by_names`; the suite's own by default.

    Returns:
      The attacks.

    Raises:
      UserError: the name is unknown, a setting does not fit, sources are missing, or an attack does
        not know the norm.
    """
    if name not in SUITES:
        raise UserError(f"unknown suite {name!r}; there are {', '.join(SUITES)}")
    chosen = SUITES[name]
    given = {**chosen.settings, **_not_none(given)}
    return by_names(chosen.attacks, epsilon, norm=norm, sources=sources, **given)


def by_names(
    names: Sequence[str],
    epsilon: float,
    *,
    norm: str = "linf",
    sources: Sequence["TransferSource"] = (),
    **given: Any,
) -> list["Attack"]:
    """Attacks by their names; each once.

    Args:
      names: such as `fgsm`, `pgd20` or `transfer_cw20`, which is one attack from each source.
      epsilon: radius of the ball, in the norm's unit.
      norm: one of `norms.NAMES`.
      sources: classifiers to transfer from.
      **given: settings for those of the attacks that have them, such as `restarts`; None for the
        attack's own.

    Returns:
      The attacks.

    Raises:
      UserError: a name is unknown, a setting does not fit, sources are missing, or an attack does
        not know the norm.
    """
    if not names:
        raise UserError(f"no attack is named; there are {_known()}")
    given = _not_none(given)
    unique = dict.fromkeys(name.strip() for name in names)
    wanted = functools.partial(_made, epsilon=epsilon, norm=norm, sources=sources, given=given)
    attacks = [attack for name in unique for attack in wanted(name)]
    read = {field.name for name in unique for field in read_by(name)}
    for name in given.keys() - read:
        having = options()[name][1] if name in options() else []
        raise UserError(
            f"none of the attacks {', '.join(unique)} reads --{name}; "
            + (f"{', '.join(having)} do" if having else "no attack does")
        )
    return attacks


def _not_none(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value is not None}


def _kind(name: str) -> tuple[Kind, str | None]:
    """The kind of an attack and the end of its name."""
    for kind in kinds():
        if match := kind.match(name):
            return kind, match.group(1) if match.groups() else None
    raise UserError(f"unknown attack {name!r}; there are {_known()}")


def _made(
    name: str, epsilon: float, norm: str, sources: Sequence["TransferSource"], given: dict[str, Any]
) -> list["Attack"]:
    from fsgan_tf.attacks.parts.attack import Wanted

    kind, end = _kind(name)
    if norm not in kind.norms:
        able = ", ".join(kind.name for kind in kinds() if norm in kind.norms)
        raise UserError(
            f"{name} attacks in {', '.join(kind.norms)} alone, not in {norm}; those that do are "
            f"{able}"
        )
    inner: list[Attack] = []
    if end and kind.name.endswith("ATTACK"):
        inner = _made(end, epsilon, norm, sources, given)
    own = {field.name: given[field.name] for field in kind.fields if field.name in given}
    try:
        chosen = kind.settings(**own)
    except ValueError as error:
        raise UserError(str(error)) from None
    num_steps = int(end) if end and kind.name.endswith("N") else 0
    wanted = Wanted(name, epsilon, num_steps, tuple(inner), tuple(sources), norm)
    return _FILES.module(kind.module).make(wanted, chosen)


def _known() -> str:
    return f"{', '.join(kind.name for kind in kinds())} (N is a number of steps, at most 99999)"
