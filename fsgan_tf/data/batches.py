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
    last_batch: str = "drop",
    first_epoch: int = 0,
    first_batch: int = 0,
) -> tf.data.Dataset:
    """Endless shuffled batches, a pure function of the arguments.

    The order depends on (seed, epoch), the augmentation on (seed, epoch, batch), so a stream that
    starts at a later epoch gives bit for bit what an uninterrupted one gives from there on.

    Args:
      split: the training images, in memory or streamed: the batches are the same bit for bit.
      batch_size: examples a batch, over all replicas.
      seed: 0 or more.
      augmentation: `none` or `crop_flip`.
      last_batch: what an epoch leaves over whole batches: `drop`, or `keep` as a smaller batch.
      first_epoch: epoch to start with.
      first_batch: batch of that epoch to start with; those before are not read.

    Returns:
      Batches of static size, unless an epoch ends with a smaller one.

    Raises:
      UserError: the split is smaller than a batch.
    """
    if len(split) < batch_size:
        raise UserError(
            f"the training set has {len(split)} examples, fewer than the batch of {batch_size} "
            "over all replicas; give a smaller --batch_size"
        )
    lookup = split.lookup()
    with tf.device("CPU:0"):
        labels = tf.constant(split.labels)
    height, width, _ = split.image_shape
    augment = crop_flip(height, width) if augmentation == "crop_flip" else None

    # An epoch without a smaller batch is of static size, whatever is asked for.
    drops = last_batch == "drop" or len(split) % batch_size == 0

    def epoch_indices(epoch: tf.Tensor) -> tf.data.Dataset:
        order = permutation(len(split), stream_seed(seed, epoch, 0))
        return (
            tf.data.Dataset.from_tensor_slices(order)
            .batch(batch_size, drop_remainder=drops)
            .enumerate(1)
            .map(lambda batch, rows: (rows, stream_seed(seed, epoch, batch)))
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


def batches_per_epoch(examples: int, batch_size: int, last_batch: str) -> int:
    """How many batches an epoch has.

    Args:
      examples: of the training set.
      batch_size: over all replicas.
      last_batch: as for `training_batches`.
    """
    whole, rest = divmod(examples, batch_size)
    return whole + (last_batch == "keep" and rest > 0)


def stream_seed(seed: int | tf.Tensor, epoch: tf.Tensor, index: int | tf.Tensor) -> tf.Tensor:
    """A stateless seed: index 0 for an epoch's order, 1 + batch for a batch's augmentation."""
    base = tf.stack([tf.cast(seed, tf.int64), tf.cast(epoch, tf.int64)])
    return tf.random.fold_in(base, tf.cast(index, tf.int64), alg="philox")


def permutation(count: int, seed: tf.Tensor) -> tf.Tensor:
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
