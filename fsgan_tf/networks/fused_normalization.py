"""Batch normalisation of a training batch in one operation, where Keras composes it of many.

Keras reads and writes the activations about ten times, forward and back; TensorFlow's fused
operation does so four times. A layer class of our own would make every saved model depend on this
package, so that networks are built, saved and exported with Keras' layer, and trained through a
view of the same variables.

The fused operation keeps the unbiased variance in the moving average, as PyTorch does; Keras'
layer keeps the biased one.
"""

import keras
import tensorflow as tf
from keras import layers


def with_fused_normalization(network: keras.Model) -> keras.Model:
    """The same network on the same variables; its batch normalisation layers train fused.

    Args:
      network: functional or sequential.

    Returns:
      A model that shares every layer of `network` but those. It is for calling, not for saving.
    """
    return keras.models.clone_model(network, clone_function=_fused)


def _fused(layer: layers.Layer) -> layers.Layer:
    if isinstance(layer, layers.BatchNormalization):
        return FusedBatchNormalization(layer)
    return layer


class FusedBatchNormalization(layers.Layer):
    """Another layer's batch normalisation over `[b, h, w, c]`, fused in training mode."""

    def __init__(self, normalization: layers.BatchNormalization):
        """Takes the layer whose variables and settings are used; it normalises the last axis."""
        super().__init__(name=normalization.name, dtype=normalization.dtype_policy)
        self.normalization = normalization

    def call(self, x: tf.Tensor, training: bool = False, mask: None = None) -> tf.Tensor:
        """Normalises by the batch and keeps its statistics, or as the layer does for inference.

        Args:
          x: `[b, h, w, c]`.
          training: whether by this batch's statistics.
          mask: Keras gives its layer one; images have none.

        Returns:
          Of x's shape and dtype. Statistics, gains and biases are float32.
        """
        del mask
        layer = self.normalization
        if not training:
            return layer(x, training=False)
        channels = x.shape[-1]
        scale = layer.gamma.value if layer.scale else tf.ones([channels], layer.variable_dtype)
        offset = layer.beta.value if layer.center else tf.zeros([channels], layer.variable_dtype)
        # There is no fused operation for float64, in which formulas are compared.
        normalize = _composed if self.compute_dtype == "float64" else _in_one
        output, mean, variance = normalize(x, scale, offset, layer.epsilon)
        for moving, of_batch in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
            moving.assign(moving * layer.momentum + of_batch * (1.0 - layer.momentum))
        return output


# Of x, its mean and its unbiased variance by channel.
_Normalized = tuple[tf.Tensor, tf.Tensor, tf.Tensor]


def _in_one(x: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor, epsilon: float) -> _Normalized:
    unused = tf.zeros([0])
    fused = tf.raw_ops.FusedBatchNormV3(
        x=x,
        scale=scale,
        offset=offset,
        mean=unused,
        variance=unused,
        epsilon=epsilon,
        is_training=True,
    )
    return fused.y, fused.batch_mean, fused.batch_variance


def _composed(x: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor, epsilon: float) -> _Normalized:
    mean, variance = tf.nn.moments(x, axes=[0, 1, 2])
    output = tf.nn.batch_normalization(x, mean, variance, offset, scale, epsilon)
    count = tf.cast(tf.size(x) // tf.size(mean), x.dtype)
    return output, mean, variance * count / (count - 1)
