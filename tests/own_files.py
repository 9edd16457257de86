"""A user's folder of methods, networks, attacks or data sources, in the process of a test.

A process finds such a folder in PYTHONPATH when it imports the package, as the tests of `--help`
show. Here the packages are imported already, and look for it again.
"""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from fsgan_tf.attacks import registry
from fsgan_tf.settings.registry import extended_path


@contextlib.contextmanager
def on_path(folder: Path, *packages: ModuleType) -> Iterator[None]:
    """The packages find the files below a folder; afterwards they have forgotten them."""
    before = set(sys.modules)
    registry.kinds.cache_clear()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "path", [*sys.path, str(folder)])
            for package in packages:
                path = extended_path(package.__path__, package.__name__)
                assert path != list(package.__path__), f"{folder} has nothing for {package}"
                patch.setattr(package, "__path__", path)
            yield
    finally:
        registry.kinds.cache_clear()
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder)):
                del sys.modules[name]
