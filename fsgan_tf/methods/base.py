"""What every training method shares: a classifier, its optimizer, random draws, one update rule.

A method is a Keras model whose `train_step` is its algorithm. It adds its own networks and
optimizers, draws all its random numbers from `step_seeds`, changes variables through `update`
alone, and reports through `track`.
"""

from __future__ import annotations

import abc
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import flags

from fsgan_tf import draws, optimizers
from fsgan_tf.networks.fused_normalization import (
    with_batch_statistics,
    with_fused_normalization,
)
from fsgan_tf.threat_model import ThreatModel

Batch = dict[str, tf.Tensor]


class EpochMean(keras.metrics.Mean):
    """Mean of an epoch's scalars, summed in the order of the steps.

    Keras assigns total + value. TensorFlow merges that with the sums that made the value, and adds
    them in an order that differs from run to run in the last bit.
    """

    def update_state(self, value: tf.Tensor) -> None:
        """Adds a step's scalar."""
        self.total.value.assign_add(value)
        self.count.value.assign_add(1.0)


class TrainingMethod(keras.Model, abc.ABC):
    """Base contract of the training methods.

    A batch is `{"image": float32 [b, h, w, c] in [0, 1], "label": int32 [b]}`.

    Attributes:
      classifier: images in [0, 1] to float32 logits `[b, K]`; as `networks` has it, for calling.
      classifier_by_batch: the same; with `training=True` it keeps no statistics of the batch.
      classifier_optimizer: built for the classifier's trainable variables.
      threat_model: bounds every adversarial image of the method.
      networks: every network by name, for saving.
      optimizers_by_network: the optimizer of each, for schedules and checkpoints.
      reports: names of the means `train_step` returns.
    """

    reports: tuple[str, ...] = ()
    # Keras', of one step; None until it is made.
    train_function: Any

    def __init__(
        self,
        *,
        classifier: keras.Model,
        classifier_optimizer: keras.optimizers.Optimizer,
        threat_model: ThreatModel,
        seed: int,
        jit_compile: bool = False,
        gradient_clip_norm: float = 0.0,
    ):
        """Keeps the classifier; call it inside the distribution strategy's scope."""
        super().__init__()
        self.classifier = with_fused_normalization(classifier)
        self.classifier_by_batch = with_batch_statistics(classifier)
        self.classifier_optimizer = classifier_optimizer
        self.networks = {"classifier": classifier}
        self.optimizers_by_network = {"classifier": classifier_optimizer}
        self.threat_model = threat_model
        self.seed = seed
        self.gradient_clip_norm = gradient_clip_norm
        self.means = {name: EpochMean(name=name) for name in self.reports}
        self.compile(classifier_optimizer, auto_scale_loss=False, jit_compile=jit_compile)
        self.built = True

    def add_generator(self, generator: keras.Model, optimizer: keras.optimizers.Optimizer) -> None:
        """Takes the network of a learnt adversary, and the optimizer built for it."""
        self.generator = with_fused_normalization(generator)
        self.generator_by_batch = with_batch_statistics(generator)
        self._initial_generator = [weight.numpy() for weight in generator.trainable_variables]
        self.generator_optimizer = optimizer
        self.networks["generator"] = generator
        self.optimizers_by_network["generator"] = optimizer

    def generator_displacement(self) -> float:
        """How far training moved the generator: |weights - initial weights| / |initial weights|.

        In l2 norms over all trainable weights. The initial ones are those of the flags' seed, in a
        training that goes on too.
        """
        moved, initial = 0.0, 0.0
        weights = self.networks["generator"].trainable_variables
        for weight, at_first in zip(weights, self._initial_generator, strict=True):
            moved += np.sum(np.square(weight.numpy() - at_first, dtype=np.float64))
            initial += np.sum(np.square(at_first, dtype=np.float64))
        return float(np.sqrt(moved / initial))

    @classmethod
    @abc.abstractmethod
    def from_flags(cls, values: flags.FlagValues, **common: Any) -> TrainingMethod:
        """Builds the method from the training flags; the one place where it reads them.

        Args:
          values: the training flags, parsed.
          **common: the constructor arguments of this base class.
        """

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
          float32 `[b, h, w, c]` within the threat model.
        """

    def diagnose(self, images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> dict[str, Any]:
        """Scalars that tell whether the method's adversary works; watched once an epoch."""
        del images, labels, seed
        return {}

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Logits `[b, K]` of the classifier."""
        return self.classifier(images, training=training)

    @property
    def metrics(self) -> list:
        """None for Keras to reset: an epoch may span two runs (see `reset_means`)."""
        return []

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        """Nothing: every network is built. Keras 3.15's own fails where there are workers."""

    def make_train_function(self, force: bool = False) -> Any:
        """Keras' function of a step, for any strategy; 3.15's own cannot reduce over workers."""
        if self.train_function and not force:
            return self.train_function
        strategy = self.distribute_strategy

        @tf.function(jit_compile=self.jit_compile, autograph=False)
        def step(data: Batch) -> tf.Tensor:
            reports = strategy.run(self.packed_step, args=(data,))
            return strategy.reduce(tf.distribute.ReduceOp.MEAN, reports, axis=None)

        @tf.function(autograph=False)
        def next_step(iterator: Any) -> dict[str, tf.Tensor]:
            return dict(zip(self.reports, tf.unstack(step(iterator.get_next())), strict=True))

        self.train_function = next_step
        return self.train_function

    def packed_step(self, data: Batch) -> tf.Tensor:
        """`train_step` with its reports in one vector: one reduction over the replicas a step."""
        reports = self.train_step(data)
        return tf.stack([reports[name] for name in self.reports])

    def reseed(self, seed: int) -> None:
        """Draws from another seed from the next step on."""
        if seed != self.seed:
            self.seed = seed
            # The old seed is a constant of the traced step.
            self.train_function = None

    def reset_means(self) -> None:
        """Starts the means of a new epoch."""
        for mean in self.means.values():
            mean.reset_state()

    def relative_size(self, perturbations: tf.Tensor) -> tf.Tensor:
        """Mean |delta| / epsilon of `[b, h, w, c]` perturbations, within [0, 1]; scalar."""
        return tf.reduce_mean(tf.abs(perturbations)) / self.threat_model.epsilon

    def step_seeds(self, count: int) -> list[tf.Tensor]:
        """`count` int32 `[2]` seeds, a pure function of (seed, step, replica)."""
        context = tf.distribute.get_replica_context()
        step = tf.cast(self.classifier_optimizer.iterations, tf.int32)
        draw = step * context.num_replicas_in_sync + context.replica_id_in_sync_group
        return draws.split(tf.stack([self.seed, draw]), count)

    def update(
        self,
        tape: tf.GradientTape,
        loss: tf.Tensor,
        optimizer: keras.optimizers.Optimizer,
        network: keras.Model,
    ) -> None:
        """Descends `loss`, a mean over this replica's examples, by one optimizer step.

        The one place where losses are scaled: Keras optimizers sum gradients over replicas, so
        each replica's is divided by their number; float16 gradients are scaled up besides.
        """
        replicas = tf.distribute.get_replica_context().num_replicas_in_sync
        scale = optimizer.scale_loss(tf.ones_like(loss))
        variables = network.trainable_variables
        gradients = tape.gradient(loss, variables, output_gradients=scale / replicas)
        if self.gradient_clip_norm:
            gradients = clip_by_total_norm(gradients, self.gradient_clip_norm * scale)
        optimizer.apply(gradients, variables)

    def track(self, **values: tf.Tensor) -> dict[str, tf.Tensor]:
        """Adds scalars to the epoch's means and returns the means so far."""
        for name, value in values.items():
            self.means[name].update_state(value)
        return {name: mean.result() for name, mean in self.means.items()}


def clip_by_total_norm(gradients: list[tf.Tensor], limit: tf.Tensor) -> list[tf.Tensor]:
    """Scales gradients so that their sum over the replicas has at most this l2 norm.

    Source: torch.nn.utils.clip_grad_norm_, which adds 1e-6 to the norm it divides by.

    Args:
      gradients: this replica's, of any shapes.
      limit: largest l2 norm of all of them together, scalar.

    Returns:
      The gradients times min(1, limit / (norm + 1e-6)).
    """
    context = tf.distribute.get_replica_context()
    norm = tf.linalg.global_norm(context.all_reduce(tf.distribute.ReduceOp.SUM, gradients))
    factor = tf.minimum(1.0, limit / (norm + 1e-6))
    return [factor * gradient for gradient in gradients]


def build_generator_optimizer(
    values: flags.FlagValues, generator: keras.Model, classifier: keras.Model
) -> keras.optimizers.Optimizer:
    """The generator's optimizer of these training flags; for a method's `from_flags`."""
    return optimizers.build(
        values.generator_optimizer,
        generator.trainable_variables,
        learning_rate=values.generator_learning_rate,
        momentum=values.momentum,
        l2=values.generator_weight_decay,
        name="generator_optimizer",
        loss_scaling=hidden_dtype(classifier) == "mixed_float16",
    )


def hidden_dtype(classifier: keras.Model) -> str:
    """Dtype policy of the classifier's hidden layers, which the generators share."""
    return classifier.get_layer("stem").dtype_policy.name


def accuracy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Share of int `[b]` labels that are the largest of the `[b, K]` logits; float32 scalar."""
    correct = tf.equal(tf.argmax(logits, axis=1, output_type=tf.int32), labels)
    return tf.reduce_mean(tf.cast(correct, tf.float32))
