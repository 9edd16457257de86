"""Several workers train one thing, or none."""

from __future__ import annotations

import zlib

from fsgan_tf import devices
from fsgan_tf.errors import UserError
from fsgan_tf.runs.configuration import CHANGEABLE
from fsgan_tf.training.setup import Training


def require_agreement(training: Training) -> None:
    """Compares what the workers would train; nothing for a process alone.

    Raises:
      UserError: they would train different things.
    """
    if not devices.has_workers(training.strategy):
        return
    for what, content in _compared(training).items():
        # 31 bits of the hash: what goes between workers is int32.
        hashes = devices.on_all_workers(training.strategy, zlib.crc32(content) >> 1)
        if len(set(hashes)) > 1:
            raise UserError(f"the workers have different {what}; start all with the same command")


def _compared(training: Training) -> dict[str, bytes]:
    """What must be the same, in words and in bytes."""
    named = training.configuration.texts().items()
    fixed = sorted(flag for flag in named if flag[0] not in CHANGEABLE)
    return {
        "training flags": repr(fixed).encode(),
        "numbers of epochs": str(training.settings.epochs).encode(),
        "precisions": devices.resolve_precision(training.settings.precision).encode(),
        "training images": training.dataset.train.fingerprint(),
        "checkpoints (--run_dir must be one folder that all of them see)": repr(
            training.run.checkpoints.read_progress()
        ).encode(),
    }
