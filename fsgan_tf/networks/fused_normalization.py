"""Batch normalisation in one operation, where Keras composes it of many.

In training Keras reads and writes the activations about ten times, forward and back; TensorFlow's
fused operation does so four times. A layer class of our own would make every saved model depend on
this package, so that networks are built, saved and exported with Keras' layer, and trained and
attacked through a view of the same variables.

The fused operation keeps the unbiased variance in the moving average, as PyTorch does; Keras'
layer keeps the biased one.
"""

from typing import Any

import tensorflow as tf
from keras import layers

from fsgan_tf.networks.keras_settings import keras


def with_fused_normalization(network: keras.Model) -> keras.Model:
    """The same network on the same variables; batch normalisation of images is fused.

    Args:
      network: any built model.

    Returns:
      A model that shares every other layer of `network`, for calling, not for saving; `network`
      itself where its class decides how its layers are called.
    """
    if not _calls_its_layers(network):
        return network
    return keras.models.clone_model(network, clone_function=_fused)


def with_batch_statistics(network: keras.Model) -> layers.Layer:
    """The same network on the same variables, as it is in training, but it keeps no statistics.

    Called with `training=True` it normalises by the batch and leaves every moving average as it is:
    for the passes of an adversary that attacks the classifier that trains.

    Args:
      network: any built model.

    Returns:
      A model that shares every layer of `network` but batch normalisation, for calling alone.
      Where its class decides how its layers are called, a layer that calls `network` and then puts
      its moving averages back.
    """
    if not _calls_its_layers(network):
        return _keeping_averages(network)
    return keras.models.clone_model(network, clone_function=_by_batch)


def _calls_its_layers(network: keras.Model) -> bool:
    """Whether it is functional or sequential, and no class of its own decides how it is called."""
    by_keras = ("keras.src.models.functional", "keras.src.models.sequential")
    has_inputs = getattr(network, "inputs", None) is not None
    return has_inputs and type(network).call.__module__ in by_keras


def _fused(layer: layers.Layer) -> layers.Layer:
    if isinstance(layer, keras.Model):
        return with_fused_normalization(layer)
    return FusedBatchNormalization(layer) if _has_fused_operation(layer) else layer


def _by_batch(layer: layers.Layer) -> layers.Layer:
    if isinstance(layer, keras.Model):
        return with_batch_statistics(layer)
    if _has_fused_operation(layer):
        return FusedBatchNormalization(layer, keep_statistics=False)
    return _keeping_averages(layer)


def _has_fused_operation(layer: layers.Layer) -> bool:
    if not _is_normalization(layer) or not _is_plain(layer):
        return False
    of_images = layer.input_spec.ndim == 4 and set(layer.input_spec.axes) <= {-1, 3}
    # The fused operation takes gains and averages in float32 alone.
    return of_images and layer.dtype == "float32"


def _is_normalization(layer: layers.Layer) -> bool:
    return isinstance(layer, layers.BatchNormalization) and layer.built


def _is_plain(layer: layers.BatchNormalization) -> bool:
    """Whether it normalises by this replica's batch alone, as Keras' own class does."""
    # Keras 3.12 has no renorm yet.
    of_other_batches = layer.synchronized or getattr(layer, "renorm", False)
    return type(layer) is layers.BatchNormalization and not of_other_batches


def _keeping_averages(layer: layers.Layer) -> layers.Layer:
    # Keras' own operations, such as a reshape, are no layers.
    parts = layer._flatten_layers() if isinstance(layer, layers.Layer) else []
    return AveragesKept(layer) if any(map(_is_normalization, parts)) else layer


class AveragesKept(layers.Layer):
    """Another layer as it is; the moving averages of its batch normalisations stay."""

    def __init__(self, layer: layers.Layer):
        """Takes the layer, which is built and casts its inputs itself."""
        super().__init__(dtype=layer.dtype_policy, autocast=False)
        self.layer = layer
        self.built = True

    def call(self, *inputs: Any, training: bool = False, **options: Any) -> Any:
        """Calls the layer, and puts its moving averages back after a training pass."""
        averages = self._averages() if training else []
        # Read, changed and put back in this order: TensorFlow keeps it for each variable.
        before = [tf.identity(average.value) for average in averages]
        outputs = self.layer(*inputs, training=training, **options)
        for average, value in zip(averages, before, strict=True):
            average.assign(value)
        return outputs

    def compute_output_spec(self, *inputs: Any, **options: Any) -> Any:
        """What the layer returns."""
        return self.layer.compute_output_spec(*inputs, **options)

    def _averages(self) -> list[keras.Variable]:
        return [
            variable
            for part in self.layer._flatten_layers()
            if _is_normalization(part) and part.trainable
            for variable in part.non_trainable_variables
        ]


class FusedBatchNormalization(layers.Layer):
    """Another layer's batch normalisation over the channels of `[b, h, w, c]`, fused."""

    def __init__(self, normalization: layers.BatchNormalization, keep_statistics: bool = True):
        """Takes the layer whose variables and settings are used.

        Args:
          normalization: that layer.
          keep_statistics: whether a training pass updates its moving averages.
        """
        super().__init__(name=normalization.name, dtype=normalization.dtype_policy)
        self.normalization = normalization
        self.keep_statistics = keep_statistics

    def call(self, x: tf.Tensor, training: bool = False, mask: None = None) -> tf.Tensor:
        """Normalises by the batch and may keep its statistics, or by the moving averages.

        Args:
          x: `[b, h, w, c]`.
          training: whether by this batch's statistics.
          mask: Keras gives its layer one; images have none.

        Returns:
          Of x's shape and dtype. Statistics, gains and biases are float32.
        """
        del mask
        layer = self.normalization
        channels = x.shape[-1]
        scale = layer.gamma.value if layer.scale else tf.ones([channels])
        offset = layer.beta.value if layer.center else tf.zeros([channels])
        mean, variance = layer.moving_mean, layer.moving_variance
        # As Keras has it, a layer that is not trainable keeps its moving averages and uses them.
        if not (training and layer.trainable):
            return _by_constants(x, scale, offset, mean.value, variance.value, layer.epsilon)
        unused = tf.zeros([0])
        fused = tf.raw_ops.FusedBatchNormV3(
            x=x, scale=scale, offset=offset, mean=unused, variance=unused, epsilon=layer.epsilon
        )
        if self.keep_statistics:
            for average, of_batch in ((mean, fused.batch_mean), (variance, fused.batch_variance)):
                average.assign(average * layer.momentum + of_batch * (1.0 - layer.momentum))
        return fused.y


def _by_constants(
    x: tf.Tensor,
    scale: tf.Tensor,
    offset: tf.Tensor,
    mean: tf.Tensor,
    variance: tf.Tensor,
    epsilon: float,
) -> tf.Tensor:
    """(x - mean) / sqrt(variance + epsilon) * scale + offset.

    Its gradient is written out, since that of the fused operation sums over the batch for scale
    and offset even where only the gradient by x is wanted; these sums are pruned from a graph.
    """

    @tf.custom_gradient
    def normalized(x: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor) -> Any:
        def gradient(by_output: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            over_deviation = tf.math.rsqrt(variance + epsilon)
            wide = tf.cast(by_output, tf.float32)
            standardized = (tf.cast(x, tf.float32) - mean) * over_deviation
            return (
                by_output * tf.cast(scale * over_deviation, by_output.dtype),
                tf.reduce_sum(wide * standardized, axis=[0, 1, 2]),
                tf.reduce_sum(wide, axis=[0, 1, 2]),
            )

        fused = tf.raw_ops.FusedBatchNormV3(
            x=x,
            scale=scale,
            offset=offset,
            mean=mean,
            variance=variance,
            epsilon=epsilon,
            is_training=False,
        )
        # Not by an operation: TensorFlow merges the ReLU only where it comes right after.
        fused.y.set_shape(x.shape)
        return fused.y, gradient

    return normalized(x, scale, offset)
