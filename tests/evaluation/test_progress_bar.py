"""Where progress shows."""

import io
import sys

import pytest

from fsgan_tf.evaluation.progress_bar import progress_bar


class _Stream(io.StringIO):
    def __init__(self, terminal: bool):
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


class _NotebookStream(_Stream):
    """As a notebook's kernel has it: no terminal."""


_NotebookStream.__module__ = "ipykernel.iostream"


@pytest.mark.parametrize(
    ("stream", "shown", "expected"),
    [
        (_Stream(terminal=True), True, True),
        (_Stream(terminal=False), True, False),
        (_NotebookStream(terminal=False), True, True),
        (_NotebookStream(terminal=False), False, False),
    ],
)
def test_on_a_terminal_and_in_a_notebook(stream, shown, expected, monkeypatch):
    monkeypatch.setattr(sys, "stderr", stream)
    with progress_bar(total=1, desc="fgsm", shown=shown) as bar:
        bar.update()
    assert bool(stream.getvalue()) == expected
    assert ("fgsm" in stream.getvalue()) == expected
