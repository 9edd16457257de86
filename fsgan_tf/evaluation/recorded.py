"""An evaluation that leaves its results in a folder, and resumes there after a kill."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fsgan_tf import files
from fsgan_tf.evaluation.request import Request
from fsgan_tf.evaluation.result import Result
from fsgan_tf.evaluation.state import EvaluationState, fingerprint, resumable
from fsgan_tf.reporting import report


@dataclasses.dataclass(frozen=True)
class Recording:
    """Where an evaluation under way keeps its batches, and its results in the end.

    Attributes:
      folder: of the results.
      manifest: what is evaluated.
      state: finished batches, for `run_and_diagnose.measure`.
    """

    folder: Path
    manifest: report.Manifest
    state: EvaluationState

    def write(self, result: Result, also: Iterable[Callable[[Result], object]] = ()) -> None:
        """Writes the report.

        Args:
          result: what was found.
          also: each writes the result in a further form.

        Raises:
          RunError: the folder cannot be written.
        """
        goes_on = f"the same command resumes from {self.state.folder}"
        with files.told_in_one_line(self.folder, goes_on):
            report.write(self.folder, result, self.manifest)
            for write in also:
                write(result)


@contextlib.contextmanager
def recorded(
    folder: Path, request: Request, manifest: report.Manifest, *, model_options: Mapping[str, Any]
) -> Iterator[Recording]:
    """Keeps what an evaluation has done until the block has ended and its report is written.

    Args:
      folder: of the results; made if it is not there, and kept from other evaluations.
      request: how the classifier is attacked.
      manifest: what is evaluated, with the hashes of the classifier and the examples.
      model_options: how the classifier is read, where its hash does not tell.

    Raises:
      UserError: the folder cannot be made, or another evaluation writes to it.
      RunError: it cannot be written.
    """
    marks = fingerprint(
        request,
        classifier_sha256=manifest.classifier_sha256,
        dataset_sha256=manifest.dataset_sha256,
        model_options=model_options,
    )
    with resumable(folder, marks) as state:
        yield Recording(folder, manifest, state)
