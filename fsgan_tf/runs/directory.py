"""The run directory: flags, metrics and checkpoints of one training.

A checkpoint is one `.npz` file of every variable by its path, written to a temporary name,
synced and renamed: it is there whole or not at all. `SHA256SUMS` beside it, which `sha256sum -c`
reads too, holds the hash of the whole file; reading verifies it. Nothing in it is code.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import io
import json
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
from absl import flags

from fsgan_tf import settings
from fsgan_tf.errors import NonFiniteError, RunError, UserError
from fsgan_tf.files import atomic_file, make_folder, write_atomically
from fsgan_tf.networks.classifiers.wide_resnet import wide_resnet

_KEPT_CHECKPOINTS = 2
_PROGRESS_KEY = "__progress__"
# What may change when a run goes on: where things are, how far it goes, what is looked at after.
CHANGEABLE_FLAGS = ("run_dir", "data_dir", "dry_run", "epochs", "eval_examples", "on_nan")
# What is read again of a row of metrics.jsonl.
_READ_METRICS = ("epoch", "step", "images_per_second", "one_step_accuracy", "robust_accuracy")


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
      epoch: complete epochs.
      step_in_epoch: complete steps of the epoch after them; not 0 only after an interruption.
      rollbacks: how often the run went back to a checkpoint to go on with other random draws.
      class_names: of the classifier's logits, in order.
      image_shape: `(h, w, c)` of the classifier's input.
    """

    epoch: int
    step_in_epoch: int
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    rollbacks: int = 0


@dataclasses.dataclass(frozen=True)
class RestoredClassifier:
    """A trained classifier and where it comes from.

    Attributes:
      model: float32 images `[b, h, w, c]` in [0, 1] to float32 logits `[b, K]`.
      class_names: K names.
      settings: the training flags it was trained with.
      progress: how far its training was.
      sha256: of its weights.
    """

    model: keras.Model
    class_names: tuple[str, ...]
    settings: flags.FlagValues
    progress: Progress
    sha256: str


class RunDirectory:
    """Reads and writes one run directory."""

    def __init__(self, path: str | Path):
        """Names the directory; `prepare` makes it."""
        self.path = Path(path)
        self.checkpoints = self.path / "checkpoints"
        self.checksums_file = self.checkpoints / "SHA256SUMS"
        self.flags_file = self.path / "flags.txt"
        self.metrics_file = self.path / "metrics.jsonl"
        self.tensorboard = self.path / "tensorboard"
        self.saved_model = self.path / "saved_model"
        self.evaluation = self.path / "evaluation"

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Makes the directory and keeps other trainings out of it until this process is done.

        The lock is the operating system's: it goes with the process, however that ends.

        Raises:
          UserError: where the directory cannot be made, or another process trains in it.
        """
        make_folder(self.checkpoints, "run_dir")
        with (self.path / ".lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                raise UserError(
                    f"another training runs in {self.path} ({file.read().strip()}); wait until it "
                    "ends, or give another --run_dir"
                ) from error
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            file.flush()
            yield

    def prepare(self, values: flags.FlagValues) -> None:
        """Makes the directory and records the flags, or checks them against the recorded ones.

        Raises:
          UserError: where the directory cannot be written, or holds a run of other flags.
        """
        make_folder(self.checkpoints, "run_dir")
        if self.flags_file.exists():
            self.refuse_other_flags(values)
        write_atomically(self.flags_file, values.flags_into_string().encode())

    def read_flags(self) -> flags.FlagValues:
        """The recorded training flags.

        Raises:
          UserError: where there are none, or they are not this package's.
        """
        values = settings.training_flags()
        if not self.flags_file.is_file():
            raise UserError(
                f"{self.path} is no run directory: it has no flags.txt; give the --run_dir of a "
                "training"
            )
        try:
            values(["fsgan_tf", f"--flagfile={self.flags_file}"])
        except (flags.Error, OSError, ValueError) as error:
            raise UserError(f"cannot read {self.flags_file}: {error}") from error
        settings.complete(values)
        return values

    def refuse_other_flags(self, values: flags.FlagValues) -> None:
        """Compares the flags with the recorded ones.

        Raises:
          UserError: where one differs that changes the training.
        """
        recorded, asked = self.read_flags().flag_values_dict(), values.flag_values_dict()
        differences = [
            f"--{name} was {recorded[name]} and is now {asked[name]}"
            for name in sorted(asked)
            if name not in CHANGEABLE_FLAGS and recorded.get(name) != asked[name]
        ]
        if differences:
            raise UserError(
                f"{self.path} holds a run of other flags: {'; '.join(differences)}; give the same "
                "flags to go on, or another --run_dir"
            )

    def save_checkpoint(self, method: keras.Model, progress: Progress, writes: bool = True) -> None:
        """Writes the method's variables and the progress; keeps the newest two checkpoints.

        Args:
          method: the networks; of several workers all call this, since to read a variable of one
            value a replica takes them all.
          progress: how far it is.
          writes: whether this process writes; the others only read with it.

        Raises:
          NonFiniteError: a variable is NaN or infinite; nothing is written.
          RunError: it cannot be written; the checkpoints before it are kept.
        """
        arrays = {path: np.asarray(variable) for path, variable in _by_path(method).items()}
        _require_finite(arrays)
        if not writes:
            return
        arrays[_PROGRESS_KEY] = np.frombuffer(
            json.dumps(dataclasses.asdict(progress)).encode(), dtype=np.uint8
        )
        name = f"epoch_{progress.epoch:04d}_step_{progress.step_in_epoch:06d}.npz"
        checksums = self._checksums()
        try:
            with atomic_file(self.checkpoints / name) as file:
                np.savez(file, **arrays)  # type: ignore[arg-type]
                checksums[name] = _sha256_of(file)
            self._write_checksums(checksums)
        except OSError as error:
            raise RunError(
                f"cannot write a checkpoint to {self.checkpoints} ({error.strerror}); the one "
                "before it is kept, and the same command goes on from it"
            ) from error
        for old in self._checkpoint_files()[_KEPT_CHECKPOINTS:]:
            old.unlink()

    def has_checkpoint(self) -> bool:
        """Whether a training has saved one here, readable or not."""
        return bool(self._checkpoint_files())

    def read_progress(self) -> Progress | None:
        """Of the newest readable checkpoint; raises as `restore_checkpoint` does."""
        return self._newest_readable(with_optimizers=False)[1]

    def restore_checkpoint(self, method: keras.Model) -> Progress | None:
        """Loads the newest readable checkpoint into the method; None where there is none yet.

        A newer one that is damaged or missing is named in a warning.

        Raises:
          UserError: where there are checkpoints and none is readable.
        """
        arrays, progress = self._newest_readable(with_optimizers=True)
        if progress is None:
            return None
        _assign(_by_path(method), arrays, self.path)
        return progress

    def restore_classifier(self) -> RestoredClassifier:
        """Builds the classifier in float32 from the recorded flags and the newest checkpoint.

        Raises:
          UserError: where the directory is no run, or has no readable checkpoint.
        """
        values = self.read_flags()
        arrays, progress = self._newest_readable(with_optimizers=False)
        if progress is None or (progress.epoch, progress.step_in_epoch) == (0, 0):
            raise UserError(f"{self.path} has no checkpoint of a step yet; train it first")
        model = wide_resnet(
            depth=values.classifier_depth,
            width=values.classifier_width,
            num_classes=len(progress.class_names),
            image_shape=progress.image_shape,
        )
        variables = {f"classifier/{path}": v for path, v in _network_paths(model).items()}
        _assign(variables, arrays, self.path)
        return RestoredClassifier(
            model, progress.class_names, values, progress, classifier_sha256(model)
        )

    def read_metrics(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl, one an epoch.

        Raises:
          UserError: where it holds something else.
        """
        if not self.metrics_file.exists():
            return []
        rows = []
        lines = self.metrics_file.read_bytes().split(b"\n")
        for number, line in enumerate(lines, start=1):
            try:
                rows.append(_metrics_row(line))
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                if number == len(lines):
                    break  # Cut short by a kill: of an epoch that no checkpoint holds yet.
                raise UserError(
                    f"{self.metrics_file}, line {number}, is no epoch's object; remove the line"
                ) from error
        return rows

    def keep_metrics_before(self, epoch: int) -> None:
        """Drops rows of epochs that are about to be run again."""
        rows = [row for row in self.read_metrics() if row["epoch"] < epoch]
        write_atomically(self.metrics_file, "".join(_json_line(row) for row in rows).encode())

    def append_metrics(self, row: dict[str, Any]) -> None:
        """Adds the row of an epoch, on the disk before its checkpoint is."""
        with self.metrics_file.open("a") as file:
            file.write(_json_line(row))
            file.flush()
            os.fsync(file.fileno())

    def newest_checkpoint(self) -> Path | None:
        """The file of the newest checkpoint, readable or not."""
        return next(iter(self._checkpoint_files()), None)

    def _checksums(self) -> dict[str, str]:
        """Hashes by file name; of no file that was written before they were kept."""
        if not self.checksums_file.is_file():
            return {}
        pairs = (line.split() for line in self.checksums_file.read_text("latin-1").splitlines())
        return {pair[1]: pair[0] for pair in pairs if len(pair) == 2}

    def _write_checksums(self, checksums: dict[str, str]) -> None:
        kept = [file.name for file in self._checkpoint_files()[:_KEPT_CHECKPOINTS]]
        lines = [f"{checksums[name]}  {name}\n" for name in kept if name in checksums]
        write_atomically(self.checksums_file, "".join(lines).encode())

    def _checkpoint_files(self) -> list[Path]:
        return sorted(self.checkpoints.glob("epoch_*.npz"), reverse=True)

    def _newest_readable(
        self, with_optimizers: bool
    ) -> tuple[dict[str, np.ndarray], Progress | None]:
        # In this order: a training may replace old ones meanwhile.
        checksums, files = self._checksums(), self._checkpoint_files()
        newest = files[0].name if files else ""
        for missing in sorted(name for name in checksums if name > newest):
            _warn(f"checkpoint {self.checkpoints / missing} is missing")
        for file in files:
            try:
                return _read(file, checksums.get(file.name), with_optimizers)
            except Exception as error:  # damaged archives and arrays raise almost anything
                _warn(f"checkpoint {file} is damaged ({error}); trying the one before it")
        if files or checksums:
            raise UserError(
                f"no checkpoint in {self.checkpoints} is readable; remove them to start again, or "
                "give another --run_dir"
            )
        return {}, None


def restore_classifier(run_dir: str | Path) -> RestoredClassifier:
    """The newest classifier of a run; see `RunDirectory.restore_classifier`."""
    return RunDirectory(run_dir).restore_classifier()


def classifier_sha256(model: keras.Model) -> str:
    """SHA-256 of a model's weights, in order."""
    digest = hashlib.sha256()
    for array in model.get_weights():
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _sha256_of(file: Any) -> str:
    """Of all that was written to it; it stays at its end."""
    file.seek(0)
    digest = hashlib.sha256()
    while block := file.read(2**20):
        digest.update(block)
    return digest.hexdigest()


def _require_finite(arrays: dict[str, np.ndarray]) -> None:
    broken = [path for path, array in arrays.items() if not np.isfinite(array).all()]
    if broken:
        raise NonFiniteError(
            f"{len(broken)} of {len(arrays)} variables hold NaN or infinity, such as {broken[0]}"
        )


def _by_path(method: keras.Model) -> dict[str, Any]:
    """Every variable of a method: networks, optimizers, the epoch's means."""
    variables: dict[str, Any] = {}
    for network, model in method.networks.items():
        for path, variable in _network_paths(model).items():
            variables[f"{network}/{path}"] = variable
    for network, optimizer in method.optimizers_by_network.items():
        for index, variable in enumerate(optimizer.variables):
            variables[f"{network}_optimizer/{index}_{variable.name}"] = variable
    for name, mean in method.means.items():
        for variable in mean.variables:
            variables[f"means/{name}/{variable.name}"] = variable
    return variables


def _network_paths(model: keras.Model) -> dict[str, Any]:
    return {variable.path: variable for variable in model.variables}


def _read(
    file: Path, sha256: str | None, with_optimizers: bool
) -> tuple[dict[str, np.ndarray], Progress]:
    content = file.read_bytes()
    # Arrays carry a CRC-32 each, which covers a file without a recorded hash.
    if sha256 and hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError(f"{len(content)} bytes, not those that SHA256SUMS is of")
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        progress = _progress(archive[_PROGRESS_KEY].tobytes())
        arrays = {
            name: archive[name]
            for name in archive.files
            if with_optimizers or name.startswith("classifier/")
        }
    if not all(isinstance(array, np.ndarray) for array in arrays.values()):
        raise ValueError("it holds something else than arrays")
    return arrays, progress


def _progress(content: bytes) -> Progress:
    fields = json.loads(content)
    progress = Progress(
        **{
            **fields,
            "class_names": tuple(fields["class_names"]),
            "image_shape": tuple(fields["image_shape"]),
        }
    )
    counts = (progress.epoch, progress.step_in_epoch, progress.rollbacks)
    is_valid = (
        all(isinstance(count, int) and 0 <= count < 2**63 for count in counts)
        and all(isinstance(name, str) for name in progress.class_names)
        and len(progress.image_shape) == 3
        and all(isinstance(side, int) and 0 < side < 2**16 for side in progress.image_shape)
    )
    if not is_valid:
        raise ValueError("its progress is none of a training")
    return progress


def _assign(variables: dict[str, Any], arrays: dict[str, np.ndarray], where: Path) -> None:
    for path, variable in variables.items():
        array = arrays.get(path)
        if array is None or array.shape != tuple(variable.shape) or array.dtype.kind not in "biuf":
            raise UserError(
                f"the checkpoint in {where} does not fit: {path} is missing or of another kind or "
                "shape; give the flags it was trained with"
            )
    for path, variable in variables.items():
        variable.assign(arrays[path])


def _metrics_row(line: bytes) -> dict[str, Any]:
    """An epoch's object, with what is read again of it in numbers."""
    row = json.loads(line)
    numbers = [row[name] for name in _READ_METRICS]
    are_numbers = all(isinstance(n, (int, float)) and 0 <= n < 2**63 for n in numbers)
    are_whole = isinstance(row["epoch"], int) and isinstance(row["step"], int)
    if not (are_numbers and are_whole and row["images_per_second"]):
        raise ValueError("these are not an epoch's")
    return row


def _warn(message: str) -> None:
    print(f"warning: {' '.join(message.split())}", file=sys.stderr)


def _json_line(row: dict[str, Any]) -> str:
    return json.dumps(row, sort_keys=False) + "\n"
