"""The checkpoints of one training.

A checkpoint is one `.npz` file of every variable by its path, written to a temporary name,
synced and renamed: it is there whole or not at all. `SHA256SUMS` beside it, which `sha256sum -c`
reads too, holds the hash of the whole file; reading verifies it. Nothing in it is code.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np

from fsgan_tf.errors import NonFiniteError, RunError, UserError
from fsgan_tf.files import atomic_file, write_atomically, written_sha256
from fsgan_tf.networks.weights import stable_paths

_KEPT_CHECKPOINTS = 2
# Names in a checkpoint begin with that of the network.
CLASSIFIER, AVERAGE = "classifier", "classifier_average"
_PROGRESS_KEY = "__progress__"


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
      epoch: complete epochs.
      step_in_epoch: complete steps of the epoch after them; not 0 only after an interruption.
      rollbacks: how often the run went back to a checkpoint to resume with other random draws.
      class_names: of the classifier's logits, in order.
      image_shape: `(h, w, c)` of the classifier's input.
      replicas: that share a step; 0 where an older version did not say.
    """

    epoch: int
    step_in_epoch: int
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    rollbacks: int = 0
    replicas: int = 0


class HasVariables(Protocol):
    """What a checkpoint holds the variables of, such as a training method; each part by name."""

    @property
    def networks(self) -> Mapping[str, keras.Model]:
        """The networks."""

    @property
    def optimizers_by_network(self) -> Mapping[str, keras.optimizers.Optimizer]:
        """The optimizer of each network."""

    @property
    def average(self) -> keras.Layer | None:
        """The average of the classifier's weights."""

    @property
    def memory(self) -> keras.Layer | None:
        """What is kept of every training image."""

    @property
    def means(self) -> Mapping[str, keras.metrics.Metric]:
        """The epoch's means so far."""


class Checkpoints:
    """The newest two checkpoints of a training and, if asked for, its best, in a folder."""

    def __init__(self, folder: Path):
        """Names the folder, which must exist before `save`."""
        self.folder = folder
        self.checksums_file = folder / "SHA256SUMS"

    def save(
        self,
        method: HasVariables,
        progress: Progress,
        writes: bool = True,
        scores: Mapping[int, float] | None = None,
    ) -> None:
        """Writes the method's variables and the progress; keeps the newest two checkpoints.

        Args:
          method: the networks; of several workers all call this, since to read a variable of one
            value a replica takes them all.
          progress: how far it is.
          writes: whether this process writes; the others only read with it.
          scores: by epoch, counted from 0; the checkpoint after the best of them is kept too.

        Raises:
          NonFiniteError: a variable is NaN or infinite; nothing is written.
          RunError: it cannot be written; the checkpoints before it are kept.
        """
        arrays = {path: np.asarray(variable) for path, variable in variables_of(method).items()}
        _require_finite(arrays)
        if not writes:
            return
        arrays[_PROGRESS_KEY] = np.frombuffer(
            json.dumps(dataclasses.asdict(progress)).encode(), dtype=np.uint8
        )
        name = _file_name(progress.epoch, progress.step_in_epoch)
        checksums = self._checksums()
        try:
            with atomic_file(self.folder / name) as file:
                np.savez(file, **arrays)  # type: ignore[arg-type]
                checksums[name] = written_sha256(file)
            kept = self._kept(scores or {})
            self._write_checksums(checksums, kept)
        except OSError as error:
            raise RunError(
                f"cannot write a checkpoint to {self.folder} ({error.strerror}); the one "
                "before it is kept, and the same command resumes from it"
            ) from error
        for old in self._files():
            if old not in kept:
                old.unlink()

    def best_epoch(self, scores: Mapping[int, float]) -> int | None:
        """The epoch of the highest score that has a checkpoint after it; the first of equals.

        Args:
          scores: by epoch, counted from 0.
        """
        there = [epoch for epoch in sorted(scores) if self._after(epoch).is_file()]
        return max(there, key=lambda epoch: scores[epoch], default=None)

    def exist(self) -> bool:
        """Whether a training has saved one here, readable or not."""
        return bool(self._files())

    def read_progress(self) -> Progress | None:
        """Of the newest readable checkpoint; raises as `restore` does."""
        return self.read_newest(with_optimizers=False)[1]

    def restore(
        self, method: HasVariables, require_fit: Callable[[Progress], None] | None = None
    ) -> Progress | None:
        """Loads the newest readable checkpoint into the method; None where there is none yet.

        A newer one that is damaged or missing is named in a warning.

        Args:
          method: whose variables are set.
          require_fit: called before any is set; raises where the training cannot go on.

        Raises:
          UserError: where there are checkpoints and none is readable.
        """
        arrays, progress = self.read_newest(with_optimizers=True)
        if progress is None:
            return None
        if require_fit:
            require_fit(progress)
        assign(variables_of(method), arrays, self.folder)
        return progress

    def read_newest(self, with_optimizers: bool) -> tuple[dict[str, np.ndarray], Progress | None]:
        """Arrays by name and progress of the newest readable checkpoint; none where there is none.

        Args:
          with_optimizers: all arrays, or the classifier's and its average's alone.

        Raises:
          UserError: where there are checkpoints and none is readable.
        """
        # In this order: a training may replace old ones meanwhile.
        checksums, files = self._checksums(), self._files()
        newest = _position(files[0].name) if files else []
        for missing in sorted(name for name in checksums if _position(name) > newest):
            _warn(f"checkpoint {self.folder / missing} is missing")
        for file in files:
            try:
                return _read(file, checksums.get(file.name), with_optimizers)
            except Exception as error:  # damaged archives and arrays raise almost anything
                _warn(f"checkpoint {file} is damaged ({error}); trying the one before it")
        if files or checksums:
            raise UserError(
                f"no checkpoint in {self.folder} is readable; give another --run_dir, or "
                "move these files away to start again"
            )
        return {}, None

    def read_best(
        self, scores: Mapping[int, float]
    ) -> tuple[dict[str, np.ndarray], Progress | None]:
        """The classifier's arrays after the best epoch, and the progress then.

        Of the newest readable checkpoint, with a warning, where that one is damaged; without one
        where no epoch has a score yet.

        Raises:
          UserError: where there are checkpoints and none is readable.
        """
        best = self.best_epoch(scores)
        if best is not None:
            file = self._after(best)
            try:
                return _read(file, self._checksums().get(file.name), with_optimizers=False)
            except Exception as error:  # as in `read_newest`
                _warn(f"the best checkpoint {file} is damaged ({error}); the newest is used")
        return self.read_newest(with_optimizers=False)

    @property
    def epochs_done(self) -> int:
        """Complete epochs behind the newest checkpoint, readable or not."""
        newest = self.newest_file()
        return _position(newest.name)[0] if newest else 0

    def newest_file(self) -> Path | None:
        """The file of the newest checkpoint, readable or not."""
        return next(iter(self._files()), None)

    def _checksums(self) -> dict[str, str]:
        """Hashes by file name; of no file that was written before they were kept."""
        if not self.checksums_file.is_file():
            return {}
        pairs = (line.split() for line in self.checksums_file.read_text("latin-1").splitlines())
        return {pair[1]: pair[0] for pair in pairs if len(pair) == 2}

    def _kept(self, scores: Mapping[int, float]) -> list[Path]:
        newest, best = self._files()[:_KEPT_CHECKPOINTS], self.best_epoch(scores)
        return newest if best is None else [*newest, self._after(best)]

    def _after(self, epoch: int) -> Path:
        return self.folder / _file_name(epoch + 1, 0)

    def _write_checksums(self, checksums: dict[str, str], kept: list[Path]) -> None:
        names = dict.fromkeys(file.name for file in kept)
        lines = [f"{checksums[name]}  {name}\n" for name in names if name in checksums]
        write_atomically(self.checksums_file, "".join(lines).encode())

    def _files(self) -> list[Path]:
        files = self.folder.glob("epoch_*.npz")
        return sorted(files, key=lambda file: _position(file.name), reverse=True)


def _file_name(epoch: int, step_in_epoch: int) -> str:
    return f"epoch_{epoch:04d}_step_{step_in_epoch:06d}.npz"


def _position(name: str) -> list[int]:
    """Epoch and step of a file's name; as text, epoch 10000 would come before 9999."""
    return [int(number) for number in re.findall(r"\d+", name)]


def _require_finite(arrays: dict[str, np.ndarray]) -> None:
    broken = [path for path, array in arrays.items() if not np.isfinite(array).all()]
    if broken:
        raise NonFiniteError(
            f"{len(broken)} of {len(arrays)} variables hold NaN or infinity, such as {broken[0]}"
        )


def variables_of(method: HasVariables) -> dict[str, Any]:
    """Every variable of a method, by its name in checkpoints.

    Networks, average, optimizers, memory, the epoch's means.
    """
    variables: dict[str, Any] = {}
    for network, model in method.networks.items():
        variables |= network_variables(network, model)
    if method.average is not None:
        # By the classifier's paths: those of a copy may begin with the model's own name.
        paths = stable_paths(method.networks[CLASSIFIER])
        averages = method.average.network.variables
        variables |= {f"{AVERAGE}/{path}": v for path, v in zip(paths, averages, strict=True)}
        variables[f"{AVERAGE}/updates"] = method.average.updates
    for network, optimizer in method.optimizers_by_network.items():
        for index, variable in enumerate(optimizer.variables):
            variables[f"{network}_optimizer/{index}_{variable.name}"] = variable
    if method.memory is not None:
        variables |= {f"memory/{variable.name}": variable for variable in method.memory.variables}
    for name, mean in method.means.items():
        for variable in mean.variables:
            variables[f"means/{name}/{variable.name}"] = variable
    return variables


def network_variables(name: str, model: keras.Model) -> dict[str, Any]:
    """A network's variables under the names that checkpoints have for them."""
    return {f"{name}/{path}": variable for path, variable in stable_paths(model).items()}


def _read(
    file: Path, sha256: str | None, with_optimizers: bool
) -> tuple[dict[str, np.ndarray], Progress]:
    content = file.read_bytes()
    # Arrays carry a CRC-32 each, which covers a file without a recorded hash.
    if sha256 and hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError(f"{len(content)} bytes, whose hash is not the one in SHA256SUMS")
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        progress = _progress(archive[_PROGRESS_KEY].tobytes())
        arrays = {
            name: archive[name]
            for name in archive.files
            if with_optimizers or name.startswith((f"{CLASSIFIER}/", f"{AVERAGE}/"))
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
    counts = (progress.epoch, progress.step_in_epoch, progress.rollbacks, progress.replicas)
    is_valid = (
        all(isinstance(count, int) and 0 <= count < 2**63 for count in counts)
        and all(isinstance(name, str) for name in progress.class_names)
        and len(progress.image_shape) == 3
        and all(isinstance(side, int) and 0 < side < 2**16 for side in progress.image_shape)
    )
    if not is_valid:
        raise ValueError("its progress is not a training's progress record")
    return progress


def assign(variables: dict[str, Any], arrays: dict[str, np.ndarray], where: Path) -> None:
    """Gives every variable the checkpoint's array of its name, or none of them.

    Args:
      variables: by name.
      arrays: of a checkpoint, by name.
      where: its folder, for the message.

    Raises:
      UserError: an array is missing, or of another kind or shape.
    """
    for path, variable in variables.items():
        array = arrays.get(path)
        if array is None or array.shape != tuple(variable.shape) or array.dtype.kind not in "biuf":
            raise UserError(
                f"the checkpoint in {where} does not fit: {path} is missing or of another kind or "
                "shape; give the flags it was trained with"
            )
    for path, variable in variables.items():
        variable.assign(arrays[path])


def _warn(message: str) -> None:
    print(f"warning: {' '.join(message.split())}", file=sys.stderr)
