"""The average of a network's weights over the steps of its training."""

import keras
import tensorflow as tf


class WeightAverage(keras.layers.Layer):
    """average = decay * average + (1 - decay) * weight, after every step; at first the weight.

    Source: torch.optim.swa_utils.AveragedModel with get_ema_multi_avg_fn(decay) and
    use_buffers=True: the statistics of normalisation are averaged as the weights are, and the
    first update copies. Whole numbers are copied always.

    Attributes:
      network: the network with averaged weights, for calling, evaluating and saving.
      updates: how many there were, scalar.
    """

    def __init__(self, network: keras.Model, decay: float):
        """Copies the network.

        Args:
          network: any built model that Keras can copy.
          decay: within (0, 1); the average is over the last 1 / (1 - decay) steps or so.

        Raises:
          ValueError: Keras cannot copy the network.
        """
        super().__init__(name=f"{network.name}_average")
        self.decay = decay
        self.network = copy_of(network)
        self.updates = self.add_weight(shape=(), dtype="int64", initializer="zeros", name="updates")

    def update(self, network: keras.Model) -> None:
        """Takes the network's weights in; under a distribution strategy, outside its replicas."""
        decay = tf.where(self.updates.value > 0, self.decay, 0.0)
        for average, weight in zip(self.network.weights, network.weights, strict=True):
            value = tf.convert_to_tensor(weight.value)
            if value.dtype.is_floating:
                kept = tf.cast(decay, value.dtype)
                value = kept * average.value + (1 - kept) * value
            average.value.assign(value)
        self.updates.value.assign_add(1)


def copy_of(network: keras.Model) -> keras.Model:
    """A model of the same class, layers and weights that shares no variable.

    Raises:
      ValueError: Keras cannot make one.
    """
    try:
        copy = keras.models.clone_model(network)
        if not copy.built:
            copy.build_from_config(network.get_build_config())
        copy.set_weights(network.get_weights())
        for layer in copy._flatten_layers():
            if isinstance(layer, keras.layers.Normalization):
                layer.finalize_state()  # It computes with constants made of its weights.
    except (NotImplementedError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"ema_decay needs a copy of the classifier, and Keras cannot make one of a "
            f"{type(network).__name__} ({str(error).strip().splitlines()[0]}); give it get_config "
            "and build, or ema_decay=0"
        ) from error
    return copy
