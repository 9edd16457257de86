"""Where the weights of a run come from: each start of its training, with commit and machine."""

from __future__ import annotations

import json
import shlex
import sys
from typing import Any

from fsgan_tf.reporting import manifest
from fsgan_tf.runs.checkpoints import Progress
from fsgan_tf.training.setup import Training


def record_start(training: Training, progress: Progress, **elsewhere: Any) -> None:
    """Adds a line to the run's starts.jsonl: a training that was interrupted has several.

    Args:
      training: whose run directory it is.
      progress: where it starts.
      **elsewhere: what differs of a training that ran on another machine, such as `machine`.

    Raises:
      OSError: it cannot be written.
    """
    row: dict[str, Any] = {
        "date": manifest.now(),
        "epoch": progress.epoch,
        "step_in_epoch": progress.step_in_epoch,
        "command": shlex.join(["python", "-m", "fsgan_tf.train", *sys.argv[1:]]),
        "replicas": training.strategy.num_replicas_in_sync,
        "precision": training.method.dtype_policy_name,
        "machine": manifest.machine(),
        "versions": manifest.versions(),
        **elsewhere,
    }
    with training.run.starts_file.open("a") as file:
        file.write(json.dumps(row) + "\n")
