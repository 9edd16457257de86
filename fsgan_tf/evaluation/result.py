"""What `evaluate` returns."""

import dataclasses
import os
from pathlib import Path

from fsgan_tf.reporting import report
from fsgan_tf.results import summary
from fsgan_tf.results.findings import Findings


@dataclasses.dataclass(frozen=True, repr=False)
class Result(Findings):
    """What an evaluation found. Printed, it is a verdict and a small table.

    For its attributes see `Findings`.
    """

    def __str__(self) -> str:
        return summary.table(self)

    def __repr__(self) -> str:
        return (
            f"<Result: {summary.share(self.worst_case_accuracy, self.num_examples)} robust, "
            f"{self.verdict}>"
        )

    def write_report(
        self, folder: str | os.PathLike[str], *, model: str = "a classifier", dataset: str = "data"
    ) -> list[Path]:
        """Writes results.json, report.md, report.html and a TensorBoard log.

        Args:
          folder: created if missing. What an earlier evaluation wrote there is kept in `earlier`.
          model: what the report calls the classifier.
          dataset: what it calls the data.

        Returns:
          Paths of the files, and of the log's folder.
        """
        return report.write(folder, self, report.Manifest(model=model, dataset=dataset))

    @property
    def verdict(self) -> str:
        """`trustworthy`, `upper bound` or `not a robustness figure`."""
        return summary.verdict(self).name
