"""The files of an exported training, and what trains from them where there is no TensorFlow.

    FOLDER/images.npz                 the training images and labels, the same for all trainings
    FOLDER/arrays/HASH.npz            a variable's first value
    FOLDER/NAME/epoch.stablehlo       the program of an epoch
    FOLDER/NAME/training.json         the rest: see `Description`

Importing it needs NumPy alone, `ExportedTraining` JAX too.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import time
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from exported.program import Program
from fsgan_tf.errors import NonFiniteError, UserError
from fsgan_tf.files import atomic_file, files_sha256, make_folder, write_atomically

IMAGES = "images.npz"
_PROGRAM, _DESCRIPTION, _ARRAYS = "epoch.stablehlo", "training.json", "arrays"
_RECORD = "__record__"
# What reading a damaged archive of arrays raises.
_DAMAGE = (OSError, EOFError, ValueError, TypeError, KeyError, zipfile.BadZipFile, zlib.error)


@dataclasses.dataclass(frozen=True)
class Description:
    """What is known of an exported training.

    Attributes:
      run_dir: its run directory, where it was exported.
      images_sha256: of the images and labels it trains on.
      seed: of the training.
      first_epoch: complete epochs of the checkpoint it goes on from.
      batch_size: images a step.
      networks: that have an optimizer, in the order of the rates.
      rates: learning rates, by epoch from `first_epoch`, step and network; one step stands for all
        of an epoch where they are the same.
      reports: names of the means that an epoch returns.
      variables: by its name in a checkpoint, the hash of a variable's first value, in the
        program's order.
    """

    run_dir: str
    images_sha256: str
    seed: int
    first_epoch: int
    batch_size: int
    networks: list[str]
    rates: list[list[list[float]]]
    reports: list[str]
    variables: dict[str, str]


@dataclasses.dataclass(frozen=True)
class Record:
    """How the training went on the machine without TensorFlow.

    Attributes:
      rows: of metrics.jsonl, one an epoch; of whole epochs alone.
      device: JAX's name of it, and JAX's version.
      precise: whether the arrays are whole; if not, those of the networks alone are there, in
        float16.
      export_sha256: of the files it was trained from; see `sha256_of_export`.
    """

    rows: list[dict[str, Any]]
    device: str
    precise: bool
    export_sha256: str


def write(folder: Path, program: bytes, description: Description) -> None:
    """Writes the files of one training; the arrays must be there."""
    make_folder(folder, "folder")
    write_atomically(folder / _PROGRAM, program)
    content = json.dumps(dataclasses.asdict(description))
    write_atomically(folder / _DESCRIPTION, content.encode())


def write_array(folder: Path, array: np.ndarray) -> str:
    """Keeps an array, once for all trainings that begin with it; returns its hash."""
    name = hashlib.sha256(repr((array.dtype.str, array.shape)).encode() + array.tobytes())
    digest = name.hexdigest()[:16]
    file = folder / _ARRAYS / f"{digest}.npz"
    if not file.exists():
        make_folder(file.parent, "folder")
        with atomic_file(file) as temporary:
            np.savez_compressed(temporary, array=array)
    return digest


def read_description(folder: Path) -> Description:
    """The description of an exported training.

    Raises:
      UserError: there is none in `folder`.
    """
    try:
        return Description(**json.loads((folder / _DESCRIPTION).read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{folder} holds no exported training; write one with `python "
            f"tools/train_exported.py export` ({error})"
        ) from error


def sha256_of_export(folder: Path) -> str:
    """Hash of an exported training's program and description, which holds its arrays' hashes.

    Args:
      folder: of that training.

    Returns:
      It, in hexadecimal.

    Raises:
      UserError: the folder lacks one of the two files.
    """
    try:
        return files_sha256([folder / _PROGRAM, folder / _DESCRIPTION])
    except OSError as error:
        raise UserError(f"{folder} holds no whole exported training ({error})") from error


def read_result(file: Path) -> tuple[dict[str, np.ndarray], Record]:
    """The arrays of a finished training by their names in a checkpoint, and its record.

    Raises:
      UserError: `file` is not one that `ExportedTraining.save` wrote.
    """
    try:
        with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        return arrays, Record(**json.loads(arrays.pop(_RECORD).tobytes()))
    except _DAMAGE as error:
        raise UserError(f"{file} is not the result of an exported training ({error})") from error


def is_complete(folder: Path, file: Path) -> bool:
    """Whether an exported training was trained to its last epoch.

    Args:
      folder: of that training.
      file: its result; need not be there.

    Raises:
      UserError: it is no result of this export, or one from which no training goes on.
    """
    if not file.exists():
        return False
    _, record = read_result(file)
    if record.export_sha256 != sha256_of_export(folder):
        raise UserError(
            f"{file} was trained from another export than {folder} holds now; give another folder "
            "for the results, or move it away"
        )
    done, epochs = len(record.rows), len(read_description(folder).rates)
    if done < epochs and not record.precise:
        raise UserError(
            f"{file} holds {done} of {epochs} epochs and the networks alone, from which no "
            "training goes on; give another folder for the results, or move it away"
        )
    return done == epochs


def sha256_of(images: np.ndarray, labels: np.ndarray) -> str:
    """Hash of training images and their labels."""
    return hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()


class Images:
    """All training images on the device."""

    def __init__(self, file: Path):
        """Reads them.

        Raises:
          UserError: `file` holds none.
        """
        import jax

        try:
            with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as archive:
                images, labels = archive["images"], archive["labels"].astype(np.int32)
        except _DAMAGE as error:
            raise UserError(f"cannot read the training images of {file} ({error})") from error
        self.sha256 = sha256_of(images, labels)
        self.count = len(images)
        self.arrays = [jax.device_put(images), jax.device_put(labels)]


class Programs:
    """Programs by their files' content: trainings of several seeds share one."""

    def __init__(self) -> None:
        """Knows none yet."""
        self._programs: dict[bytes, Program] = {}

    def read(self, file: Path) -> Program:
        """The program of a file; in one thread at a time."""
        content = file.read_bytes()
        if content not in self._programs:
            self._programs[content] = Program(content)
        return self._programs[content]


class ExportedTraining:
    """An exported training on JAX's first device; `program` is to be compiled before `epoch`.

    Attributes:
      name: of its folder.
      description: what is known of it.
      program: of an epoch.
      rows: of metrics.jsonl, one of each epoch since the first values.
    """

    def __init__(self, folder: Path, programs: Programs):
        """Reads the files.

        Raises:
          UserError: `folder` holds no exported training.
        """
        self.name = folder.name
        self._folder = folder
        self.description = read_description(folder)
        self.program = programs.read(folder / _PROGRAM)
        self._export_sha256 = sha256_of_export(folder)
        self.rows: list[dict[str, Any]] = []
        self._values: list[Any] = []

    def begin(self, images: Images, result: Path) -> None:
        """Puts all variables on the device: their first values, or those of an earlier result.

        Args:
          images: to train on.
          result: the file of an earlier call, which `is_complete` refuses or finds incomplete; need
            not be there.

        Raises:
          UserError: the images are others than those it was exported for; a file is damaged.
        """
        import jax

        if images.sha256 != self.description.images_sha256:
            raise UserError(f"{self.name} was exported for other training images than these")
        variables = self.description.variables
        arrays: dict[str, np.ndarray] = {}
        if result.exists():
            arrays, record = read_result(result)
            self.rows = record.rows
        self._values = [
            jax.device_put(arrays[name] if arrays else self._initial(digest))
            for name, digest in variables.items()
        ]

    @property
    def is_done(self) -> bool:
        """Whether it came to its last epoch."""
        return len(self.rows) == len(self.description.rates)

    def epoch(self, images: Images) -> dict[str, Any]:
        """Trains an epoch; returns its row of metrics.jsonl.

        Raises:
          NonFiniteError: the epoch's figures are not finite.
        """
        one, steps = self.description, images.count // self.description.batch_size
        epoch, rates = one.first_epoch + len(self.rows), one.rates[len(self.rows)]
        begin = time.perf_counter()
        means = self._run(images, epoch, np.broadcast_to(rates, (steps, len(one.networks))))
        seconds = time.perf_counter() - begin
        if not np.isfinite(means).all():
            raise NonFiniteError(f"{self.name}: the figures of epoch {epoch} are not finite")
        row = {
            "epoch": epoch,
            "step": (epoch + 1) * steps,
            **dict(zip(one.reports, means.tolist(), strict=True)),
            "images_per_second": steps * one.batch_size / seconds,
        }
        row |= {f"learning_rate_{name}": r for name, r in zip(one.networks, rates[-1], strict=True)}
        self.rows.append(row)
        return row

    def _initial(self, digest: str) -> np.ndarray:
        file = self._folder.parent / _ARRAYS / f"{digest}.npz"
        try:
            with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as archive:
                return archive["array"]
        except _DAMAGE as error:
            raise UserError(
                f"cannot read {file}, a first value of {self.name} ({error}); remove it and export "
                "again"
            ) from error

    def _run(self, images: Images, epoch: int, rates: np.ndarray) -> np.ndarray:
        """Runs the program and waits for it; returns the means."""
        import jax

        numbers = (np.int64(self.description.seed), np.int64(epoch), rates.astype(np.float32))
        values = [*images.arrays, *map(jax.device_put, numbers), *self._values]
        means = self.program.run(values)
        self._values = values[len(values) - len(self._values) :]
        return np.asarray(means)

    def save(self, file: Path, *, precise: bool) -> None:
        """Writes the variables and the record.

        Args:
          file: to write.
          precise: all variables as they are, or in float16 those of the networks alone.
        """
        import jax

        networks = tuple(f"{name}/" for name in (*self.description.networks, "classifier_average"))
        arrays = {
            name: np.asarray(value)
            for name, value in zip(self.description.variables, self._values, strict=True)
            if precise or name.startswith(networks)
        }
        if not precise:
            arrays = {
                name: array.astype(np.float16) if array.dtype.kind == "f" else array
                for name, array in arrays.items()
            }
        device = f"{jax.devices()[0].device_kind}, JAX {jax.__version__}"
        record = Record(self.rows, device, precise, self._export_sha256)
        content = json.dumps(dataclasses.asdict(record))
        arrays[_RECORD] = np.frombuffer(content.encode(), np.uint8)
        with atomic_file(file) as temporary:
            np.savez(temporary, **arrays)  # type: ignore[arg-type]
