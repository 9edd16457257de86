"""Watches a training: validation, warnings, TensorBoard, metrics.jsonl."""

from __future__ import annotations

import sys
import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams
from tqdm import tqdm

from fsgan_tf.attacks import Evaluator, by_names
from fsgan_tf.data.loading import Split
from fsgan_tf.methods.base import TrainingMethod
from fsgan_tf.reporting import results_file
from fsgan_tf.runs.configuration import TrainingConfiguration
from fsgan_tf.runs.directory import RunDirectory
from fsgan_tf.training.tensorboard_log import TensorBoardLog

ONE_STEP, MULTI_STEP = "fgsm", "pgd10"
# Enough to see robustness come or go (standard error 3 points at worst), cheap beside an epoch.
_ATTACKED_EXAMPLES = 256
_PICTURED_EXAMPLES = 8
_DIAGNOSED_BATCHES = 4
_ENLARGEMENT = 3
# Below or above these a generator's figures are warned of. A trained one moves by tens of percent.
_LEAST_DISPLACEMENT = 0.03
_MOST_SIGN_COSINE = 0.99
_LEAST_OT_RATIO = 0.8
_LEAST_LATENT_SHARE = 0.05
_LEAST_DIVERSITY_SHARE = 0.01
# Not shown as hyper-parameters: where things are.
_NO_HPARAMS = ("run_dir", "data_dir", "dry_run")

Row = dict[str, Any]


class Watcher(keras.callbacks.Callback):
    """After every epoch: attacks the validation slice, warns, logs.

    The multi-step attack is what tells a robust classifier from one that learnt to defeat its own
    one-step adversary.
    """

    def __init__(
        self,
        method: TrainingMethod,
        validation: Split,
        run: RunDirectory,
        *,
        epochs: int,
        batch_size: int,
        images_per_step: int,
        seed: int,
    ):
        """Watches `method` on `validation`; `images_per_step` counts all replicas."""
        super().__init__()
        self._method = method
        self._validation = validation
        self._run = run
        self._epochs = epochs
        self._batch_size = min(batch_size, len(validation))
        self._images_per_step = images_per_step
        self._seed = tf.constant([seed, 0])
        epsilon = method.threat_model.epsilon
        self._attacks = by_names([ONE_STEP, MULTI_STEP], epsilon)
        self._evaluator = Evaluator(method.classifier, method.threat_model, self._batch_size)
        self._diagnose = tf.function(method.diagnose, autograph=False)
        self._perturb = tf.function(method.perturb, autograph=False)
        self._tensorboard = TensorBoardLog(run.tensorboard)
        self._rows = run.metrics.read()
        self._started = 0.0
        self._steps = 0
        self._seconds_per_epoch: list[float] = []

    def describe(self, configuration: TrainingConfiguration) -> None:
        """Writes the settings to TensorBoard, as text and as hyper-parameters."""
        listed = {k: v for k, v in configuration.values().items() if k not in _NO_HPARAMS}
        text = "\n".join(f"    --{name}={value}" for name, value in listed.items())

        def summaries() -> None:
            tf.summary.text("flags", text)
            hparams.hparams({k: v if _is_plain(v) else str(v) for k, v in listed.items()})

        self._tensorboard.write("flags", 0, summaries)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Starts the clock."""
        del epoch, logs
        self._steps = 0
        self._started = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Counts steps, since an interrupted epoch has fewer."""
        del batch, logs
        self._steps += 1

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Measures, warns and writes."""
        trained_seconds = time.monotonic() - self._started
        step = int(self._method.classifier_optimizer.iterations.numpy())
        row = {
            "epoch": epoch,
            "step": step,
            **{name: float(value) for name, value in (logs or {}).items()},
            **self._validate(),
            **self._displacement(),
            "images_per_second": self._steps * self._images_per_step / trained_seconds,
            **{
                f"learning_rate_{network}": float(optimizer.learning_rate.numpy())
                for network, optimizer in self._method.optimizers_by_network.items()
            },
        }
        self._seconds_per_epoch.append(time.monotonic() - self._started)
        _say(self._line(row))
        for warning in warnings_of(self._rows, row):
            _say(f"warning: {warning}")
        self._rows.append(row)
        self._run.metrics.append(row)
        self._tensorboard.write("epoch", step, lambda: self._write_epoch(row))

    def _validate(self) -> dict[str, float]:
        images, labels = self._validation.images, self._validation.labels
        clean = float(np.mean(self._evaluator.correct(images, labels)))
        attacked = self._validation.first(min(_ATTACKED_EXAMPLES, len(images)))
        result = self._evaluator.evaluate(
            attacked.images, attacked.labels, self._attacks, standalone=True
        )
        accuracies = {attack.name: attack.accuracy for attack in result.attacks}
        return {
            "clean_accuracy": clean,
            "one_step_accuracy": accuracies[ONE_STEP],
            "robust_accuracy": accuracies[MULTI_STEP],
            **self._diagnoses(),
        }

    def _diagnoses(self) -> dict[str, float]:
        """Means of the method's diagnoses over a few full batches: OT depends on their size."""
        batches = min(_DIAGNOSED_BATCHES, len(self._validation) // self._batch_size)
        collected: dict[str, list[float]] = {}
        for index in range(batches):
            rows = np.arange(index * self._batch_size, (index + 1) * self._batch_size)
            images, labels = self._evaluator.take(
                self._validation.images, self._validation.labels, rows
            )
            for name, value in self._diagnose(images, labels, self._seed).items():
                collected.setdefault(name, []).append(float(value))
        return {name: float(np.mean(values)) for name, values in collected.items()}

    def _displacement(self) -> dict[str, float]:
        if "generator" not in self._method.networks:
            return {}
        return {"generator_displacement": self._method.generator_displacement()}

    def _line(self, row: Row) -> str:
        left = np.mean(self._seconds_per_epoch) * (self._epochs - row["epoch"] - 1)
        return (
            f"epoch {row['epoch'] + 1}/{self._epochs}  loss {row['loss']:.3f}  validation: clean "
            f"{row['clean_accuracy']:.3f} {ONE_STEP} {row['one_step_accuracy']:.3f} "
            f"{MULTI_STEP} {row['robust_accuracy']:.3f}  {row['images_per_second']:.0f} img/s  "
            f"{tqdm.format_interval(left)} left"
        )

    def _write_epoch(self, row: Row) -> None:
        """Scalars, and rows of clean images, adversarial ones and perturbations, magnified."""
        _write_scalars(row)
        count = min(_PICTURED_EXAMPLES, len(self._validation))
        rows = np.arange(self._batch_size)
        images, labels = self._evaluator.take(
            self._validation.images, self._validation.labels, rows
        )
        adversarial = self._perturb(images, labels, self._seed)
        magnified = 0.5 + (adversarial - images) / (2 * self._method.threat_model.epsilon)
        strips = [_strip(x[:count]) for x in (images, adversarial, magnified)]
        tf.summary.image("clean_adversarial_perturbation", tf.concat(strips, axis=0)[tf.newaxis])


def write_test_figures(run: RunDirectory) -> None:
    """Copies the evaluation's accuracies to TensorBoard, at the last step, unless they are there.

    Args:
      run: its training has ended and `evaluation/results.json` is written.
    """
    rows, log = run.metrics.read(), TensorBoardLog(run.tensorboard)
    file = run.evaluation / "results.json"
    step = rows[-1]["step"] if rows else 0
    if log.has("test", step) or not file.is_file():
        return
    results = results_file.read(file)
    scalars = {f"test/{name}": results[name] for name in ("clean_accuracy", "worst_case_accuracy")}
    scalars |= {f"test/{attack['name']}": attack["accuracy"] for attack in results["attacks"]}
    log.write("test", step, lambda: _write_scalars(scalars))


def warnings_of(earlier: list[Row], row: Row) -> list[str]:
    """What a person watching these epochs would be alarmed by.

    Args:
      earlier: rows of metrics.jsonl before this epoch.
      row: of this epoch.

    Returns:
      One line each, telling what is seen and what it means.
    """
    lines = _warnings_of_the_generator(row)
    one_step, multi_step = row["one_step_accuracy"], row["robust_accuracy"]
    best = max(earlier, key=lambda seen: seen["robust_accuracy"], default=None)
    fell = (
        best is not None
        and best["robust_accuracy"] - multi_step > 0.1
        and multi_step < 0.5 * best["robust_accuracy"]
        and one_step > 0.8 * best["one_step_accuracy"]
    )
    if "accuracy_on_adversarial" in row and (fell or one_step - multi_step > max(0.2, multi_step)):
        lines.append(
            f"{ONE_STEP} accuracy holds at {one_step:.3f} while {MULTI_STEP} accuracy is "
            f"{multi_step:.3f}: catastrophic overfitting; the classifier beats its one-step "
            "adversary only"
        )
    return lines


def _warnings_of_the_generator(row: Row) -> list[str]:
    """Of FS-GAN's: whether it learns, attacks, and makes of z what the paper says."""
    lines = []
    moved, cosine = row.get("generator_displacement"), row.get("validation_sign_cosine", 0.0)
    if moved is not None and moved < _LEAST_DISPLACEMENT:
        lines.append(
            f"the generator is inert: its weights have moved by {moved:.2%} of their initial norm"
        )
    if cosine > _MOST_SIGN_COSINE:
        lines.append(
            f"the generator is inert: its output is the gradient's sign (cosine {cosine:.4f})"
        )
    if "validation_generator_ot" in row:
        reached, sign = row["validation_generator_ot"], row["validation_replaced_sign_ot"]
        if reached < _LEAST_OT_RATIO * sign:
            lines.append(
                f"the generator reaches an OT distance of {reached:.4f}, below {_LEAST_OT_RATIO} "
                f"of a sign step's {sign:.4f} in its place: its images are a weaker adversary"
            )
        share, spread = row["validation_latent_share"], row["diversity_share"]
        if share < _LEAST_LATENT_SHARE or spread < _LEAST_DIVERSITY_SHARE:
            lines.append(
                f"no diversity: z alone moves the logits by {share:.1%} of what the perturbation "
                f"does, and perturbations by {spread:.1%} of what they can differ"
            )
        offset, deviation = row["validation_logit_offset"], row["validation_logit_spread"]
        if abs(offset) > deviation:
            lines.append(
                f"the logits have a common offset of {offset:.2f} beside a deviation of "
                f"{deviation:.2f}: an OT distance of logits is small for any images then"
            )
    return lines


def _write_scalars(scalars: Row) -> None:
    for name, value in scalars.items():
        if name not in ("epoch", "step"):
            tf.summary.scalar(_tag(name), value)


def _is_plain(value: Any) -> bool:
    return isinstance(value, (bool, int, float, str))


def _tag(name: str) -> str:
    """TensorBoard groups by what stands before the slash."""
    if name.startswith("learning_rate"):
        return name.replace("learning_rate_", "learning_rate/")
    if name.startswith(("validation", "clean", "one_step", "robust", "diversity_share")):
        return "validation/" + name.removeprefix("validation_")
    return name if name.startswith("test/") or name == "images_per_second" else f"train/{name}"


def _strip(images: tf.Tensor) -> tf.Tensor:
    """Images `[n, h, w, c]` side by side, enlarged: `[h', n * w', c]`."""
    large = tf.repeat(tf.repeat(images, _ENLARGEMENT, axis=1), _ENLARGEMENT, axis=2)
    return tf.clip_by_value(tf.concat(tf.unstack(large), axis=1), 0, 1)


def _say(line: str) -> None:
    """Prints without breaking the progress bar."""
    tqdm.write(line)
    sys.stdout.flush()
