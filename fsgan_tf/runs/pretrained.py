"""Small robust classifiers that come with the package, by name.

Each is three files in `fsgan_tf/pretrained`, which `tools/package_pretrained.py` makes of a run:
NAME.npz holds the weights, matrices and kernels in float16, and the flags of the training;
NAME.json is the results.json of the evaluation of these very weights; NAME.md is the model card.
Nothing in them is code, and a file that names code is refused.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from fsgan_tf.errors import UserError
from fsgan_tf.files import write_atomically
from fsgan_tf.networks import classifiers
from fsgan_tf.networks.weights import weights_sha256
from fsgan_tf.runs.checkpoints import CLASSIFIER, Progress, assign, network_variables
from fsgan_tf.runs.configuration import TrainingConfiguration
from fsgan_tf.runs.restored import RestoredClassifier

FOLDER = Path(__file__).parents[1] / "pretrained"
MAX_BYTES = 12_000_000
_RECORD = "__record__"
# Flags that say where things are on the machine of the training.
_PLACES = ("run_dir", "data_dir", "class_names", "init_from", "memory_limit", "dry_run")


def names() -> list[str]:
    """Names of the packaged classifiers."""
    return sorted(file.stem for file in FOLDER.glob("*.npz"))


def results(name: str) -> dict[str, Any]:
    """What the evaluation of a packaged classifier found, as results.json has it."""
    return json.loads((FOLDER / f"{name}.json").read_text("utf-8"))


def is_named(text: str) -> bool:
    """Whether a text is a packaged classifier's name, or a file of one."""
    return text in names() or (text.endswith(".npz") and Path(text).is_file())


def restore(name: str) -> RestoredClassifier:
    """Builds a packaged classifier in float32.

    Args:
      name: one of `names()`, or a NAME.npz elsewhere.

    Returns:
      The classifier, its class names and the settings of its training.

    Raises:
      UserError: there is none of that name, or its file is damaged or names code to run.
    """
    if not is_named(name):
        raise UserError(f"there is no packaged classifier {name!r}; there are {_listed()}")
    file = Path(name) if name.endswith(".npz") else FOLDER / f"{name}.npz"
    try:
        with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
        record = json.loads(arrays.pop(_RECORD).tobytes())
        return _built(record, arrays, file)
    except UserError:
        raise
    except Exception as error:  # damaged archives raise almost anything
        raise UserError(f"{file} is damaged ({' '.join(str(error).split())})") from error


def _built(record: dict[str, Any], arrays: dict[str, np.ndarray], file: Path) -> RestoredClassifier:
    class_names, image_shape = tuple(record["class_names"]), tuple(record["image_shape"])
    configuration = TrainingConfiguration.from_texts(record["flags"])
    if classifiers.is_own(configuration.training.architecture):
        raise UserError(
            f"{file} is refused: it names code of its own for its network, "
            f"{configuration.training.architecture!r}, and such a file may come from anybody"
        )
    model = classifiers.build(
        configuration.training.architecture,
        configuration.classifier,
        num_classes=len(class_names),
        image_shape=image_shape,
    )
    assign(network_variables(CLASSIFIER, model), arrays, file)
    progress = Progress(record["epochs"], 0, class_names, image_shape)
    return RestoredClassifier(model, class_names, configuration, progress, weights_sha256(model))


def write(restored: RestoredClassifier, file: Path) -> None:
    """Writes the weights of a run's classifier and what it takes to build it.

    Args:
      restored: of a run.
      file: to write, there whole or not at all.

    Raises:
      UserError: its network is a user's own, or the file would be larger than `MAX_BYTES`.
    """
    flags = restored.configuration.texts()
    if classifiers.is_own(flags["architecture"]):
        raise UserError(
            f"only the package's architectures can be packaged, and this is {flags['architecture']}"
        )
    record = {
        "flags": {name: text for name, text in flags.items() if name not in _PLACES},
        "class_names": restored.class_names,
        "image_shape": restored.progress.image_shape,
        "epochs": restored.progress.epoch,
    }
    arrays = {
        name: _rounded(np.asarray(variable))
        for name, variable in network_variables(CLASSIFIER, restored.model).items()
    }
    arrays[_RECORD] = np.frombuffer(json.dumps(record).encode(), np.uint8)
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)  # type: ignore[arg-type]
    if content.tell() > MAX_BYTES:
        raise UserError(
            f"the weights take {content.tell() / 1e6:.1f} MB in float16, and a packaged classifier "
            f"may take {MAX_BYTES / 1e6:.0f}; train a smaller one"
        )
    write_atomically(file, content.getvalue())


def _rounded(array: np.ndarray) -> np.ndarray:
    """Matrices and kernels in float16; biases and statistics, which are small, as they are."""
    return array.astype(np.float16) if array.ndim > 1 else array


def _listed() -> str:
    return ", ".join(names()) or "none in this copy of the package"
