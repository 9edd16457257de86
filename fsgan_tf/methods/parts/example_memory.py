"""What a method keeps of every training image from one epoch to the next."""

from collections.abc import Mapping

import keras
import tensorflow as tf


class ExampleMemory(keras.layers.Layer):
    """Arrays of one row for each training image; every replica has a copy, all of them alike.

    Its variables are part of checkpoints, and of what Keras saves of a method.

    Attributes:
      examples: number of rows.
    """

    def __init__(self, examples: int, rows: Mapping[str, tuple[tuple[int, ...], str]]):
        """Makes the arrays, zero at first; under a distribution strategy, inside its scope.

        Args:
          examples: number of training images.
          rows: shape and dtype of one row, by the array's name.
        """
        super().__init__(name="example_memory")
        self.examples = examples
        self._arrays = {
            name: self.add_weight(
                shape=(examples, *shape),
                dtype=dtype,
                initializer="zeros",
                trainable=False,
                autocast=False,
                name=name,
            )
            for name, (shape, dtype) in rows.items()
        }

    def read(self, index: tf.Tensor) -> dict[str, tf.Tensor]:
        """The rows of these images, by the array's name.

        Args:
          index: int32 `[b]`, from 0 to below `examples`.

        Raises:
          tf.errors.InvalidArgumentError: an index is not.
        """
        self._require_rows(index)
        return {name: tf.gather(array.value, index) for name, array in self._arrays.items()}

    def write(self, index: tf.Tensor, rows: Mapping[str, tf.Tensor]) -> None:
        """Replaces the rows of these images; in a replica, those of all replicas everywhere.

        Args:
          index: int32 `[b]`.
          rows: `[b, ...]` by the array's name, of any dtype.
        """
        arrays = [self._arrays[name] for name in rows]
        values = [tf.cast(rows[name], self._arrays[name].dtype) for name in rows]
        context = tf.distribute.get_replica_context()
        if context.num_replicas_in_sync > 1:
            index, *values = context.all_gather([index, *values], axis=0)

        def on_all_replicas(
            strategy: tf.distribute.Strategy, index: tf.Tensor, values: list[tf.Tensor]
        ) -> None:
            for array, value in zip(arrays, values, strict=True):
                strategy.extended.update(
                    array.value,
                    lambda v, i, x: v.scatter_nd_update(i[:, tf.newaxis], x),
                    args=(index, value),
                )

        context.merge_call(on_all_replicas, args=(index, values))

    def _require_rows(self, index: tf.Tensor) -> None:
        message = (
            f"a batch's index is not from 0 to {self.examples - 1}, as of the {self.examples} "
            "training images; count them from 0, and give their number to the method's remember()"
        )
        tf.debugging.assert_non_negative(tf.reduce_min(index), message)
        tf.debugging.assert_less(tf.reduce_max(index), self.examples, message)
