"""How a command ends where nobody reads its output."""

import subprocess
import sys

COMMAND = """
import sys
from absl import flags
from fsgan_tf.cli import runner
sys.exit(runner.run(lambda values, words: print(100_000 * "x"), flags.FlagValues(), description=""))
"""


def _code(*arguments: str) -> tuple[int, bytes]:
    command = [sys.executable, "-c", COMMAND, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        told = process.stderr.read()
    return process.returncode, told


def test_work_that_nobody_reads_to_its_end_is_told_from_success():
    assert _code() == (141, b"")


def test_help_may_be_read_in_part():
    assert _code("--help") == (0, b"")
