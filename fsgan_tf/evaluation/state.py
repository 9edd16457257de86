"""Finished batches on disk, so that a killed evaluation resumes where it stopped.

One small file a batch, written whole or not at all. What an attack does to a batch follows from the
fingerprint and the batch's examples alone, so that a batch read back is the batch run again. Each
evaluation has a folder of its own, named by its fingerprint, so that none disturbs another's.
"""

import contextlib
import copy
import dataclasses
import hashlib
import inspect
import io
import json
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

import fsgan_tf
from fsgan_tf.attacks.parts.attack import Attack
from fsgan_tf.errors import RunError
from fsgan_tf.evaluation.outcome import Outcome, Task
from fsgan_tf.evaluation.request import Request
from fsgan_tf.files import files_sha256, sole_writer, write_atomically

# Whose code decides what an attack does to a batch.
_PACKAGES = ("tensorflow", "keras", "cleverhans")
_FOLDER = ".state"
_FINGERPRINT = "fingerprint.json"


def fingerprint(
    request: Request,
    *,
    classifier_sha256: str,
    dataset_sha256: str,
    model_options: Mapping[str, Any],
) -> dict[str, Any]:
    """All that decides what an evaluation finds, by name, as JSON takes it.

    Args:
      request: how the classifier is attacked.
      classifier_sha256: hash of the classifier.
      dataset_sha256: hash of the images and labels.
      model_options: how the classifier is read, where its hash does not tell.
    """
    return {
        "classifier": [classifier_sha256, dict(model_options)],
        "examples": dataset_sha256,
        "attacks": _described(request.attacks),
        "threat model": dataclasses.asdict(request.threat_model),
        "batch size": request.batch_size,
        "seed": request.seed,
        "standalone": request.standalone,
        "sources": [[source.name, source.sha256] for source in request.sources],
        "eot": request.eot,
        "smaller radii": [
            [dataclasses.asdict(radius.threat_model), *_described(radius.attacks)]
            for radius in request.smaller
        ]
        or None,
        "versions": {
            "fsgan_tf": fsgan_tf.__version__,
            **{package: metadata.version(package) for package in _PACKAGES},
        },
        "code": _code_sha256(request.attacks),
    }


def _code_sha256(attacks: Sequence[Attack]) -> str:
    """Hash of this package's files and of those of attacks from elsewhere.

    A batch that one code did is not what another would have done.
    """
    files = set(Path(fsgan_tf.__file__).parent.rglob("*.py"))
    for attack in attacks:
        with contextlib.suppress(OSError, TypeError):  # Of a notebook's or terminal's class.
            files.add(Path(inspect.getfile(type(attack))))
    return files_sha256(sorted(files))


def _described(attacks: Sequence[Attack]) -> list[list[Any]]:
    return [[attack.name, attack.parameters] for attack in attacks]


@contextlib.contextmanager
def resumable(output_dir: Path, fingerprint: Mapping[str, Any]) -> Iterator["EvaluationState"]:
    """Keeps finished batches in a folder until the block has ended and its results are written.

    The same evaluation, begun again after a kill, resumes there and ends with the same result.

    Args:
      output_dir: where the results go; made if it is not there, and kept from other evaluations.
      fingerprint: of the evaluation, from the function of that name.

    Raises:
      UserError: the folder cannot be made, or another evaluation writes to it.
      RunError: it cannot be written.
    """
    with sole_writer(output_dir, activity="evaluation", flag="output_dir"):
        state = EvaluationState(output_dir / _FOLDER, fingerprint)
        try:
            yield state
        except KeyboardInterrupt:
            print(f"stopped; the same command resumes from {state.folder}", file=sys.stderr)
            raise
        state.remove()


class EvaluationState:
    """Finished batches of one evaluation.

    Attributes:
      folder: where they are.
    """

    def __init__(self, root: Path, fingerprint: Mapping[str, Any]):
        """Opens the evaluation's folder; where it begins anew, lines name the others there are.

        Args:
          root: folder of the states of all evaluations, made if it is not there.
          fingerprint: of the evaluation, from the function of that name.

        Raises:
          RunError: the folder cannot be written.
        """
        content = json.dumps(fingerprint, indent=1, sort_keys=True).encode()
        self.folder = root / hashlib.sha256(content).hexdigest()[:12]
        done = len(list(self.folder.rglob("*.npz")))
        if done:
            print(f"resuming from {self.folder}, batches done: {done}")
        else:
            _name_others(self.folder, json.loads(content))
        self._write(self.folder / _FINGERPRINT, content)

    def read(self, task: Task, image_shape: tuple[int, ...]) -> Outcome | None:
        """The outcome of a finished task; None where its file is missing or damaged.

        Args:
          task: an attack's run on a batch.
          image_shape: `(h, w, c)`.
        """
        try:
            content = io.BytesIO(self._file(task).read_bytes())
            with np.load(content, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in Outcome._fields}
            outcome = Outcome(**{**arrays, "seconds": float(arrays["seconds"])})
            return outcome if _fits(outcome, task.examples, image_shape) else None
        except Exception:  # Damaged archives raise many kinds; the task is then run again.
            return None

    def write(self, task: Task, outcome: Outcome) -> None:
        """Saves the outcome of a finished task.

        Raises:
          RunError: it cannot be written.
        """
        content = io.BytesIO()
        np.savez(content, **outcome._asdict())
        self._write(self._file(task), content.getvalue())

    def part(self, name: str) -> "EvaluationState":
        """Of the same evaluation, batches that are kept apart, in a folder of this one."""
        part = copy.copy(self)
        part.folder = self.folder / name
        return part

    def kept(self, name: str, compute: Callable[[], Any]) -> Any:
        """What was computed under this name, JSON's types, now or before a kill.

        Raises:
          RunError: it cannot be written.
        """
        file = self.folder / f"{name}.json"
        try:
            return json.loads(file.read_bytes())
        except (OSError, ValueError):  # It is missing or damaged.
            found = compute()
            self._write(file, json.dumps(found).encode())
            return found

    def remove(self) -> None:
        """Removes the folder, once the results are written; those of other evaluations stay."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # Others are there.
            self.folder.parent.rmdir()

    def _file(self, task: Task) -> Path:
        attack = quote(task.attack.name, safe="@")
        return self.folder / f"{attack}_{task.restart}_{task.number}.npz"

    def _write(self, file: Path, content: bytes) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(file, content)
        except OSError as error:
            raise RunError(
                f"cannot write {file} ({error.strerror}); the same command resumes from "
                f"{self.folder} once there is room"
            ) from error


def _name_others(folder: Path, asked: dict[str, Any]) -> None:
    """Prints in what the unfinished evaluations beside a folder differ from the one asked for."""
    for other in sorted(folder.parent.glob("*")):
        if other.is_dir() and other != folder:
            print(
                f"another unfinished evaluation is kept in {other}; it differs in: "
                f"{', '.join(_differing(other, asked))}"
            )


def _differing(folder: Path, asked: dict[str, Any]) -> list[str]:
    """Names of what differs from the fingerprint in a folder."""
    try:
        found = json.loads((folder / _FINGERPRINT).read_text())
        return [name for name in asked if asked[name] != found.get(name)]
    except (OSError, ValueError, AttributeError):
        return ["its fingerprint cannot be read"]


def _fits(outcome: Outcome, examples: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Whether arrays read from a file are an outcome of these examples."""
    count, flags = len(examples), (outcome.claimed, outcome.fooled, outcome.fooled_8bit)
    if not all(array.dtype == bool and array.shape == (count,) for array in flags):
        return False
    found = count if len(outcome.wrong_calls) else int(outcome.fooled.sum())
    return (
        np.array_equal(outcome.indices, examples)
        and outcome.images.dtype == np.float32
        and outcome.images.shape == (found, *shape)
        and outcome.predictions.shape == (found,)
        and outcome.wrong_calls.shape in ((0,), (count,))
    )
