"""Packages whose files are choices of the user, such as the training methods.

A package's `__init__.py` extends its `__path__` by `extended_path`, so that files of users join it.
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from fsgan_tf.settings.declarations import Declaration, declared_in


@dataclasses.dataclass(frozen=True)
class Registry:
    """The files of a package, each known by its name without `.py`.

    Attributes:
      package: its full name.
    """

    package: str

    def names(self) -> list[str]:
        """Names of the files; packages inside are left out."""
        return list(_files_of(self.package))

    def declared(self, name: str) -> Declaration:
        """What a file declares, without importing it: its settings, summary and constants."""
        return declared_in(_files_of(self.package)[name])

    def module(self, name: str) -> ModuleType:
        """A file, imported."""
        return importlib.import_module(f"{self.package}.{name}")


def extended_path(path: Iterable[str], package: str) -> list[str]:
    """A package's folders, and folders of users beside them.

    With FOLDER in PYTHONPATH, FOLDER/fsgan_tf/methods/mine.py is the module fsgan_tf.methods.mine.
    Folders with an `__init__.py` are other copies of the package and stay out.

    Args:
      path: the package's `__path__`.
      package: its full name.
    """
    folders = [Path(entry, *package.split(".")) for entry in sys.path]
    others = [str(f) for f in folders if f.is_dir() and not (f / "__init__.py").exists()]
    return list(dict.fromkeys([*path, *others]))


def _files_of(package: str) -> dict[str, Path]:
    """The modules of a package by name, without importing them."""
    found: dict[str, Path] = {}
    for path in importlib.import_module(package).__path__:
        for module in pkgutil.iter_modules([path]):
            if not module.ispkg:
                found.setdefault(module.name, Path(path) / f"{module.name}.py")
    return dict(sorted(found.items()))
