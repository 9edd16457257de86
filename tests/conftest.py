"""Two logical CPUs, quiet logs, deadlines, what a run leaves out, and fixtures many tests share."""

import collections
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pytest
import tensorflow as tf

from tests import authors_code

pytest_plugins = ["tests.classifier_fixtures"]

# Seconds; the deadline of the others is in pyproject.toml.
SLOW_DEADLINE = 1800

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Gives slow tests their own deadline."""
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.timeout(SLOW_DEADLINE))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says at the end what this run did not test, so that nobody takes it for tested."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = collections.Counter(str(report.longrepr[2]) for report in skipped)
    lines = [f"{count} skipped: {reason}" for reason, count in sorted(reasons.items())]
    for authors, missing in authors_code.MISSING.items():
        if missing:
            lines.append(f"no comparison with the code of {authors}'s authors: needs {missing}")
        elif "not slow" in terminalreporter.config.option.markexpr:
            lines.append(f"no comparison with the code of {authors}'s authors: run with -m slow")
    if lines:
        terminalreporter.section("not tested in this run")
        for line in lines:
            terminalreporter.line(line.replace("Skipped: ", ""))


@pytest.fixture(scope="session")
def mirrored_strategy() -> tf.distribute.Strategy:
    """Two replicas; one for all tests, since a second default one can abort the process."""
    from fsgan_tf.devices import make_strategy

    strategy = make_strategy("mirrored")
    assert strategy.num_replicas_in_sync == 2
    return strategy
