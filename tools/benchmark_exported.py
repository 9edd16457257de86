"""How fast the training steps run on an accelerator whose machine has JAX and no TensorFlow.

    python tools/benchmark_exported.py export FOLDER [--methods=... --training_flags=...]
    python tools/benchmark_exported.py run FOLDER ... [--feature_scatter=FOLDER]

`export` needs TensorFlow and no accelerator: it writes to FOLDER/METHOD_PRECISION the XLA program
that `--jit_compile=true` makes of a method's whole step. `run` needs JAX and NumPy (with
PYTHONPATH=. where this package is not installed): it compiles these programs for JAX's first
device and times them in turn with a matrix product of the same precision, the peak; Feature-
Scatter's authors' PyTorch code too where --feature_scatter names it. Arithmetic is counted, and
only what the algorithm needs. With --reference_steps, `export` also takes that many steps, and
`run` says how far its losses are from those. What TensorFlow itself adds to a step (launching it,
feeding data) is not in these figures.
"""

import dataclasses
import functools
import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import experiments
import numpy as np
from absl import flags
from benchmarks import exported_step, timing
from benchmarks.authors_step import authors_step
from benchmarks.exported_step import Description, ExportedStep
from benchmarks.timing import Section, Timed

from fsgan_tf import methods
from fsgan_tf.cli import quiet, runner
from fsgan_tf.errors import UserError
from fsgan_tf.runs.configuration import TrainingConfiguration

_CLASSES, _IMAGE_SHAPE = 10, (32, 32, 3)
# Steps are launched without waiting for each other, as a training launches them.
_STEPS = 10
_GIB = 2**30
# Bytes, ample for a thread that compiles: XLA's passes recurse.
_STACK = 2**28
_COLUMNS = (
    "code",
    "method",
    "precision",
    "classifier, batch",
    "images/s",
    "TFLOP/s",
    "of the peak",
    "GiB",
    "seconds to compile",
)


def main(flag_values: flags.FlagValues, words: list[str]) -> None:
    """Exports the steps or runs them."""
    if words[:1] == ["export"] and len(words) == 2:
        _export(flag_values, Path(words[1]))
    elif words[:1] == ["run"] and len(words) > 1:
        _run(flag_values, [Path(word) for word in words[1:]])
    else:
        raise UserError("say what to do: python tools/benchmark_exported.py export|run FOLDER")


def _export(values: flags.FlagValues, folder: Path) -> None:
    quiet.start_tensorflow()
    from benchmarks import training

    for precision in values.precisions:
        text = f"{values.training_flags} --precision={precision} --jit_compile=true"
        for name, one in training.parse(values.methods, text).items():
            _export_one(one, folder / f"{name}_{precision}", values)
            print(f"written: {folder / f'{name}_{precision}'}", flush=True)


def _export_one(
    training_flags: "TrainingConfiguration", folder: Path, values: flags.FlagValues
) -> None:
    import keras
    import tensorflow as tf

    from fsgan_tf.training.build import build_method

    tf.config.experimental.enable_tensor_float_32_execution(values.tensor_float_32)
    keras.utils.set_random_seed(training_flags.training.seed)
    method = build_method(training_flags, _CLASSES, _IMAGE_SHAPE)
    exported_step.export(method, training_flags, values.reference_steps, folder)


def _run(values: flags.FlagValues, folders: list[Path]) -> None:
    found = [found for folder in folders for found in sorted(folder.glob("*/step.json"))]
    if not found:
        raise UserError(f"no exported step in {', '.join(map(str, folders))}")
    try:
        import jax
    except ImportError:
        raise UserError(
            "JAX is not installed: https://docs.jax.dev says how, for your device"
        ) from None
    steps = [ExportedStep(path.parent) for path in found]
    threading.stack_size(_STACK)
    with ThreadPoolExecutor(values.threads) as pool:
        list(pool.map(lambda step: step.program.compile(), steps))
    print(f"device: {jax.devices()[0].device_kind}, JAX {jax.__version__}", flush=True)
    sections = []
    compared = [step for step in steps if step.description.losses]
    parts = [functools.partial(_agreement, compared)] if compared else []
    for part in (*parts, functools.partial(_speed, steps, values)):
        section = part()
        table = experiments.table(section.columns, section.rows)
        print("\n\n".join([f"\n## {section.title}", table, *section.notes]), flush=True)
        sections.append(dataclasses.asdict(section))
    if values.results:
        Path(values.results).write_text(json.dumps(sections, indent=2))


def _speed(steps: list[ExportedStep], values: flags.FlagValues) -> Section:
    """Each step, in turn with the peak of its precision; then the authors' code."""
    rows, timings = [], {}
    for step in steps:
        one = step.description
        step.reset()
        timed = Timed(functools.partial(_run_steps, step), _STEPS * one.batch_size)
        row, rates = _against_peak("ours", one, timed, values)
        step.free()
        rows.append([*row, f"{step.program.bytes / _GIB:.1f}", f"{step.program.seconds:.0f}"])
        timings[" ".join(row[:4])] = rates
        print(" ".join(rows[-1]), file=sys.stderr, flush=True)
    notes = []
    if values.feature_scatter:
        try:
            theirs, timed = _authors_step(steps, values.feature_scatter)
        except UserError as error:
            notes.append(f"The authors' code did not run: {error}")
        else:
            row, timings["authors'"] = _against_peak("authors'", theirs, timed, values)
            rows.append([*row, "", ""])
    return Section("Speed of the exported steps", _COLUMNS, rows, notes, timings)


def _authors_step(steps: list[ExportedStep], folder: str) -> tuple[Description, Timed]:
    """The authors' step of the size that is among ours."""
    described = [step.description for step in steps]
    ours = next((one for one in described if one.method == "feature_scatter"), None)
    if ours is None:
        raise UserError("it is compared with feature_scatter, which is not among the exported")
    timed = authors_step(
        folder,
        depth=ours.depth,
        width=ours.width,
        batch_size=ours.batch_size,
        num_classes=_CLASSES,
    )
    return dataclasses.replace(ours, precision="float32"), timed


def _run_steps(step: ExportedStep) -> None:
    step.run(_STEPS)


def _against_peak(
    code: str, one: Description, timed: Timed, values: flags.FlagValues
) -> tuple[list[str], dict[str, list[float]]]:
    """Times it in turn with a matrix product; the row and the rates."""
    peak = Timed(*exported_step.matrix_product(one.precision, values.matrix_size))
    timing.in_turn([peak, timed], values.rounds)
    reached = timed.rate * one.gigaflops
    row = [
        code,
        one.method,
        one.precision,
        f"{_name(one)}, {one.batch_size}",
        f"{timed.rate:.1f}",
        f"{reached / 1e3:.2f}",
        f"{reached / peak.rate:.0%}",
    ]
    return row, {"images/s": timed.rates, "peak": peak.rates}


def _name(one: Description) -> str:
    return f"WRN-{one.depth}-{one.width}"


def _agreement(steps: list[ExportedStep]) -> Section:
    """Mean losses beside those that TensorFlow computed from the same values."""
    rows, timings = [], {}
    for step in steps:
        one = step.description
        step.reset()
        losses = step.run(len(one.losses))
        step.free()
        distance = np.max(np.abs(np.divide(losses, one.losses) - 1))
        rows.append([_name(one), one.method, one.precision, str(len(losses)), f"{distance:.1e}"])
        timings[f"{one.method}, {one.precision}"] = {"here": losses, "there": one.losses}
    return Section(
        "Agreement with TensorFlow",
        ("classifier", "method", "precision", "steps", "largest relative difference of the loss"),
        rows,
        [],
        timings,
    )


def _flags() -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_list("methods", methods.names(), "Training methods to export.", flag_values=values)
    flags.DEFINE_list(
        "precisions",
        ["float32", "mixed_bfloat16"],
        "Precisions to export each method in.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "training_flags",
        "--flagfile=configs/cifar10.flags",
        "Training flags for all methods.",
        flag_values=values,
    )
    flags.DEFINE_boolean(
        "tensor_float_32",
        True,
        "Let devices multiply float32 as TensorFloat-32, as TensorFlow does by default.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "reference_steps",
        0,
        "Take this many steps here and record their losses, to compare with.",
        0,
        flag_values=values,
    )
    flags.DEFINE_string(
        "feature_scatter", None, "Checkout of Haichao-Zhang/FeatureScatter.", flag_values=values
    )
    flags.DEFINE_integer(
        "threads", 4, "How many programs are compiled at once.", 1, flag_values=values
    )
    flags.DEFINE_integer(
        "matrix_size",
        8192,
        "Side of the matrices whose product is the peak.",
        1,
        flag_values=values,
    )
    flags.DEFINE_integer("rounds", 3, "How often each is timed.", 1, flag_values=values)
    flags.DEFINE_string("results", None, "File for every timing, as JSON.", flag_values=values)
    return values


if __name__ == "__main__":
    sys.exit(runner.run(main, _flags(), description=__doc__ or "", takes_words=True))
