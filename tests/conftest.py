"""Two logical CPUs, quick graphs, deadlines, what a run leaves out, and fixtures tests share."""

import collections
import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Two processes of tests share two cores; more threads in each wait for one another.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")

import pytest

from tests import authors_code

if TYPE_CHECKING:
    import tensorflow as tf

# XLA takes seconds to optimise what fast tests run for milliseconds.
QUICK_XLA = (
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    " --xla_cpu_use_fusion_emitters=false"
)
# Seconds; the deadline of the others is in pyproject.toml.
SLOW_DEADLINE = 1800

# Handed out first, so that no process is left with one of them at the end.
LONG_FILES = (
    "methods/test_contract.py",
    "cli/test_train.py",
    "attacks/test_contract.py",
    "methods/test_averaging.py",
    "training/test_replicas.py",
    "tools/test_kill_training.py",
    "tools/test_compare.py",
    "tools/test_paper_tables.py",
    "tools/test_figures.py",
    "methods/test_fs_gan.py",
    "methods/test_l2l_da.py",
    "evaluation/test_checks.py",
    "methods/test_finite_gradients.py",
    "methods/test_keras_use.py",
)


def pytest_configure(config: pytest.Config) -> None:
    """Starts TensorFlow where tests run; the process that hands them out to others runs none."""
    quick = "not slow" in config.option.markexpr
    if quick:
        os.environ.setdefault("XLA_FLAGS", QUICK_XLA)
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        return
    gc.disable()
    import tensorflow as tf

    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
    )
    if quick:
        # Optimising takes longer than most tests' graphs run.
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    # What is imported stays, and tracing makes hundreds of thousands of objects: by default a tenth
    # of the time goes into collections.
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    gc.enable()
    config.pluginmanager.import_plugin("tests.classifier_fixtures")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts long files first, and gives slow tests their own deadline."""
    tests = Path(__file__).parent
    ranks = {tests / name: rank for rank, name in enumerate(LONG_FILES)}
    items.sort(key=lambda item: ranks.get(item.path, len(ranks)))
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
def mirrored_strategy() -> "tf.distribute.Strategy":
    """Two replicas; one for all tests, since a second default one can abort the process."""
    from fsgan_tf.devices import make_strategy

    strategy = make_strategy("mirrored")
    assert strategy.num_replicas_in_sync == 2
    return strategy


@pytest.fixture(scope="module", autouse=True)
def _collect_once() -> Iterator[None]:
    """Collects a file's garbage, then sets aside what is left.

    Traces are kept as long as the process: without this, a collection late in the suite, such as a
    LiteRT conversion asks for, walks through all of them and takes up to a minute.
    """
    yield
    gc.collect()
    gc.freeze()
