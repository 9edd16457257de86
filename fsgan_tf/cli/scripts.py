"""The installed commands: `fsgan-train` is `python -m fsgan_tf.train`, and so on.

Each runs its module as Python itself would, so that both ways are one.
"""

import runpy


def train() -> None:
    """Is `fsgan-train`."""
    _run("fsgan_tf.train")


def evaluate() -> None:
    """Is `fsgan-evaluate`."""
    _run("fsgan_tf.evaluate")


def export() -> None:
    """Is `fsgan-export`."""
    _run("fsgan_tf.export")


def predict() -> None:
    """Is `fsgan-predict`."""
    _run("fsgan_tf.predict")


def _run(module: str) -> None:
    runpy.run_module(module, run_name="__main__", alter_sys=True)
