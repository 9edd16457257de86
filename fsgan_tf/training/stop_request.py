"""Ctrl-C and SIGTERM: a training stops after the step in progress, so that nothing is lost."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Any


class StopRequest:
    """Ctrl-C or SIGTERM: ends what runs at once or, in a training, after the step in progress.

    A second signal ends the process at once.

    Attributes:
      requested: whether there was one.
      after_step: whether a signal waits for the step's end; at first it does not.
    """

    def __init__(self) -> None:
        self.requested = False
        self.after_step = False
        self._previous: dict[int, Any] = {}

    def end_of_steps(self) -> None:
        """From here on a signal stops at once; one that came after the last step does now."""
        self.after_step = False
        if self.requested:
            raise KeyboardInterrupt

    def __enter__(self) -> StopRequest:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.getsignal(number)
        self.take_signals()
        return self

    def take_signals(self) -> None:
        """Once more after TensorFlow has met other workers: it takes SIGTERM for itself then."""
        for number in self._previous:
            signal.signal(number, self._request)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _request(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self.requested or not self.after_step:
            raise KeyboardInterrupt
        self.requested = True
        print("\nstopping after this step; a second signal stops at once", file=sys.stderr)
