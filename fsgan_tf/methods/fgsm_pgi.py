"""FGSM-PGI: one sign step from the perturbation that its image had last (arXiv:2207.08859).

Source: jiaxiaojunQAQ/FGSM-PGI at fc15cfe, `FGSM_MEP.py` (the paper's FGSM-MEP, of momentum over the
epochs). Every training image has a perturbation p and a momentum m of its own. p is a random corner
of the ball at first, m is zero; both start anew after every 40 epochs. A step takes them as they
are, to whatever crop and flip of the image this epoch drew: they are not moved along with it.

    g = the gradient of the smoothed cross-entropy at x + p
    x' = x + clip(p + epsilon sign(g))
    m <- g / (the l1 norm of g over the batch) + 0.3 m
    p <- clip(p + epsilon sign(m))

where clip is to the ball, then to the pixel range. x + p itself is clipped to neither, so that it
may leave the pixel range. The classifier descends the smoothed cross-entropy at x' (0.6 on the true
class) plus 10 times the mean squared difference of the logits at x' and at x + p, with the gradient
through both. Both passes are in training mode, and the one at x + p serves both uses.

Deviations: pixels are normalised inside the classifier, theirs not at all; the last weights are
kept, not those of the best PGD-10 test accuracy; with several replicas the l1 norm is over one
replica's batch. m is stored times the batch's number of pixel values. This suits float16 and leaves
every sign unchanged, except after a smaller last batch (`--last_batch=keep`, which theirs has too),
whose gradients count in m as much as those of a full batch. With `--awp_gamma`, g is of the moved
weights.

The 40 epochs are counted by `fit`: a training that is divided into several calls of it has to pass
`initial_epoch`, or every call begins in the first round and none starts anew.

`--prior_precision=float16` (ours) halves what is stored: 1.2 GB for 50,000 images of 32 x 32 x 3,
in memory for each replica and in every checkpoint.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import keras
import tensorflow as tf

from fsgan_tf import stateless_random
from fsgan_tf.methods.base import Batch, TrainingMethod
from fsgan_tf.methods.parts import settings as shared
from fsgan_tf.methods.parts.classifier import image_shape_of
from fsgan_tf.methods.parts.example_memory import ExampleMemory
from fsgan_tf.methods.parts.input_gradient import input_gradient
from fsgan_tf.methods.parts.losses import accuracy, smoothed_cross_entropy, squared_difference
from fsgan_tf.settings import setting
from fsgan_tf.threat_model import ThreatModel

BASELINE = True
TRAINS_ON = "one sign step from the perturbation that its image had last (arXiv:2207.08859)"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(shared.WeightPerturbationSettings, shared.MethodSettings):
    """FGSM_MEP.py's `--factor` (1 - it), `--alpha`, `--lamda`, `--momentum_decay` and so on."""

    label_smoothing: float = shared.label_smoothing(0.4)
    attack_step_size: float = shared.attack_step_size(1.0)
    consistency_weight: float = shared.consistency_weight(10.0)
    prior_decay: float = setting(
        0.3, "Share of an image's momentum that its next gradient is added to.", lower=0
    )
    prior_epochs: int = setting(
        40,
        "Epochs after which the stored perturbations start anew; 10 on CIFAR-100, as its authors "
        "have it.",
        lower=1,
    )
    prior_precision: str = setting(
        "float32",
        "Type in which perturbations are stored; float16 halves their memory.",
        choices=("float32", "float16"),
        ours=True,
    )
    weight_decay: float = 5e-4


class FGSMPGI(TrainingMethod):
    """Trains on one sign step from what is stored of each image.

    Batches need the image's `index` among the training images, from 0; `fit` attaches it to
    arrays. `remember` says how many images there are.

    Attributes:
      image_shape: `(h, w, c)`.
      round: how often the stored perturbations have started anew in this `fit`; int32 scalar.
    """

    settings: Settings
    reports = ("loss", "consistency", "accuracy_on_adversarial")

    def add_networks(self) -> None:
        """No network, but the shape of what is remembered and the count of the rounds."""
        self.image_shape = image_shape_of(self.networks["classifier"])
        self.round = self.add_weight(
            shape=(), dtype="int32", initializer="zeros", trainable=False, name="round"
        )

    @property
    def forward_equivalents(self) -> dict[str, float]:
        """Through the stored start and the step."""
        return {"classifier": self.two_pass_descents}

    @property
    def training_ball(self) -> ThreatModel:
        """The ball alone: an image at its stored start may leave the pixel range."""
        ball = self.threat_model
        return dataclasses.replace(
            ball, lower=ball.lower - ball.epsilon, upper=ball.upper + ball.epsilon
        )

    @property
    def bytes_an_example(self) -> int:
        """A perturbation, its momentum, and the round they are of."""
        values = math.prod(self.image_shape)
        return 2 * values * tf.as_dtype(self.settings.prior_precision).size + 4

    def remember(self, examples: int) -> None:
        """Makes the memory of so many training images, unless it is there."""
        if self.memory is not None and self.memory.examples == examples:
            return
        kept = (self.image_shape, self.settings.prior_precision)
        with self.distribute_strategy.scope():
            # `rounds` is one more than the round, so that 0 is none.
            self.memory = ExampleMemory(
                examples, {"perturbations": kept, "momenta": kept, "rounds": ((), "int32")}
            )
        # The old one is part of the traced step.
        self.train_function = None

    def fit(
        self, x: Any = None, y: Any = None, *arguments: Any, callbacks: Any = None, **options: Any
    ) -> keras.callbacks.History:
        """Keras' `fit`, which numbers the images of arrays.

        A second call starts from what the first one stored, also where the images are others of
        the same number: make a new method for those.
        """
        if y is not None:
            if any(options.get(name) is not None for name in ("sample_weight", "class_weight")):
                raise ValueError("sample weights and class weights are not supported")
            self.remember(len(x))
            x, y = {"image": x, "label": y, "index": tf.range(len(x)).numpy()}, None
        given = callbacks if isinstance(callbacks, (list, tuple)) else filter(None, [callbacks])
        return super().fit(x, y, *arguments, callbacks=[_Rounds(), *given], **options)

    def start_epoch(self, epoch: int | tf.Tensor) -> None:
        """Begins a round with every `prior_epochs`-th epoch."""
        self.round.assign(tf.cast(epoch // self.settings.prior_epochs, self.round.dtype))

    def train_step(self, data: Batch) -> dict[str, tf.Tensor]:
        """Steps from what is stored, descends through both passes, and stores."""
        images, labels = data["image"], data["label"]
        memory, index = self.memory_of(data)
        (start_seed,) = self.step_seeds(1)
        start, momenta = self.stored(memory.read(index), tf.shape(images), start_seed)

        def objective() -> dict[str, tf.Tensor]:
            start_logits, gradients = self.loss_gradient(images + start, labels, training=True)
            adversarial_images = images + self.step(images, start, gradients)
            logits = self.classifier(adversarial_images, training=True)
            cross_entropy = tf.reduce_mean(self.cross_entropy(labels, logits))
            consistency = squared_difference(logits, start_logits)
            return {
                "loss": cross_entropy + self.settings.consistency_weight * consistency,
                "consistency": consistency,
                "accuracy_on_adversarial": accuracy(labels, logits),
                "gradients": gradients,
            }

        computed = self.descend(objective)
        momenta = unit_mean(computed.pop("gradients")) + self.settings.prior_decay * momenta
        memory.write(
            index,
            {
                "perturbations": self.step(images, start, momenta),
                "momenta": momenta,
                "rounds": tf.fill(tf.shape(index), self.round + 1),
            },
        )
        return self.track(**computed)

    def memory_of(self, data: Batch) -> tuple[ExampleMemory, tf.Tensor]:
        """Where a batch's images are remembered, and their rows there, int32 `[b]`.

        Raises:
          ValueError: the batch has none, or nobody said how many images there are.
        """
        if "index" not in data or self.memory is None:
            raise ValueError(
                "fgsm_pgi keeps a perturbation of every training image: call "
                "method.remember(NUMBER_OF_IMAGES), and give batches of image, label and index, "
                "the image's number from 0, as of dataset.enumerate().map(lambda index, pair: "
                '{"image": pair[0], "label": pair[1], "index": index}) before shuffling and '
                "batching; or give arrays, which are numbered by themselves"
            )
        return self.memory, data["index"]

    def stored(
        self, rows: dict[str, tf.Tensor], shape: tf.Tensor, seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """What is stored of a batch's images, or what a round starts from.

        Args:
          rows: of the memory.
          shape: of the images, `[b, h, w, c]`.
          seed: int32 `[2]`, of the first perturbations.

        Returns:
          Perturbations and momenta, float32 `[b, h, w, c]`.
        """
        there = tf.equal(rows["rounds"], self.round + 1)[:, tf.newaxis, tf.newaxis, tf.newaxis]
        perturbations, momenta = (
            tf.cast(rows[name], tf.float32) for name in ("perturbations", "momenta")
        )
        perturbations = tf.where(there, perturbations, self.corner(shape, seed))
        return perturbations, tf.where(there, momenta, 0.0)

    def corner(self, shape: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """A random corner of the ball, float32 of that shape, or as far as a step goes."""
        length = min(self.settings.attack_step_size, 1.0) * self.threat_model.epsilon
        return length * tf.sign(self.threat_model.random_perturbation(shape, seed))

    def step(self, images: tf.Tensor, start: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
        """The perturbations after a sign step from `start`, float32 `[b, h, w, c]`."""
        ball = self.threat_model
        length = self.settings.attack_step_size * ball.epsilon
        moved = tf.clip_by_value(start + length * tf.sign(gradients), -ball.epsilon, ball.epsilon)
        return tf.clip_by_value(moved, ball.lower - images, ball.upper - images)

    def loss_gradient(
        self, images: tf.Tensor, labels: tf.Tensor, training: bool
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Logits `[b, K]`, and the gradient of their smoothed loss; see `input_gradient`."""
        return input_gradient(
            self.classifier, images, labels, training=training, loss_fn=self.cross_entropy
        )

    def cross_entropy(self, labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        """Smoothed, of each image; `[b]`, in nats."""
        return smoothed_cross_entropy(labels, logits, self.settings.label_smoothing)

    def perturb(self, images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """One step from a random corner, as of an image of which nothing is stored yet.

        The classifier is in inference mode.
        """
        (start_seed,) = stateless_random.split(seed, 1)
        start = self.corner(tf.shape(images), start_seed)
        _, gradients = self.loss_gradient(images + start, labels, training=False)
        return images + self.step(images, start, gradients)


def unit_mean(gradients: tf.Tensor) -> tf.Tensor:
    """Gradients over their mean absolute value in the batch; all zeros stay zero."""
    return tf.math.divide_no_nan(gradients, tf.reduce_mean(tf.abs(gradients)))


class _Rounds(keras.callbacks.Callback):
    """Starts the stored perturbations anew after every `prior_epochs` epochs of a `fit`."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        del logs
        self.model.start_epoch(epoch)


METHOD = FGSMPGI
