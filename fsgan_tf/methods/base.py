"""What every training method shares: a classifier, its optimizer, random draws, one update rule.

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
import numpy as np
import tensorflow as tf

from fsgan_tf import stateless_random
from fsgan_tf.errors import UserError
from fsgan_tf.methods.parts import optimizers
from fsgan_tf.methods.parts.averaging import WeightAverage
from fsgan_tf.methods.parts.batches import (
    Batch,
    as_batch,
    cannot_be_judged,
    extremes_of,
    require_images_and_labels,
)
from fsgan_tf.methods.parts.classifier import (
    hidden_dtype,
    image_shape_of,
    num_classes_of,
    require_trainable,
)
from fsgan_tf.methods.parts.directions import Directions
from fsgan_tf.methods.parts.example_memory import ExampleMemory
from fsgan_tf.methods.parts.loss_scaling import agree_on_overflow
from fsgan_tf.methods.parts.losses import smoothed_cross_entropy
from fsgan_tf.methods.parts.settings import GeneratorSettings, MethodSettings
from fsgan_tf.methods.parts.weight_perturbation import perturbed_weights
from fsgan_tf.networks.fused_normalization import (
    with_batch_statistics,
    with_fused_normalization,
)
from fsgan_tf.threat_model import ThreatModel


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
    """Base contract of the training methods, which train as any Keras model does.

        method = PGDAT(classifier, epsilon=8 / 255)
        method.compile(optimizer=keras.optimizers.SGD(0.1, momentum=0.9))  # or the authors' own
        method.fit(train, epochs=30, validation_data=validation)
        method.save("classifier.keras")  # or classifier.save(...), where nothing is averaged

    With `ema_decay=0.9995` the classifier that is evaluated and saved has the average of the
    weights over the steps; the one that was given is trained as without.

    `fit` takes what Keras takes: `tf.data` batches of (images, labels) or of
    `{"image": ..., "label": ...}`, or arrays. Images are float32 `[b, h, w, c]` in [0, 1], labels
    whole numbers `[b]`. `evaluate` and `validation_data` measure loss and accuracy on clean images.

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
    # Keras', of one step; None until it is made.
    train_function: Any

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
        self.settings = settings_class(type(self))(**settings)
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
        self.total_steps: int | None = None
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

    def compile(
        self,
        optimizer: Any = None,
        *,
        jit_compile: bool = False,
        run_eagerly: bool = False,
        **optimizers: Any,
    ) -> None:
        """Sets the optimizers; those that are not given are the method's authors'.

        One that is given replaces the settings that the method's own is made of: learning rate,
        momentum, weight decay.

        Args:
          optimizer: the classifier's: a Keras optimizer, its name or its configuration.
          jit_compile: whether XLA compiles the step.
          run_eagerly: whether steps run without a graph, to debug them.
          **optimizers: `generator_optimizer`, for methods that have a generator.

        Raises:
          TypeError: the method has nothing of that name to set.
          ValueError: the method was made with settings that the optimizers given replace.
        """
        given = {"classifier": optimizer}
        for name, value in optimizers.items():
            network = name.removesuffix("_optimizer")
            if network not in self.networks or network == "classifier" or network == name:
                raise TypeError(
                    f"{type(self).__name__}.compile() has no {name}: the method has its own losses "
                    f"and reports; its optimizers are optimizer"
                    + "".join(f", {n}_optimizer" for n in self.networks if n != "classifier")
                )
            given[network] = value
        self._require_no_replaced_settings(given)
        with self.distribute_strategy.scope():
            for network, model in self.networks.items():
                self.optimizers_by_network[network] = self._optimizer(network, model, given)
        self.classifier_optimizer = self.optimizers_by_network["classifier"]
        super().compile(
            self.classifier_optimizer,
            # Losses are scaled in `update`.
            auto_scale_loss=False,
            jit_compile=jit_compile,
            run_eagerly=run_eagerly,
        )

    def _require_no_replaced_settings(self, given: dict[str, Any]) -> None:
        replaced: set[str] = set()
        used: set[str] = set()
        for network in self.networks:
            of_network = used if given.get(network) is None else replaced
            of_network |= self._settings_of_optimizer(network)
        defaults = type(self.settings)()
        lost = [
            name
            for name in sorted(replaced - used)
            if getattr(self.settings, name) != getattr(defaults, name)
        ]
        if lost:
            raise ValueError(
                f"{', '.join(lost)} would have no effect beside the optimizer given to compile(), "
                "which replaces the method's own: set it there and leave the setting out"
            )

    def _settings_of_optimizer(self, network: str) -> set[str]:
        """Names of the settings that the method's own optimizer of a network is made of."""
        own = {
            "classifier": {"optimizer", "classifier_learning_rate", "weight_decay"},
            "generator": {
                "generator_optimizer",
                "generator_learning_rate",
                "generator_weight_decay",
            },
        }[network]
        momentum = {"momentum"} if self.authors_optimizer(network)["kind"] == "sgd" else set()
        return own | momentum | {"weight_decay_on"}

    def _optimizer(
        self, network: str, model: keras.Model, given: dict[str, Any]
    ) -> keras.optimizers.Optimizer:
        scaled = self.dtype_policy_name == "mixed_float16"
        if given.get(network) is None:
            return optimizers.build(
                variables=model.trainable_variables,
                name=f"{network}_optimizer",
                loss_scaling=scaled,
                l2_on=self.settings.weight_decay_on,
                **self.authors_optimizer(network),
            )
        return optimizers.built(given[network], model.trainable_variables, loss_scaling=scaled)

    def authors_optimizer(self, network: str) -> dict[str, Any]:
        """The arguments of `optimizers.build` that a network of the method is trained with."""
        del network
        return {
            "kind": self.settings.optimizer,
            "learning_rate": self.settings.classifier_learning_rate,
            "momentum": self.settings.momentum,
            "l2": self.settings.weight_decay,
        }

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

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Logits `[b, K]` of the classifier, averaged where there is an average."""
        return self.evaluated_classifier(images, training=training)

    def save(self, filepath: Any, *arguments: Any, **options: Any) -> None:
        """Saves the classifier as it was given, or its average, so that ModelCheckpoint does."""
        network = self.average.network if self.average else self.networks["classifier"]
        network.save(filepath, *arguments, **options)

    def evaluate(self, *arguments: Any, return_dict: bool = False, **options: Any) -> Any:
        """Loss and accuracy on clean images, in this order, where Keras would sort their names.

        Raises:
          ValueError: images lie beyond [0, 1], or labels are of no class.
        """
        super().evaluate(*arguments, return_dict=True, **options)
        if float(self.unjudged.result()):
            classes = num_classes_of(self.classifier)
            raise ValueError(
                "images to evaluate lie beyond [0, 1], or labels are of no class; give images as "
                "for training (divide those of 0 to 255 by 255) and labels of 0 to "
                f"{classes - 1}"
            )
        # Read outside the replicas: the examples of all of them, each counted once.
        logs = {name: float(mean.result()) for name, mean in self.clean_means.items()}
        return logs if return_dict else [logs[name] for name in self.clean_means]

    def train_on_batch(self, *arguments: Any, **options: Any) -> Any:
        """Refuses: a step's checks, and what a method remembers of images, belong to `fit`."""
        raise UserError("train_on_batch is not supported; call fit (steps_per_epoch=1 is one step)")

    def test_on_batch(self, *arguments: Any, **options: Any) -> Any:
        """Refuses, as `train_on_batch` does."""
        raise UserError("test_on_batch is not supported; call evaluate")

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Loss and accuracy on clean images, for `evaluate` and `validation_data`."""
        batch = as_batch(data)
        logits = self.evaluated_classifier(batch["image"], training=False)
        losses = smoothed_cross_entropy(batch["label"], logits)
        unjudged = cannot_be_judged(batch, num_classes_of(self.classifier))
        self.unjudged.update_state(tf.cast(unjudged, tf.float32))
        self.clean_means["loss"].update_state(losses)
        correct = tf.equal(tf.argmax(logits, axis=1, output_type=tf.int32), batch["label"])
        self.clean_means["accuracy"].update_state(correct)
        return {name: mean.result() for name, mean in self.clean_means.items()}

    @property
    def metrics(self) -> list:
        """Names and directions alone: the steps return the means, averaged over replicas."""
        return [Directions([*self.means.values(), *self.clean_means.values()])]

    def reset_metrics(self) -> None:
        """Starts the means of an epoch, unless it resumes one that was interrupted."""
        for mean in (*self.clean_means.values(), self.unjudged):
            mean.reset_state()
        if not self.continues_epoch:
            self.reset_means()
        self.continues_epoch = False

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        """Nothing: every network is built. Keras 3.15's own fails where there are workers."""

    def make_train_function(self, force: bool = False) -> Any:
        """Keras' function of a step, for any strategy; 3.15's own cannot reduce over workers.

        It also looks at the first batch before anything is trained on it, for which it takes batch
        and step apart.
        """
        if self.train_function and not force:
            return self.train_function
        strategy = self.distribute_strategy

        def reduced_step(batch: Batch) -> tf.Tensor:
            reports = strategy.run(self.train_step, args=(batch,))
            # In one vector: one reduction over the replicas a step.
            packed = strategy.run(self.pack, args=(reports,))
            if self.average:
                self.average.update(self.networks["classifier"])
            return strategy.reduce(tf.distribute.ReduceOp.MEAN, packed, axis=None)

        step = tf.function(reduced_step, jit_compile=True) if self.jit_compile else reduced_step

        def next_batch(iterator: Any) -> Any:
            return iterator.get_next()

        def extremes_on(data: Any) -> tuple[tf.Tensor, ...]:
            batch = strategy.run(as_batch, args=(data,))
            return strategy.experimental_local_results(strategy.run(extremes_of, args=(batch,)))

        def step_on(data: Any) -> dict[str, tf.Tensor]:
            batch = strategy.run(as_batch, args=(data,))
            return dict(zip(self.reports, tf.unstack(step(batch)), strict=True))

        functions: list[Any] = [next_batch, extremes_on, step_on]
        if not self.run_eagerly:
            functions = [tf.function(function, autograph=False) for function in functions]
        take, judge, train = functions
        seen: list[Any] = []

        def next_step(iterator: Any) -> dict[str, tf.Tensor]:
            data = take(iterator)
            if iterator.element_spec not in seen:
                extremes = np.stack([of_replica.numpy() for of_replica in judge(data)])
                require_images_and_labels(extremes, num_classes_of(self.classifier))
                seen.append(iterator.element_spec)
                if not self.run_eagerly:
                    # One trace for all sizes of batches that the data set may have.
                    train.get_concrete_function(iterator.element_spec)
            return train(data)

        self.train_function = next_step
        return self.train_function

    def pack(self, reports: dict[str, tf.Tensor]) -> tf.Tensor:
        """The reports of a step as one vector, in the order of `self.reports`."""
        return tf.stack([reports[name] for name in self.reports])

    def reseed(self, seed: int) -> None:
        """Draws from another seed from the next step on."""
        if seed != self.seed:
            self.seed = seed
            # The old seed is a constant of the traced step.
            self.train_function = None

    def set_total_steps(self, steps: int) -> None:
        """Says how many steps the whole training has, for what a method changes over it."""
        if steps != self.total_steps:
            self.total_steps = steps
            # A constant of the traced step.
            self.train_function = None

    def start_epoch(self, epoch: int | tf.Tensor) -> None:
        """Tells the method which epoch begins, counted from 0; nothing to do for most."""
        del epoch

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


class LearntAdversary(TrainingMethod):
    """A method whose adversary is a network, the generator, that is trained too.

    Attributes:
      generator: normalisation fused, for calling; as it was made in `networks`.
      generator_by_batch: the same; with `training=True` it keeps no statistics of the batch.
      generator_optimizer: built for its trainable variables.
    """

    settings: GeneratorSettings

    def __init__(
        self, classifier: keras.Model, *, generator: keras.Model | None = None, **options: Any
    ):
        """Takes a classifier to train.

        Args:
          classifier: see the base class.
          generator: the adversary's network; made to fit the classifier where it is not given.
          **options: of the base class.
        """
        # In a function, since Keras tracks what an attribute holds: the weights of the generator
        # would come before the classifier's.
        self._given_generator = lambda: generator
        super().__init__(classifier, **options)

    @abc.abstractmethod
    def build_generator(self, image_shape: tuple[int, int, int], num_classes: int) -> keras.Model:
        """The generator for a classifier of `image_shape` images and `num_classes` classes."""

    def add_networks(self) -> None:
        """Adds the generator."""
        generator = self._given_generator()
        if generator is None:
            classifier = self.networks["classifier"]
            generator = self.build_generator(image_shape_of(classifier), num_classes_of(classifier))
        self.networks["generator"] = generator
        self.generator = with_fused_normalization(generator)
        self.generator_by_batch = with_batch_statistics(generator)
        self._initial_weights = [weight.numpy() for weight in generator.trainable_variables]

    def generator_displacement(self) -> float:
        """How far training moved the generator: |weights - initial weights| / |initial weights|.

        In l2 norms over all trainable weights. The initial ones are those it was built with: of
        the seed, in a training that is resumed too.
        """
        moved, initial = 0.0, 0.0
        weights = self.networks["generator"].trainable_variables
        for weight, at_first in zip(weights, self._initial_weights, strict=True):
            moved += np.sum(np.square(weight.numpy() - at_first, dtype=np.float64))
            initial += np.sum(np.square(at_first, dtype=np.float64))
        return float(np.sqrt(moved / initial))

    def compile(self, *arguments: Any, **options: Any) -> None:
        """Sets the optimizers, `generator_optimizer` among them; see the base class."""
        super().compile(*arguments, **options)
        self.generator_optimizer = self.optimizers_by_network["generator"]

    def fit(self, *arguments: Any, **options: Any) -> keras.callbacks.History:
        """Trains as `keras.Model.fit` does.

        At the end Keras puts the averages that an optimizer with `use_ema` keeps in the place of
        the classifier's weights; the generator's take theirs likewise.
        """
        history = super().fit(*arguments, **options)
        weights = self.networks["generator"].trainable_variables
        self.generator_optimizer.finalize_variable_values(weights)
        return history

    def authors_optimizer(self, network: str) -> dict[str, Any]:
        """See the base class."""
        if network != "generator":
            return super().authors_optimizer(network)
        return {
            "kind": self.settings.generator_optimizer,
            "learning_rate": self.settings.generator_learning_rate,
            "momentum": self.settings.momentum,
            "l2": self.settings.generator_weight_decay,
        }


def accuracy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Share of int `[b]` labels that are the largest of the `[b, K]` logits; float32 scalar."""
    correct = tf.equal(tf.argmax(logits, axis=1, output_type=tf.int32), labels)
    return tf.reduce_mean(tf.cast(correct, tf.float32))


def settings_class(method: type[TrainingMethod]) -> type[MethodSettings]:
    """`Settings` of the file that a method, or the nearest of its base classes, stands in."""
    for cls in method.__mro__:
        found = getattr(sys.modules.get(cls.__module__), "Settings", None)
        if found is not None and issubclass(cls, TrainingMethod):
            return found
    return MethodSettings
