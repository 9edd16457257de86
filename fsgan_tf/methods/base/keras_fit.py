"""How a training method keeps the contract of Keras' `fit` and `evaluate`."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from fsgan_tf.errors import UserError
from fsgan_tf.methods.parts.batches import (
    Batch,
    as_batch,
    cannot_be_judged,
    extremes_of,
    require_an_image_each,
    require_images_and_labels,
)
from fsgan_tf.methods.parts.classifier import num_classes_of, require_logits
from fsgan_tf.methods.parts.directions import Directions
from fsgan_tf.methods.parts.losses import is_correct, smoothed_cross_entropy

# Images that show whether a classifier answers by logits.
_FEW = 8


class EpochMean(keras.metrics.Mean):
    """Mean of an epoch's scalars, summed in the order of the steps.

    Keras assigns total + value. TensorFlow merges that with the sums that made the value, and adds
    them in an order that differs from run to run in the last bit.
    """

    def update_state(self, value: tf.Tensor) -> None:
        """Adds a step's scalar."""
        self.total.value.assign_add(value)
        self.count.value.assign_add(1.0)


class KerasFit(keras.Model):
    """What `fit`, `evaluate` and `save` ask of a method; `TrainingMethod` has the attributes."""

    # Keras', of one step; None until it is made.
    train_function: Any
    # What changes here; `TrainingMethod` says what they are.
    seed: int
    total_steps: int | None
    continues_epoch: bool

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Logits `[b, K]` of the classifier, averaged where there is an average."""
        return self.evaluated_classifier(images, training=training)

    def save(self, filepath: Any, *arguments: Any, **options: Any) -> None:
        """Saves the classifier as it was given, or its average, so that ModelCheckpoint does."""
        self._saved_network.save(filepath, *arguments, **options)

    def export(self, filepath: Any, *arguments: Any, **options: Any) -> None:
        """Exports the network that `save` saves, as Keras exports any model."""
        self._saved_network.export(filepath, *arguments, **options)

    @property
    def _saved_network(self) -> keras.Model:
        return self.average.network if self.average else self.networks["classifier"]

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
        self.clean_means["accuracy"].update_state(is_correct(batch["label"], logits))
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

        def looked_at(data: Any) -> tuple[tuple[tf.Tensor, ...], tf.Tensor]:
            batch = strategy.run(as_batch, args=(data,))
            extremes = strategy.run(extremes_of, args=(batch,))
            images = strategy.experimental_local_results(batch["image"])[0]
            return strategy.experimental_local_results(extremes), images[:_FEW]

        def step_on(data: Any) -> dict[str, tf.Tensor]:
            batch = strategy.run(as_batch, args=(data,))
            return dict(zip(self.reports, tf.unstack(step(batch)), strict=True))

        functions: list[Any] = [next_batch, looked_at, step_on]
        if not self.run_eagerly:
            functions = [tf.function(function, autograph=False) for function in functions]
        take, look_at, train = functions
        seen: list[Any] = []

        def next_step(iterator: Any) -> dict[str, tf.Tensor]:
            data = take(iterator)
            parts = strategy.experimental_local_results(tf.nest.flatten(data)[0])
            require_an_image_each([len(part) for part in parts])
            if iterator.element_spec not in seen:
                extremes, images = look_at(data)
                logits = self.networks["classifier"](images, training=False)
                require_logits(logits)
                require_images_and_labels(np.stack(extremes), logits.shape[1])
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

    def reset_means(self) -> None:
        """Starts the means of a new epoch."""
        for mean in self.means.values():
            mean.reset_state()
