"""Series of runs without their processes."""

import experiments
import pytest

from fsgan_tf import evaluate, train
from tests.commands import call

COMMANDS = {command.__name__: command for command in (train, evaluate)}


@pytest.fixture
def processes(monkeypatch):
    """Runs what would be processes in this one; their modules and flags."""
    started = []

    def run_module(module, arguments):
        started.append((module, *arguments))
        assert call(COMMANDS[module], *arguments) == 0

    monkeypatch.setattr(experiments, "run_module", run_module)
    return started
