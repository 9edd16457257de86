"""A whole epoch of a training as one function, which XLA compiles: order, augmentation and steps.

The steps are those of `fsgan_tf.train` on the same images in the same order with the same random
draws; XLA rounds otherwise.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from fsgan_tf.data.augmentation import PADDING
from fsgan_tf.data.batches import permutation, stream_seed
from fsgan_tf.methods.base import TrainingMethod


def epoch_function(
    method: TrainingMethod, *, examples: int, batch_size: int, augmentation: str
) -> Any:
    """An epoch of whole batches.

    Args:
      method: whose variables change; its seed is an argument of the function.
      examples: number of training images.
      batch_size: images a step.
      augmentation: `none` or `crop_flip`.

    Returns:
      A `tf.function` for XLA, of the arguments

      - images: uint8 `[examples, h, w, c]`, all training images;
      - labels: int32 `[examples]`;
      - seed: int64 scalar, of the training;
      - epoch: int64 scalar, counted from 0;
      - rates: float32 `[steps, networks]`, learning rates in the order of
        `method.optimizers_by_network`.

      It returns the means of the epoch, float32 `[reports]`, in the order of `method.reports`.
    """
    steps = examples // batch_size
    optimizers = list(method.optimizers_by_network.values())

    def train(
        images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor, epoch: tf.Tensor, rates: tf.Tensor
    ) -> tf.Tensor:
        own_seed, method.seed = method.seed, tf.cast(seed, tf.int32)
        method.start_epoch(epoch)
        method.reset_means()
        order = permutation(examples, stream_seed(seed, epoch, 0))

        def step(index: tf.Tensor) -> tuple[tf.Tensor]:
            for network, optimizer in enumerate(optimizers):
                optimizer.learning_rate.assign(rates[index, network])
            rows = tf.ensure_shape(order[index * batch_size :][:batch_size], [batch_size])
            pixels = tf.cast(tf.gather(images, rows), tf.float32) / 255.0
            if augmentation == "crop_flip":
                pixels = crop_flip(pixels, stream_seed(seed, epoch, index + 1))
            batch = {"image": pixels, "label": tf.gather(labels, rows), "index": rows}
            method.train_step(batch)
            if method.average:
                method.average.update(method.networks["classifier"])
            return (index + 1,)

        tf.while_loop(lambda index: index < steps, step, [tf.constant(0)])
        method.seed = own_seed
        return method.pack({name: mean.result() for name, mean in method.means.items()})

    return tf.function(train, autograph=False, jit_compile=True)


def crop_flip(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """`fsgan_tf.data.augmentation.crop_flip` bit for bit, in operations that XLA can compile.

    Args:
      images: float32 `[b, h, w, c]`.
      seed: int64 `[2]`.

    Returns:
      float32 of that shape.
    """
    count, height, width, _ = images.shape
    draws = _uniform([3, count], seed)
    tops, lefts = tf.unstack(tf.cast(draws[:2] * (2 * PADDING + 1), tf.int32))
    padded = tf.pad(images, [[0, 0], [PADDING, PADDING], [PADDING, PADDING], [0, 0]])
    rows = tops[:, tf.newaxis] + tf.range(height)
    columns = lefts[:, tf.newaxis] + tf.range(width)
    cropped = tf.gather(padded, rows, axis=1, batch_dims=1)
    cropped = tf.gather(cropped, columns, axis=2, batch_dims=1)
    flips = draws[2][:, tf.newaxis, tf.newaxis, tf.newaxis] < 0.5
    return tf.where(flips, tf.reverse(cropped, [2]), cropped)


def _uniform(shape: list[int], seed: tf.Tensor) -> tf.Tensor:
    """TensorFlow's draws outside XLA: the lowest 23 bits of its integer draws, as a fraction."""
    bits = tf.random.stateless_uniform(shape, seed, None, None, tf.uint32, alg="philox")
    return tf.cast(bits & tf.constant(2**23 - 1, tf.uint32), tf.float32) * 2.0**-23
