"""Comparisons with the authors' own code, which a machine has where its owner put it."""

import importlib.util
import os

import pytest

AUTO_ATTACK = os.environ.get("AUTO_ATTACK_REFERENCE")
A3 = os.environ.get("A3_REFERENCE")
PMA = os.environ.get("PMA_REFERENCE")
FEATURE_SCATTER = os.environ.get("FEATURE_SCATTER_REFERENCE")
HAS_TORCH = importlib.util.find_spec("torch") is not None


def _missing(variable: str, folder: str | None) -> str:
    """What a comparison lacks, or nothing."""
    lacking = [] if HAS_TORCH else ["PyTorch (requirements-peers.txt)"]
    if folder is None:
        lacking.append(f"a clone of their code in {variable}")
    return " and ".join(lacking)


MISSING = {
    "AutoAttack": _missing("AUTO_ATTACK_REFERENCE", AUTO_ATTACK),
    "A3": _missing("A3_REFERENCE", A3),
    "PMA": _missing("PMA_REFERENCE", PMA),
    "Feature-Scatter": _missing("FEATURE_SCATTER_REFERENCE", FEATURE_SCATTER),
}


def needs(authors: str) -> pytest.MarkDecorator:
    """Skips a test where the code of these authors, or PyTorch for it, is not there."""
    return pytest.mark.skipif(bool(MISSING[authors]), reason=f"needs {MISSING[authors]}")
