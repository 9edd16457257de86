"""Progress bars: on a terminal and in notebooks, nowhere else."""

import sys
from typing import Any

from tqdm.auto import tqdm


def progress_bar(*args: Any, shown: bool, **options: Any) -> tqdm:
    """A bar of tqdm's, in the form that a notebook shows where it runs in one.

    Args:
      *args: of tqdm.
      shown: False for a bar that never shows.
      **options: of tqdm.
    """
    # disable=None: no bar where standard error is no terminal, for which tqdm also takes a
    # notebook's.
    disable = (None if not _in_notebook() else False) if shown else True
    return tqdm(*args, disable=disable, **options)


def _in_notebook() -> bool:
    return type(sys.stderr).__module__.startswith("ipykernel")
