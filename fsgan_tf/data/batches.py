"""The batches a training draws.

`{"image": float32 [b, h, w, c] in [0, 1], "label": int32 [b], "index": int32 [b]}`, the index being
the image's row in the training split.
"""

import tensorflow as tf

from fsgan_tf.data.augmentation import crop_flip
from fsgan_tf.data.split import Split
from fsgan_tf.errors import UserError


def training_batches(
    split: Split,
    *,
    batch_size: int,
    seed: int,
    augmentation: str,
    first_epoch: int = 0,
    first_batch: int = 0,
) -> tf.data.Dataset:
    """Endless shuffled batches, a pure function of the arguments.

    An epoch is `len(split) // batch_size` batches; what is left over is dropped. The order depends
    on (seed, epoch), the augmentation on (seed, epoch, batch), so a stream that starts at a later
    epoch gives bit for bit what an uninterrupted one gives from there on.

    Args:
      split: the training images, in memory or streamed: the batches are the same bit for bit.
      batch_size: examples a batch, over all replicas.
      seed: 0 or more.
      augmentation: `none` or `crop_flip`.
      first_epoch: epoch to start with.
      first_batch: batch of that epoch to start with; those before are not read.

    Returns:
      Batches of static size.

    Raises:
      UserError: the split is smaller than a batch.
    """
    num_batches = len(split) // batch_size
    if not num_batches:
        raise UserError(
            f"the training set has {len(split)} examples, fewer than the batch of {batch_size} "
            "over all replicas; give a smaller --batch_size"
        )
    lookup = split.lookup()
    with tf.device("CPU:0"):
        labels = tf.constant(split.labels)
    height, width, _ = split.image_shape
    augment = crop_flip(height, width) if augmentation == "crop_flip" else None

    def epoch_indices(epoch: tf.Tensor) -> tf.data.Dataset:
        order = _permutation(len(split), _stream(seed, epoch, 0))[: num_batches * batch_size]
        indices = tf.reshape(order, [num_batches, batch_size])
        return (
            tf.data.Dataset.from_tensor_slices(indices)
            .enumerate(1)
            .map(lambda batch, rows: (rows, _stream(seed, epoch, batch)))
        )

    def batch_of(rows: tf.Tensor, batch_seed: tf.Tensor) -> dict[str, tf.Tensor]:
        images = tf.cast(lookup(rows), tf.float32) / 255.0
        if augment:
            images = augment(images, batch_seed)
        return {"image": images, "label": tf.gather(labels, rows), "index": rows}

    epochs = tf.data.Dataset.range(first_epoch, tf.int64.max)
    indices = epochs.flat_map(epoch_indices).skip(first_batch)
    stream = indices.map(batch_of, tf.data.AUTOTUNE, deterministic=True)
    return stream.prefetch(tf.data.AUTOTUNE).with_options(_options())


def _stream(seed: int, epoch: tf.Tensor, index: int | tf.Tensor) -> tf.Tensor:
    """A stateless seed: index 0 for an epoch's order, 1 + batch for a batch's augmentation."""
    base = tf.stack([tf.constant(seed, tf.int64), tf.cast(epoch, tf.int64)])
    return tf.random.fold_in(base, tf.cast(index, tf.int64), alg="philox")


def _permutation(count: int, seed: tf.Tensor) -> tf.Tensor:
    """int32 `[count]`. 64 random bits a row leave no ties to decide."""
    keys = tf.random.stateless_uniform(
        [count], seed, minval=None, maxval=None, dtype=tf.int64, alg="philox"
    )
    return tf.argsort(keys, stable=True)


def _options() -> tf.data.Options:
    options = tf.data.Options()
    options.deterministic = True
    # Several workers share one stream: each takes its part of every global batch.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return options
