"""The classifier of a run, built from its recorded flags and its newest checkpoint."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import keras

from fsgan_tf.errors import UserError
from fsgan_tf.networks import classifiers
from fsgan_tf.networks.weights import weights_sha256
from fsgan_tf.runs.checkpoints import AVERAGE, CLASSIFIER, Progress, assign, network_variables
from fsgan_tf.runs.configuration import TrainingConfiguration
from fsgan_tf.runs.directory import RunDirectory


@dataclasses.dataclass(frozen=True)
class RestoredClassifier:
    """A trained classifier and where it comes from.

    Attributes:
      model: float32 images `[b, h, w, c]` in [0, 1] to float32 logits `[b, K]`.
      class_names: K names.
      configuration: what it was trained with.
      progress: how far its training was.
      weights_sha256: of its weights, whatever file holds them.
    """

    model: keras.Model
    class_names: tuple[str, ...]
    configuration: TrainingConfiguration
    progress: Progress
    weights_sha256: str


def restore_classifier(run_dir: str | Path) -> RestoredClassifier:
    """Builds the newest classifier of a run, or the best one with `--keep=best`, in float32.

    A network of one's own from a file computes as the file says.
    Where weights are averaged (`--ema_decay`) it is the average.

    Args:
      run_dir: the run directory.

    Raises:
      UserError: where the directory is not a run, or has no readable checkpoint.
    """
    run = RunDirectory(run_dir)
    configuration = run.read_configuration()
    keeps_best = configuration.training.keep == "best"
    scores = run.metrics.robust_accuracies() if keeps_best else {}
    arrays, progress = run.checkpoints.read_best(scores)
    if progress is None or (progress.epoch, progress.step_in_epoch) == (0, 0):
        raise UserError(f"{run.path} has no checkpoint of a step yet; train it first")
    model = classifiers.build(
        run.architecture(configuration),
        configuration.classifier,
        num_classes=len(progress.class_names),
        image_shape=progress.image_shape,
    )
    kept = AVERAGE if configuration.method.ema_decay else CLASSIFIER
    assign(network_variables(kept, model), arrays, run.checkpoints.folder)
    return RestoredClassifier(
        model, progress.class_names, configuration, progress, weights_sha256(model)
    )
