"""Typed settings that stand beside what they configure. Imports no TensorFlow.

A training method, an architecture or an attack is one file, and its settings are a frozen
dataclass `Settings` in that file:

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Settings(settings.Settings):
        num_steps: int = setting(10, "Steps of the adversary.", lower=1)

Everything else is made from it: the constructor's keyword arguments, the flags of the command and
their help, what a run directory records. A subclass changes an inherited default by a plain
assignment, `num_steps: int = 7`; bounds and help stay.

`fields` has these classes, `texts` reads values of texts, `registry` finds the files of a package
and `declarations` reads the settings in one without importing it, since that imports TensorFlow.
"""

from fsgan_tf.settings.fields import (
    Field,
    Setting,
    Settings,
    fields_of,
    from_text,
    readers_of,
    setting,
    values_of,
)
from fsgan_tf.settings.texts import parse_names, parse_numbers

__all__ = [
    "Field",
    "Setting",
    "Settings",
    "fields_of",
    "from_text",
    "parse_names",
    "parse_numbers",
    "readers_of",
    "setting",
    "values_of",
]
