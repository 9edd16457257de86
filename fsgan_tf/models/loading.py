"""Loads a classifier by a flag or a path, whatever its kind.

Every loader reads its files anew and puts the variables on the device of the surrounding
`tf.device`: for a copy on each device, load once under each.
"""

from collections.abc import Callable
from pathlib import Path

from fsgan_tf.models.classifier import Classifier
from fsgan_tf.models.keras_files import load_keras_model
from fsgan_tf.models.litert_files import load_litert_model
from fsgan_tf.models.named_model import NamedModel
from fsgan_tf.models.saved_models import load_saved_model
from fsgan_tf.models.trained import load_pretrained, load_run

_LOADERS: dict[str, Callable[..., Classifier]] = {
    "run_dir": load_run,
    "saved_model": load_saved_model,
    "keras_model": load_keras_model,
    "litert_model": load_litert_model,
    "pretrained": load_pretrained,
}


def load_named(named: NamedModel) -> Classifier:
    """The classifier that the flags name.

    Raises:
      UserError: it cannot be loaded, or is not a classifier of images.
    """
    return _LOADERS[named.flag](named.path, **named.options)


def load(path: str) -> Classifier:
    """A classifier by what its path holds: a model's file, a SavedModel or a run directory.

    Raises:
      UserError: it holds none of them, or it cannot be loaded.
    """
    if Path(path).suffix == ".tflite":
        return load_litert_model(path)
    if Path(path).is_file():
        return load_keras_model(path)
    if (Path(path) / "saved_model.pb").is_file():
        return load_saved_model(path)
    return load_run(path)
