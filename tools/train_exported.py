"""Trains on a machine that has an accelerator and JAX, and no TensorFlow.

    python tools/train_exported.py export FOLDER FLAGFILE ...   where TensorFlow is
    python tools/train_exported.py train FOLDER RESULTS [--names=...]   on the accelerator
    python tools/train_exported.py restore FOLDER RESULTS   where TensorFlow is

Each FLAGFILE holds the flags of one `python -m fsgan_tf.train`, --run_dir among them. `export`
makes its run directory, or takes it from its newest checkpoint, and writes the XLA program of a
whole epoch (order of the images, augmentation, learning rates, steps, average) and all it starts
from to FOLDER. `train` needs JAX and NumPy, with PYTHONPATH=. where this package is not installed;
it trains one after the other and writes RESULTS/NAME.npz after every epoch; called again, it goes
on from there, where the result is precise, and leaves out what is complete. `restore` makes of each
result a checkpoint in its run directory, with the epochs' figures and what is measured on held-out
images after the last: `evaluate` and `export` take it and, where the result is precise, a training
goes on from it. What is already restored it leaves as it is.
"""

import sys
import time
from pathlib import Path

from absl import flags
from exported import training as exported
from exported.training import ExportedTraining

from fsgan_tf.cli import quiet, runner
from fsgan_tf.errors import UserError


def main(values: flags.FlagValues, words: list[str]) -> None:
    """Exports, trains or restores."""
    verb, *rest = words or [""]
    if verb == "export" and len(rest) > 1:
        _export(Path(rest[0]), rest[1:])
    elif verb == "train" and len(rest) == 2:
        _train(values, Path(rest[0]), Path(rest[1]))
    elif verb == "restore" and len(rest) == 2:
        _restore(Path(rest[0]), Path(rest[1]))
    else:
        raise UserError(
            "say what to do: python tools/train_exported.py export FOLDER FLAGFILE ... | "
            "train FOLDER RESULTS | restore FOLDER RESULTS"
        )


def _export(folder: Path, flag_files: list[str]) -> None:
    from fsgan_tf.cli import training_flags

    configurations = [training_flags.parse([f"--flagfile={file}"]) for file in flag_files]
    quiet.start_tensorflow()
    from exported import run_directory

    for configuration in configurations:
        run_directory.export(configuration, folder)
        print(f"written: {folder / Path(configuration.run_dir).name}", flush=True)


def _train(values: flags.FlagValues, folder: Path, results: Path) -> None:
    begin = time.monotonic()
    names = values.names or sorted(file.parent.name for file in folder.glob("*/training.json"))
    if not names:
        raise UserError(f"no exported training in {folder}")
    results.mkdir(parents=True, exist_ok=True)
    files = {name: results / f"{name}.npz" for name in names}
    complete = [name for name in names if exported.is_complete(folder / name, files[name])]
    for name in complete:
        print(f"{name}: all epochs are in {files[name]}", flush=True)
    names = [name for name in names if name not in complete]
    if not names:
        return
    programs = exported.Programs()
    trainings = [ExportedTraining(folder / name, programs) for name in names]
    images = exported.Images(folder / exported.IMAGES)
    for one in trainings:
        # One at a time: programs that are compiled are timed on the device, which nothing else
        # should keep busy then.
        if not one.program.seconds:
            one.program.compile()
            print(f"{one.name}: compiled in {one.program.seconds:.0f} s", flush=True)
        one.begin(images, files[one.name])
        while not one.is_done:
            if values.seconds and time.monotonic() - begin > values.seconds:
                print(f"{one.name}: no time left; {len(one.rows)} epochs are done", flush=True)
                return
            print(f"{one.name}: {_told(one.epoch(images))}", flush=True)
            one.save(files[one.name], precise=values.precise)


def _told(row: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in row.items())


def _restore(folder: Path, results: Path) -> None:
    files = sorted(results.glob("*.npz"))
    if not files:
        raise UserError(f"no result in {results}")
    quiet.start_tensorflow()
    from exported import run_directory

    for file in files:
        print(run_directory.restore(folder, file), flush=True)


def _flags() -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_list(
        "names", None, "Trainings of FOLDER, in order; all by default.", flag_values=values
    )
    flags.DEFINE_float(
        "seconds", None, "No epoch begins after so many seconds.", 0, flag_values=values
    )
    flags.DEFINE_boolean(
        "precise",
        True,
        "Keep every variable as it is, for a training that goes on; or in float16 those of the "
        "networks alone.",
        flag_values=values,
    )
    return values


if __name__ == "__main__":
    sys.exit(runner.run(main, _flags(), description=__doc__ or "", takes_words=True))
