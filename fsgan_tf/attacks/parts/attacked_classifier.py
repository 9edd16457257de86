"""The classifier as attacks see it."""

import contextlib
import copy
import functools
import itertools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from fsgan_tf.attacks.parts import random_draws
from fsgan_tf.attacks.parts.batches import for_any_batch_size
from fsgan_tf.networks.fused_normalization import with_fused_normalization
from fsgan_tf.networks.half_precision import computes_in_float16, with_scaled_gradients

LogitsFn = Callable[[tf.Tensor], tf.Tensor]


# Calls that must all misclassify an image before an attack on a random classifier ends with it. Of
# an image that fools four calls of ten, three in a row are soon found along an attack's path.
_LEAST_CALLS = 10


class AttackedClassifier:
    """A classifier compiled once, to be attacked and to judge what attacks found.

    Attributes:
      logits: compiled; float32 `[b, h, w, c]` images in [0, 1] to float32 `[b, k]` logits. This is
        what attacks climb: of a Keras model, a faster view of it with fused normalisation.
      given_logits: the same of the classifier as it was given, with nothing rewritten. Whether an
        example is misclassified is decided by these.
      device: where it runs; None leaves that to TensorFlow.
      differentiable: whether it has gradients at all; without them only some attacks can be run,
        and the checks that climb are skipped.
      draws: calls over which logits, losses and gradients are averaged; 0 of a classifier that is
        taken to answer alike each time.
    """

    def __init__(
        self,
        logits_fn: LogitsFn | keras.Model,
        device: str | None = None,
        *,
        differentiable: bool = True,
    ):
        """Wraps a classifier.

        Args:
          logits_fn: float32 `[b, h, w, c]` images in [0, 1] to `[b, k]` logits, in inference mode;
            or a Keras model, which is then called with `training=False`. It is traced with an open
            b.
          device: that holds its variables, to run it there.
          differentiable: False of what is known to have no gradients, as a LiteRT file.
        """
        self.device, self.differentiable, self.draws = device, differentiable, 0
        self._given = _inference(logits_fn) if isinstance(logits_fn, keras.Model) else logits_fn
        self._climbed = self._given
        self.logits = self.given_logits = _compiled(self._given)
        # Of functional and sequential models the layers tell all they do; a subclass may do more.
        if type(logits_fn).__module__.startswith("keras.src.models."):
            self._climbed = _inference(with_fused_normalization(logits_fn))
            self.logits = _compiled(self._climbed)
        self._one_call = self.logits
        # Views that are averaged share it, so that all start over from the same first values.
        self._streams: list[list[tuple[tf.Variable, np.ndarray]]] = []

    def averaged(self, draws: int) -> "AttackedClassifier":
        """The same classifier, whose logits, losses and gradients are means over several calls.

        That is expectation over transformation (Athalye et al., arXiv:1802.00420). The calls are
        made one after another, so that memory does not grow with them. `given_logits` stays one
        call.

        Args:
          draws: calls, at least 1.
        """
        averaged = copy.copy(self)
        averaged.draws = draws
        # Traces of their own: the calls that verify must not draw what the attack's drew.
        averaged.given_logits = _compiled(self._given)
        averaged.logits = averaged._one_call = _compiled(self._climbed)
        if draws > 1:
            averaged.logits = _mean_of(averaged._one_call, draws)
        return averaged

    def judge(
        self, images: tf.Tensor, labels: tf.Tensor, loss_fn: Callable[[tf.Tensor], tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Whether images fool the classifier, and their losses.

        Args:
          images: float32 `[b, h, w, c]`.
          labels: int32 `[b]`.
          loss_fn: logits to one loss an example, `[b]`.

        Returns:
          Bool `[b]` and float32 `[b]`. Of several draws: whether every one, of at least 10, is
          misclassified, so that no attack ends with a lucky one; and the mean of their losses.
        """

        def one_call() -> tuple[tf.Tensor, tf.Tensor]:
            # A SavedModel may not tell its rank, which a loop must know.
            logits = tf.ensure_shape(self._one_call(images), [None, None])
            return is_misclassified(logits, labels), loss_fn(logits)

        return self._over_draws(one_call, images, labels, tf.zeros(tf.shape(images)[:1]))

    def loss_and_gradient(
        self, images: tf.Tensor, labels: tf.Tensor, loss_fn: Callable[[tf.Tensor], tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """`judge`, and the losses' gradient, in one pass forward and back.

        Args:
          images: float32 `[b, h, w, c]`.
          labels: int32 `[b]`.
          loss_fn: logits to one loss an example, `[b]`.

        Returns:
          Bool `[b]`, losses `[b]` and the gradient `[b, h, w, c]`, which is zero where the
          classifier breaks it (rounding, argmax): attacks then find nothing, and a check says so.
          Of several draws the gradient is the mean.
        """

        def one_call() -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(images)
                logits = tf.ensure_shape(self._one_call(images), [None, None])
                losses = loss_fn(logits)
            gradient = tape.gradient(
                losses, images, unconnected_gradients=tf.UnconnectedGradients.ZERO
            )
            # A classifier's own gradient function may not tell its shape.
            gradient = tf.ensure_shape(gradient, images.shape)
            return is_misclassified(logits, labels), losses, gradient

        zeros = (tf.zeros(tf.shape(images)[:1]), tf.zeros_like(images))
        return self._over_draws(one_call, images, labels, *zeros)

    def _over_draws(
        self,
        one_call: Callable[[], Any],
        images: tf.Tensor,
        labels: tf.Tensor,
        *zeros: tf.Tensor,
    ) -> Any:
        """Whether all of several calls misclassify, and the means of their other values."""
        if not self.draws:
            return one_call()

        def add(count: tf.Tensor, wrong: tf.Tensor, *sums: tf.Tensor) -> tuple[tf.Tensor, ...]:
            wrong_too, *values = one_call()
            return count + 1, wrong & wrong_too, *map(tf.add, sums, values)

        start = (tf.constant(0), tf.ones_like(zeros[0], tf.bool), *zeros)
        _, wrong, *sums = tf.while_loop(
            lambda count, *_: count < self.draws, add, start, parallel_iterations=1
        )

        def judge_again(count: tf.Tensor, wrong: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            logits = tf.ensure_shape(self._one_call(images), [None, None])
            return count + 1, wrong & is_misclassified(logits, labels)

        _, wrong = tf.while_loop(
            lambda count, wrong: (count < _LEAST_CALLS) & tf.reduce_any(wrong),
            judge_again,
            (tf.constant(self.draws), wrong),
            parallel_iterations=1,
        )
        return wrong, *(total / self.draws for total in sums)

    def restart_draws(self, key: tuple[int, ...], images: tf.Tensor) -> None:
        """Lets the random draws of the calls to come follow from a key, as far as they can.

        Args:
          key: any numbers from 0.
          images: float32 `[b, h, w, c]`, on which the classifier is called the first time.
        """
        if not self._streams:
            self._streams += [
                random_draws.changing_variables(logits_fn, images[:1])
                for logits_fn in dict.fromkeys((self._given, self._climbed))
            ]
        random_draws.restart(itertools.chain(*self._streams), key)

    def on_its_device(self) -> contextlib.AbstractContextManager:
        """A scope of which TensorFlow's operations run on `device`."""
        return tf.device(self.device) if self.device else contextlib.nullcontext()


def _inference(model: keras.Model) -> LogitsFn:
    logits_fn = functools.partial(model, training=False)
    return with_scaled_gradients(logits_fn) if computes_in_float16(model) else logits_fn


def _compiled(logits_fn: LogitsFn) -> LogitsFn:
    @tf.autograph.experimental.do_not_convert
    def float32_logits(images: tf.Tensor) -> tf.Tensor:
        return tf.cast(logits_fn(images), tf.float32)

    return for_any_batch_size(float32_logits)


def _mean_of(one_call: LogitsFn, draws: int) -> LogitsFn:
    """The mean of several calls' logits."""

    def mean(images: tf.Tensor) -> tf.Tensor:
        spec = tf.TensorSpec([None, None], tf.float32)
        # One after another; only their logits are kept.
        answers = tf.map_fn(
            lambda _: tf.ensure_shape(one_call(images), spec.shape),
            tf.range(draws),
            fn_output_signature=spec,
            parallel_iterations=1,
        )
        return tf.reduce_mean(answers, axis=0)

    return for_any_batch_size(mean)


def is_misclassified(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Whether the largest logit is not the true class's.

    Args:
      logits: float32 `[b, k]`.
      labels: int32 `[b]`.

    Returns:
      bool `[b]`; True where a logit is NaN, which is not an answer.
    """
    # Not by `!=`, which forgets the shape where one of the two sizes is open.
    wrong = tf.not_equal(tf.argmax(logits, axis=1, output_type=labels.dtype), labels)
    return wrong | tf.reduce_any(tf.math.is_nan(logits), axis=1)
