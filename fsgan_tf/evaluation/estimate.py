"""How long an evaluation would take on this machine, from the time of a few gradients."""

import dataclasses
import time
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from fsgan_tf.attacks.parts.attack import Attack
from fsgan_tf.attacks.parts.attacked_classifier import AttackedClassifier
from fsgan_tf.attacks.parts.losses import cross_entropy
from fsgan_tf.attacks.parts.sample import Sampling
from fsgan_tf.evaluation import checks
from fsgan_tf.evaluation.engine import Evaluator
from fsgan_tf.evaluation.request import Request

_TIMINGS = 5


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What an evaluation costs at most: where every image withstands every attack.

    Attributes:
      attacks: those that would run.
      num_images: to be evaluated.
      num_attacked: of them, those to attack: about as many as are classified correctly.
      check_passes: of all checks together, about.
      num_radii: at each of which an image is attacked at most once more.
      passes_per_second: images of which the machine computes the gradient in a second, over as
        many draws as are averaged.
    """

    attacks: Sequence[Attack]
    num_images: int
    num_attacked: int
    check_passes: int
    num_radii: int
    passes_per_second: float

    @property
    def attack_seconds(self) -> float:
        """At most; images that an attack fools cost no later attack anything."""
        passes = _passes(self.attacks, self.num_attacked) * self.num_radii
        return passes / self.passes_per_second

    @property
    def check_seconds(self) -> float:
        """Of the checks."""
        return self.check_passes / self.passes_per_second

    def __str__(self) -> str:
        per_image = sum(attack.cost for attack in self.attacks)
        lines = [f"images: {self.num_images}, about {self.num_attacked} of them to attack"]
        lines += [
            f"{attack.name}: {attack.cost} passes an image"
            + (f", of {attack.most_sampled} at most" if isinstance(attack, Sampling) else "")
            for attack in self.attacks
        ]
        if self.num_radii > 1:
            lines.append(
                f"at {self.num_radii} radii; at a smaller one only what the next larger one fooled"
            )
        lines += [
            f"in all: at most {per_image} passes an image (a pass is a gradient, or two answers)",
            f"this machine: {self.passes_per_second:,.0f} passes a second, as timed now",
            f"time: at most {duration(self.attack_seconds)} for the attacks, less where images are "
            f"fooled early, and about {duration(self.check_seconds)} for the checks; starting and "
            "compiling come on top",
        ]
        return "\n".join(lines)


def estimate(
    copies: Sequence[AttackedClassifier],
    images: np.ndarray,
    labels: np.ndarray,
    request: Request,
    *,
    differentiable: bool = True,
) -> Estimate:
    """Times a few passes of one batch.

    Args:
      copies: of the classifier, which would share the batches.
      images: `[n, h, w, c]`, float32 in [0, 1] or uint8.
      labels: integer `[n]`.
      request: the evaluation.
      differentiable: whether gradients flow; else two answers are timed, which is a pass too.
    """
    evaluator = Evaluator(
        copies, request.threat_model, min(request.batch_size, len(labels)), eot=request.eot
    )
    batch = np.arange(evaluator.batch_size)
    share = float(np.mean(evaluator.correct(images[batch], labels[batch])))
    num_attacked = round(share * len(labels))
    gradients = _passes(request.attacks, num_attacked)
    return Estimate(
        request.attacks,
        len(labels),
        num_attacked,
        checks.cost(request.attacks, gradients, request.checks),
        1 + len(request.smaller),
        len(copies) * len(batch) / _seconds(evaluator, images, labels, batch, differentiable),
    )


def _passes(attacks: Sequence[Attack], num_images: int) -> int:
    """Of all attacks together, at most; one that takes a sample attacks no more than that."""
    return sum(
        attack.cost * min(num_images, attack.most_sampled)
        if isinstance(attack, Sampling)
        else attack.cost * num_images
        for attack in attacks
    )


def _seconds(
    evaluator: Evaluator,
    images: np.ndarray,
    labels: np.ndarray,
    batch: np.ndarray,
    differentiable: bool,
) -> float:
    """Of one pass over a batch, the median; compiling is not among it."""
    classifier = evaluator.classifier

    @tf.function(autograph=False)
    def one_pass(pixels: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        if differentiable:
            return classifier.loss_and_gradient(
                pixels, targets, lambda x: cross_entropy(targets, x)
            )[2]
        return classifier.logits(pixels) + classifier.logits(1 - pixels)

    seconds = []
    with classifier.on_its_device():
        pixels, targets = evaluator.take(images, labels, batch)
        one_pass(pixels, targets)
        for _ in range(_TIMINGS):
            start = time.monotonic()
            one_pass(pixels, targets).numpy()
            seconds.append(time.monotonic() - start)
    return float(np.median(seconds))


def duration(seconds: float) -> str:
    """`40 s`, `12 min` or `3.5 h`."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
