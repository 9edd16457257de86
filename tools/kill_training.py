"""Kills a training at random moments and proves that it ends as one never killed.

    python tools/kill_training.py [--kills=20] [--seed=0] [--training_flags="--epochs=4 ..."]

A reference run is trained, exported and evaluated without interruption. Then the same command runs
in other directories: it is killed (SIGKILL) at a random moment and started again, until it ends;
and again from the start, until the asked number of kills has fallen. Each directory that ends is
compared with the reference: every array of the checkpoints, metrics.jsonl, the points that
TensorBoard reads, the exported variables and results.json are the same bits, but for times, rates
and the directory's name.

Every other moment is drawn uniformly over the time of a whole run; the rest wait, in turn, for what
files show of a phase, short ones among them. Where the process was is told by its stack, which
faulthandler writes on SIGUSR1 just before: the training itself knows nothing of this tool.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import experiments
import numpy as np
from absl import flags

from fsgan_tf.cli import quiet, runner
from fsgan_tf.errors import RunError

TINY = (
    "--dataset=digits --method=standard --train_examples=256 --batch_size=16 --epochs=4 "
    "--eval_examples=32 --precision=float32"
)
# Functions that tell a phase, as MODULE.FUNCTION, the innermost first.
_PHASES = {
    "checkpoints.save": "checkpoint",
    "tensorboard_log.write": "TensorBoard",
    "metrics.append": "metrics",
    "robust_accuracy.measure": "validation",
    "diagnoses.measure": "validation",
    "saving.save_classifier": "export",
    "run_and_diagnose.measure": "evaluation",
    "finish.finish": "after training",
    "loop.train": "training",
}
_RUN = """
import faulthandler, runpy, signal, sys
stack = open(sys.argv[1], "w")
faulthandler.register(signal.SIGUSR1, file=stack, all_threads=False)
print("ready", file=stack, flush=True)
sys.argv = ["fsgan_tf.train", *sys.argv[2:]]
runpy.run_module("fsgan_tf.train", run_name="__main__")
"""
# Differ between any two runs.
_RATE = "images_per_second"
_OF_ONE_RUN = ("model", "command", "seconds", "checks_seconds", "versions", "date", "machine")


@dataclasses.dataclass(frozen=True)
class Moment:
    """When to kill.

    Attributes:
      begun: of (run directory, time of the process's start), whether what is waited for is there.
      delay: seconds from there on.
    """

    begun: Callable[[Path, float], bool]
    delay: float


@dataclasses.dataclass(frozen=True)
class Kill:
    """One that fell: `seconds` after the process's start, in `phase`."""

    seconds: float
    phase: str


def main(flag_values: flags.FlagValues, words: list[str]) -> None:
    """Trains the reference, kills, compares and prints a table of where the kills fell."""
    del words
    quiet.start_tensorflow()
    runs = Path(flag_values.runs)
    arguments = [*shlex.split(flag_values.training_flags), "--deterministic"]
    reference = runs / "reference"
    start = time.monotonic()
    train(reference, arguments)
    whole = time.monotonic() - start
    print(f"reference: {whole:.1f} s", flush=True)
    when = moments(random.Random(flag_values.seed), whole)
    kills: list[Kill] = []
    for number in itertools.count():
        if len(kills) >= flag_values.kills:
            break
        run_dir = runs / f"killed_{number}"
        fallen = kill_until_done(run_dir, arguments, when, flag_values.kills - len(kills))
        kills += fallen
        wrong = differences(reference, run_dir)
        if wrong:
            raise RunError(f"{run_dir} differs from {reference}: {'; '.join(wrong)}")
        told = ", ".join(f"{kill.phase} at {kill.seconds:.1f} s" for kill in fallen)
        print(f"{run_dir}: equal after {len(fallen)} kills: {told}", flush=True)
    counts = Counter(kill.phase for kill in kills).most_common()
    print(experiments.table(("killed in", "times"), [(phase, str(n)) for phase, n in counts]))


def train(run_dir: Path, arguments: list[str]) -> None:
    """Trains without interruption, in a process of its own.

    Raises:
      RunError: it failed.
    """
    shutil.rmtree(run_dir, ignore_errors=True)
    experiments.run_module("fsgan_tf.train", [*arguments, f"--run_dir={run_dir}"])


def moments(draws: random.Random, whole: float) -> Iterator[Moment]:
    """Endless moments for a run of `whole` seconds."""
    awaited = (
        (_in_checkpoint_write, 0.0),
        (_in_training, 0.5 * whole),
        (_in_export, 0.05 * whole),
        (_in_event_write, 0.0),
        (_in_evaluation, 0.1 * whole),
    )
    for begun, delay in itertools.cycle(awaited):
        yield Moment(lambda run_dir, start: True, draws.uniform(0, whole))
        yield Moment(begun, draws.uniform(0, delay))


def kill_until_done(
    run_dir: Path, arguments: list[str], when: Iterator[Moment], limit: int
) -> list[Kill]:
    """Trains into a new directory, killed and started again until it is done.

    Args:
      run_dir: the run directory.
      arguments: training flags, without `--run_dir`.
      when: the moments.
      limit: kills at most.

    Returns:
      The kills that fell; a training that ends before its moment ends the run.

    Raises:
      RunError: the training failed by itself.
    """
    shutil.rmtree(run_dir, ignore_errors=True)
    kills: list[Kill] = []
    while len(kills) < limit:
        kill = _kill_at(next(when), run_dir, arguments)
        if kill is None:
            return kills
        kills.append(kill)
    experiments.run_module("fsgan_tf.train", [*arguments, f"--run_dir={run_dir}"])
    return kills


def differences(reference: Path, run_dir: Path) -> list[str]:
    """What differs between two finished runs beside times, rates and names.

    Args:
      reference: a run directory.
      run_dir: another one.

    Returns:
      One line for each part that differs.
    """
    parts: dict[str, Callable[[Path], Any]] = {
        "checkpoints": _checkpoints,
        "metrics.jsonl": _metrics,
        "TensorBoard": _points,
        "the export": _exported,
        "results.json": _results,
    }
    return [name for name, read in parts.items() if read(reference) != read(run_dir)]


def _kill_at(moment: Moment, run_dir: Path, arguments: list[str]) -> Kill | None:
    """None where the training ended before the moment came."""
    run_dir.parent.mkdir(parents=True, exist_ok=True)
    stack, log = (run_dir.with_name(f"{run_dir.name}_{name}.txt") for name in ("stack", "log"))
    stack.unlink(missing_ok=True)
    command = [sys.executable, "-c", _RUN, str(stack), *arguments, f"--run_dir={run_dir}"]
    start, wall_start, begun = time.monotonic(), time.time(), None
    with log.open("a") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    while process.poll() is None:
        if begun is None and moment.begun(run_dir, wall_start):
            begun = time.monotonic()
        if begun is not None and time.monotonic() - begun >= moment.delay:
            phase, seconds = _phase(process, stack), time.monotonic() - start
            process.kill()
            # A stack that is written at an awkward moment can end a process too.
            if process.wait() in (-signal.SIGKILL, -signal.SIGSEGV):
                return Kill(seconds, phase)
        time.sleep(0.001)
    if process.returncode:
        raise RunError(f"the training ended with exit code {process.returncode}; see {log}")
    return None


def _phase(process: subprocess.Popen, stack: Path) -> str:
    """Where the process is; it writes its stack at once, whatever it does."""
    if not stack.exists() or not stack.stat().st_size:
        return "start"
    process.send_signal(signal.SIGUSR1)
    deadline = time.monotonic() + 0.1
    while not stack.read_text().endswith(" in <module>\n") and time.monotonic() < deadline:
        time.sleep(0.0002)
    frames = re.findall(r"(\w+)\.py\", line \d+ in (\w+)$", stack.read_text(), re.MULTILINE)
    functions = [f"{module}.{function}" for module, function in frames]
    return next((_PHASES[name] for name in functions if name in _PHASES), "start")


def _in_checkpoint_write(run_dir: Path, start: float) -> bool:
    del start
    return any((run_dir / "checkpoints").glob(".epoch_*.tmp"))


def _in_training(run_dir: Path, start: float) -> bool:
    """Since the flags' event file of this process."""
    files = (run_dir / "tensorboard").glob("*.flags")
    return any(file.stat().st_mtime > start for file in files)


def _in_event_write(run_dir: Path, start: float) -> bool:
    """Between an epoch's row and its event file."""
    del start
    metrics = run_dir / "metrics.jsonl"
    rows = metrics.read_text().count("\n") if metrics.exists() else 0
    return rows > len(list((run_dir / "tensorboard").glob("*.epoch")))


def _in_export(run_dir: Path, start: float) -> bool:
    del start
    return (run_dir / ".saved_model.tmp").exists()


def _in_evaluation(run_dir: Path, start: float) -> bool:
    del start
    done = (run_dir / "evaluation" / "results.json").exists()
    return (run_dir / "saved_model").exists() and not done


def _checkpoints(run_dir: Path) -> dict[str, dict[str, bytes]]:
    found = {}
    for file in sorted((run_dir / "checkpoints").glob("*.npz")):
        with np.load(file) as arrays:
            found[file.name] = {name: arrays[name].tobytes() for name in arrays.files}
    return found


def _metrics(run_dir: Path) -> list[dict[str, Any]]:
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != _RATE} for line in lines]


def _points(run_dir: Path) -> dict[str, list[tuple[int, bytes]]]:
    """What TensorBoard's own reader makes of the event files."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run_dir / "tensorboard"), size_guidance={"tensors": 0}).Reload()
    return {
        tag: [(e.step, e.tensor_proto.SerializeToString()) for e in events.Tensors(tag)]
        for tag in events.Tags()["tensors"]
        if tag != _RATE
    }


def _exported(run_dir: Path) -> bytes:
    return (run_dir / "saved_model" / "variables" / "variables.data-00000-of-00001").read_bytes()


def _results(run_dir: Path) -> Any:
    return _without_names(json.loads((run_dir / "evaluation" / "results.json").read_text()))


def _without_names(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_names(v) for k, v in value.items() if k not in _OF_ONE_RUN}
    return [_without_names(one) for one in value] if isinstance(value, list) else value


def _flags() -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_integer("kills", 20, "How many kills, over all runs.", 1, flag_values=values)
    flags.DEFINE_integer("seed", 0, "Seed of the moments of the kills.", flag_values=values)
    flags.DEFINE_string("training_flags", TINY, "Flags of the training.", flag_values=values)
    flags.DEFINE_string("runs", "runs/kill_training", "Folder for the runs.", flag_values=values)
    return values


if __name__ == "__main__":
    sys.exit(runner.run(main, _flags(), description=__doc__ or ""))
