"""What every training method shares: a classifier, random draws, one update rule.

A method is a Keras model whose `train_step` is its algorithm. It adds its own networks, draws all
its random numbers from `step_seeds`, changes variables through `update` alone, and reports through
`track`.
"""

from __future__ import annotations

import abc
import dataclasses
import sys
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import keras
import tensorflow as tf

from fsgan_tf import stateless_random
from fsgan_tf.methods.base.compiling import Compiling
from fsgan_tf.methods.base.keras_fit import EpochMean, KerasFit
from fsgan_tf.methods.parts.averaging import WeightAverage
from fsgan_tf.methods.parts.batches import Batch
from fsgan_tf.methods.parts.classifier import hidden_dtype, require_trainable
from fsgan_tf.methods.parts.example_memory import ExampleMemory
from fsgan_tf.methods.parts.gradients import agree_on_overflow, clip_by_total_norm
from fsgan_tf.methods.parts.losses import accuracy, smoothed_cross_entropy
from fsgan_tf.methods.parts.settings import MethodSettings
from fsgan_tf.methods.parts.weight_perturbation import perturbed_weights
from fsgan_tf.networks.fused_normalization import (
    with_batch_statistics,
    with_fused_normalization,
)
from fsgan_tf.threat_model import ThreatModel


class TrainingMethod(KerasFit, Compiling, abc.ABC):
    """Base contract of the training methods, which train as any Keras model does.

        method = PGDAT(classifier, epsilon=8 / 255)
        method.compile(optimizer=keras.optimizers.SGD(0.1, momentum=0.9))  # or the authors' own
        method.fit(train, epochs=30, validation_data=validation)
        method.save("classifier.keras")  # or classifier.save(...), where nothing is averaged

    With `ema_decay=0.9995` the classifier that is evaluated and saved has the average of the
    weights over the steps; the one that was given is trained as without.

    Keras' `ModelCheckpoint` likewise stores the classifier alone; with `save_weights_only=True` it
    stores the weights of the whole method, a generator's among them, for `method.load_weights`.

    `fit` takes what Keras takes: `tf.data` batches of (images, labels) or of
    `{"image": ..., "label": ...}`, or arrays. Images are float32 `[b, h, w, c]` in [0, 1], labels
    whole numbers `[b]`. On several replicas every batch needs an image for each, the last one too
    (`drop_remainder=True`). `evaluate` and `validation_data` measure loss and accuracy on clean
    images.

    Attributes:
      classifier: images in [0, 1] to logits `[b, K]`; normalisation fused, for calling.
      classifier_by_batch: the same; with `training=True` it keeps no statistics of the batch.
      average: of the classifier's weights; None without `ema_decay`.
      memory: what is kept of every training image; None for most methods.
      evaluated_classifier: the average, or `classifier` where there is none; for calling.
      classifier_optimizer: built for the classifier's trainable variables.
      threat_model: what the classifier shall withstand.
      settings: of the method, as its file declares them.
      networks: every network by name, as it was given, for saving.
      optimizers_by_network: the optimizer of each, for schedules and checkpoints.
      reports: names of the means `train_step` returns.
      norms: in which it trains, as `NORMS` of its file has them.
      total_steps: of the whole training, where it is known; see `set_total_steps`.
      continues_epoch: the next epoch of `fit` continues the means there are, as after an
        interruption.
    """

    settings: MethodSettings
    reports: tuple[str, ...] = ()
    norms: ClassVar[tuple[str, ...]] = ("linf",)

    def __init__(
        self,
        classifier: keras.Model,
        *,
        epsilon: float | None = None,
        threat_model: ThreatModel | None = None,
        seed: int = 0,
        **settings: Any,
    ):
        """Takes a classifier to train; under a distribution strategy, call it inside the scope.

        Args:
          classifier: any built Keras model of float32 `[b, h, w, c]` images in [0, 1] to logits
            `[b, K]`. It is trained in place.
          epsilon: radius of the l_inf ball, in pixels of [0, 1].
          threat_model: in place of `epsilon`.
          seed: of every random draw of the steps.
          **settings: of the method; see `Settings` in its file.

        Raises:
          ValueError: a setting is out of bounds, or the classifier cannot be trained as it is.
          TypeError: the method has no such setting.
        """
        super().__init__()
        if (epsilon is None) == (threat_model is None):
            raise ValueError("give either epsilon, such as epsilon=8/255, or threat_model")
        require_trainable(classifier)
        self.settings = settings_of(type(self), settings)
        self.classifier = with_fused_normalization(classifier)
        self.classifier_by_batch = with_batch_statistics(classifier)
        self.networks = {"classifier": classifier}
        self.optimizers_by_network: dict[str, keras.optimizers.Optimizer] = {}
        self.threat_model = threat_model or ThreatModel(float(epsilon or 0))
        if self.threat_model.norm not in self.norms:
            raise ValueError(
                f"{type(self).__name__} trains in {', '.join(self.norms)} alone, not in "
                f"{self.threat_model.norm}"
            )
        self.seed = seed
        self.total_steps = None
        self.memory: ExampleMemory | None = None
        self.add_networks()
        self.average, self.evaluated_classifier = None, self.classifier
        if decay := self.settings.ema_decay:
            self.average = WeightAverage(classifier, decay)
            self.evaluated_classifier = with_fused_normalization(self.average.network)
        self.means = {name: EpochMean(name=name) for name in self.reports}
        self.clean_means = {name: keras.metrics.Mean(name) for name in ("loss", "accuracy")}
        self.unjudged = keras.metrics.Mean("unjudged")
        self.continues_epoch = False
        self.built = True
        self.compile()

    @classmethod
    def when_not_robust(cls, settings: Any) -> str | None:
        """What to change first where a training ended without robustness, as flags with a reason.

        Args:
          settings: of the training's method.
        """
        del settings
        return None

    def add_networks(self) -> None:
        """Adds the method's own networks; none here."""

    @property
    def bytes_an_example(self) -> int:
        """What is kept of each training image, in bytes."""
        return 0

    def remember(self, examples: int) -> None:
        """Says how many training images there are, for methods that keep something of each."""
        del examples

    @property
    def dtype_policy_name(self) -> str:
        """Dtype policy of the classifier's hidden layers, which the generators share."""
        return hidden_dtype(self.networks["classifier"])

    @property
    @abc.abstractmethod
    def forward_equivalents(self) -> dict[str, float]:
        """Arithmetic of a step, in forward passes an image of each network.

        A gradient by inputs or by parameters costs a forward pass each.
        """

    @abc.abstractmethod
    def train_step(self, data: Batch) -> dict[str, tf.Tensor]:
        """One step of the algorithm on one replica's batch; returns `track(...)`."""

    @abc.abstractmethod
    def perturb(self, images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """The images the method would train on, without training; for pictures and figures.

        Args:
          images: float32 `[b, h, w, c]` in [0, 1].
          labels: int32 `[b]`.
          seed: int32 `[2]`.

        Returns:
          float32 `[b, h, w, c]` within `training_ball`.
        """

    @property
    def training_ball(self) -> ThreatModel:
        """What bounds the images of training; wider than the threat model for some methods."""
        return self.threat_model

    def widened(self, reach: float) -> ThreatModel:
        """The threat model of `reach` times its radius, at most the width of the pixel range."""
        ball = self.threat_model
        radius = min(reach * ball.epsilon, ball.upper - ball.lower)
        return dataclasses.replace(ball, epsilon=radius)

    def diagnose(self, images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> dict[str, Any]:
        """Scalars that tell whether the method's adversary works; watched once an epoch."""
        del images, labels, seed
        return {}

    def start_epoch(self, epoch: int | tf.Tensor) -> None:
        """Tells the method which epoch begins, counted from 0; nothing to do for most."""
        del epoch

    def relative_size(self, perturbations: tf.Tensor) -> tf.Tensor:
        """Mean |delta| / epsilon of `[b, h, w, c]` perturbations, within [0, 1]; scalar."""
        return tf.reduce_mean(tf.abs(perturbations)) / self.threat_model.epsilon

    def step_seeds(self, count: int) -> list[tf.Tensor]:
        """`count` int32 `[2]` seeds, a pure function of (seed, step, replica)."""
        context = tf.distribute.get_replica_context()
        step = tf.cast(self.classifier_optimizer.iterations, tf.int32)
        draw = step * context.num_replicas_in_sync + context.replica_id_in_sync_group
        return stateless_random.split(tf.stack([self.seed, draw]), count)

    def update(
        self,
        tape: tf.GradientTape,
        loss: tf.Tensor,
        optimizer: keras.optimizers.Optimizer,
        network: keras.Model,
        also: Sequence[tf.Tensor] = (),
    ) -> list[tf.Tensor]:
        """Descends `loss`, a mean over this replica's examples, by one optimizer step.

        The one place where losses are scaled: Keras optimizers sum gradients over replicas, so
        each replica's is divided by their number; float16 gradients are scaled up besides.

        Args:
          tape: that recorded the loss.
          loss: scalar.
          optimizer: of the network.
          network: whose trainable variables change.
          also: tensors that the tape computed the loss from.

        Returns:
          The gradient of this replica's loss by each of `also`, unscaled, from the same backward
          pass.
        """
        replicas = tf.distribute.get_replica_context().num_replicas_in_sync
        scale = optimizer.scale_loss(tf.ones_like(loss))
        variables = network.trainable_variables
        factor = scale / replicas
        gradients = tape.gradient(loss, [*variables, *also], output_gradients=factor)
        gradients, others = gradients[: len(variables)], gradients[len(variables) :]
        limit = self.settings.gradient_clip_norm
        if limit:
            gradients = clip_by_total_norm(gradients, limit * scale)
        if replicas > 1 and isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            gradients = agree_on_overflow(gradients)
        optimizer.apply(gradients, variables)
        return [other / factor for other in others]

    def descend(
        self, objective: Callable[[], dict[str, tf.Tensor]], gradient_by: str | None = None
    ) -> dict[str, tf.Tensor]:
        """One step of the classifier down a loss, at weights moved up it first with `awp_gamma`.

        Args:
          objective: computes `loss`, a mean over this replica's examples, and other tensors, with
            the classifier in training mode; called once, or once more at the moved weights.
          gradient_by: name of one of these tensors, which the loss is computed from.

        Returns:
          What it computed last; with `gradient_by` the gradient of the loss by that tensor too, as
          `gradient`, from the backward pass that the descent takes anyway.
        """
        with tf.GradientTape() as tape:
            computed = objective()
        gamma = getattr(self.settings, "awp_gamma", 0.0)
        if not gamma:
            return self._descended(tape, computed, gradient_by)
        # float16 gradients need the scale; their common factor does not matter.
        scale = self.classifier_optimizer.scale_loss(tf.ones_like(computed["loss"]))
        gradients = tape.gradient(
            computed["loss"], self.classifier.trainable_variables, output_gradients=scale
        )
        with perturbed_weights(self.classifier, gradients, gamma):
            with tf.GradientTape() as tape:
                computed = objective()
            return self._descended(tape, computed, gradient_by)

    def descend_on(
        self, adversarial_images: tf.Tensor, labels: tf.Tensor, label_smoothing: float = 0.0
    ) -> dict[str, tf.Tensor]:
        """One step of the classifier down the cross-entropy of adversarial images alone.

        Args:
          adversarial_images: float32 `[b, h, w, c]`.
          labels: int32 `[b]`.
          label_smoothing: see `smoothed_targets`.

        Returns:
          `loss` and `accuracy_on_adversarial`, scalars.
        """

        def objective() -> dict[str, tf.Tensor]:
            logits = self.classifier(adversarial_images, training=True)
            loss = tf.reduce_mean(smoothed_cross_entropy(labels, logits, label_smoothing))
            return {"loss": loss, "accuracy_on_adversarial": accuracy(labels, logits)}

        return self.descend(objective)

    def _descended(
        self, tape: tf.GradientTape, computed: dict[str, tf.Tensor], gradient_by: str | None
    ) -> dict[str, tf.Tensor]:
        optimizer, network, loss = self.classifier_optimizer, self.classifier, computed["loss"]
        if gradient_by is None:
            self.update(tape, loss, optimizer, network)
            return computed
        (gradient,) = self.update(tape, loss, optimizer, network, [computed[gradient_by]])
        return {**computed, "gradient": gradient}

    @property
    def descents(self) -> int:
        """How often `descend` computes its objective and gradient."""
        return 2 if getattr(self.settings, "awp_gamma", 0.0) else 1

    @property
    def two_pass_descents(self) -> int:
        """Passes of descents through a start and a step from it, for `forward_equivalents`.

        The start and a gradient by its images; then the step's pass, and back through both.
        """
        return (2 + 1 + 2 * 2) * self.descents

    def track(self, **values: tf.Tensor) -> dict[str, tf.Tensor]:
        """Adds scalars to the epoch's means and returns the means so far."""
        for name, value in values.items():
            self.means[name].update_state(value)
        return {name: mean.result() for name, mean in self.means.items()}


def settings_of(method: type[TrainingMethod], given: dict[str, Any]) -> MethodSettings:
    """The method's settings, made of keyword arguments.

    Raises:
      TypeError: it has none of that name.
      ValueError: a setting is out of bounds.
    """
    declared = settings_class(method)
    names = sorted(field.name for field in dataclasses.fields(declared))
    if unknown := sorted(set(given) - set(names)):
        raise TypeError(
            f"{method.__name__} has no {', '.join(unknown)}; beside epsilon, or threat_model="
            f"ThreatModel(radius, norm=...) for another norm, and seed it has {', '.join(names)}"
        )
    return declared(**given)


def settings_class(method: type[TrainingMethod]) -> type[MethodSettings]:
    """`Settings` of the file that a method, or the nearest of its base classes, stands in."""
    for cls in method.__mro__:
        found = getattr(sys.modules.get(cls.__module__), "Settings", None)
        if found is not None and issubclass(cls, TrainingMethod):
            return found
    return MethodSettings
