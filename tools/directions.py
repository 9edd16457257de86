"""How far each perturbation of the ball scatters a classifier's answers, and how often it fools.

    python tools/directions.py --run_dir=runs/cifar10_fs_gan

FS-GAN's adversary maximises L_ot and sees no labels. This tool sets its generator beside what else
the same ball holds, on the same images from the same noisy starts: a sign step along the gradient
of L_ot and against it, several of them, twenty small ones, and one step along cross-entropy, which
sees the labels. Each has its L_ot, that as a ratio to the one sign step, and the accuracy that it
leaves the classifier, with a 95% interval. `directions.json` in the run has the numbers.

Every pass is in float32, with the classifier normalising as it does for its adversary in training.
A sign step replaces the perturbation so far; the twenty steps of epsilon/4 are added to it and
projected.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import flags

from fsgan_tf.cli import quiet, runner
from fsgan_tf.errors import UserError

if TYPE_CHECKING:
    import tensorflow as tf

    from fsgan_tf.methods.fs_gan import FSGAN
    from fsgan_tf.runs.restored import RestoredClassifier


def main(flag_values: flags.FlagValues, words: list[str]) -> None:
    """Measures, prints a table and writes the numbers."""
    del words
    if flag_values.run_dir is None:
        raise UserError("--run_dir is missing: name the folder of a run of --method=fs_gan")
    quiet.start_tensorflow()
    from experiments.run_images import load, restore_fs_gan, whole_batches

    from fsgan_tf.files import write_atomically

    run_dir = flag_values.run_dir
    run = restore_fs_gan(run_dir)
    images = load(run, run_dir, flag_values.split, flag_values.data_dir)
    size = flag_values.batch_size or run.configuration.training.batch_size
    batches = whole_batches(images, size, flag_values.num_examples)
    rows = measure(_method(run_dir, run, flag_values.seed), batches, flag_values.seed)
    numbers = {
        "split": images.name,
        "num_examples": size * len(batches),
        "batch_size": size,
        "seed": flag_values.seed,
        "epsilon": run.configuration.training.epsilon,
        "directions": rows,
    }
    print(_table(rows))
    path = Path(run_dir) / "directions.json"
    write_atomically(path, (json.dumps(numbers, indent=1) + "\n").encode())
    print(f"written: {path}")


def measure(method: FSGAN, batches: list[Any], seed: int) -> dict[str, dict[str, Any]]:
    """L_ot and accuracy of each direction.

    Args:
      method: of the run; its classifier is attacked.
      batches: of images `[b, h, w, c]` with labels.
      seed: of start noise and z.

    Returns:
      By direction: `ot`, the mean over batches; `ratio`, that over the sign step's; `accuracy`
      with its 95% `interval`.
    """
    import tensorflow as tf
    from experiments.run_images import pixels

    from fsgan_tf.results.intervals import wilson_interval

    scatter = tf.function(lambda clean, perturbed: method.scatter_gradient(clean, perturbed)[0])
    distances: dict[str, list[float]] = {}
    right: dict[str, list[np.ndarray]] = {}
    for number, batch in enumerate(batches):
        images, labels = pixels(batch), tf.constant(batch.labels)
        clean_logits = method.attacked(images)
        found = _perturbed(method, scatter, images, labels, tf.constant([seed, number]))
        for name, perturbed in found.items():
            logits = method.attacked(perturbed)
            distances.setdefault(name, []).append(
                float(method.transport_cost(clean_logits, logits))
            )
            right.setdefault(name, []).append(np.argmax(logits, axis=1) == batch.labels)
    sign_step = np.mean(distances["1 sign step"])
    rows = {}
    for name, values in distances.items():
        correct = np.concatenate(right[name])
        rows[name] = {
            "ot": float(np.mean(values)),
            "ratio": float(np.mean(values) / sign_step) if sign_step else None,
            "accuracy": float(correct.mean()),
            "interval": wilson_interval(int(correct.sum()), len(correct)),
        }
    return rows


def _perturbed(
    method: FSGAN, scatter: Any, images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Images `[b, h, w, c]` by direction, all from one noisy start."""
    import tensorflow as tf

    from fsgan_tf import stateless_random

    ball = method.threat_model
    clean_logits = method.attacked(images)
    # As the generator's pass draws it.
    noise_seed = stateless_random.split(seed, 1 + method.settings.attack_iterations)[0]
    noise = ball.random_perturbation(tf.shape(images), noise_seed)
    start = ball.project(images + noise, images)

    def sign_step(gradient: tf.Tensor) -> tf.Tensor:
        return ball.project(images + ball.epsilon * tf.sign(gradient), images)

    def next_sign_step(perturbed: tf.Tensor) -> tf.Tensor:
        return sign_step(scatter(clean_logits, perturbed))

    def small_step(perturbed: tf.Tensor) -> tf.Tensor:
        step = ball.epsilon / 4 * tf.sign(scatter(clean_logits, perturbed))
        return ball.project(perturbed + step, images)

    first = scatter(clean_logits, start)
    found = {
        "none": images,
        "start noise": start,
        "1 sign step": sign_step(first),
        "1 sign step, backwards": sign_step(-first),
        "2 sign steps": _repeat(next_sign_step, start, 2),
        "10 sign steps": _repeat(next_sign_step, start, 10),
        "20 small steps": _repeat(small_step, start, 20),
    }
    if not method.frozen:
        found["generator"] = method.perturb(images, labels, seed)
    found["1 sign step on cross-entropy"] = sign_step(_by_label(method, images, labels))
    return found


def _by_label(method: FSGAN, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Gradient of cross-entropy by the clean images, `[b, h, w, c]`."""
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(images)
        logits = method.attacked(images)
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    return tape.gradient(loss, images)


def _repeat(step: Callable[[tf.Tensor], tf.Tensor], start: tf.Tensor, count: int) -> tf.Tensor:
    for _ in range(count):
        start = step(start)
    return start


def _method(run_dir: str, restored: RestoredClassifier, seed: int) -> FSGAN:
    """The run's method with its trained networks, in float32."""
    from experiments.run_images import generator_weights

    from fsgan_tf.methods.fs_gan import FSGAN
    from fsgan_tf.threat_model import ThreatModel

    configuration = restored.configuration
    method = FSGAN(
        restored.model,
        threat_model=ThreatModel(configuration.training.epsilon),
        seed=seed,
        **dataclasses.asdict(configuration.method),
    )
    method.networks["generator"].set_weights(generator_weights(run_dir, restored))
    return method


def _table(rows: dict[str, dict[str, Any]]) -> str:
    lines = ["| perturbation | L_ot | beside 1 sign step | accuracy |", "| --- | --- | --- | --- |"]
    for name, row in rows.items():
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        low, high = row["interval"]
        lines.append(
            f"| {name} | {row['ot']:.4f} | {ratio} | "
            f"{row['accuracy']:.1%} ({low:.1%} to {high:.1%}) |"
        )
    return "\n".join(lines)


def _flags() -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_string("run_dir", None, "Run of --method=fs_gan.", flag_values=values)
    flags.DEFINE_string(
        "data_dir", None, "Folder of TFDS data; the run's by default.", flag_values=values
    )
    flags.DEFINE_string(
        "split", "validation", "Images: validation, test, train.", flag_values=values
    )
    flags.DEFINE_integer("num_examples", 1000, "Images, in whole batches.", 2, flag_values=values)
    flags.DEFINE_integer(
        "batch_size", None, "Images a batch; the run's by default.", 2, flag_values=values
    )
    flags.DEFINE_integer("seed", 0, "Seed of start noise and z.", 0, flag_values=values)
    return values


if __name__ == "__main__":
    sys.exit(runner.run(main, _flags(), description=__doc__ or ""))
