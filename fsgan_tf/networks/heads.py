"""Cuts a final softmax or sigmoid off a Keras model, so that attacks see its logits.

Probabilities that are close to 0 and 1 have no gradient left in float32, so that attacks on them
find less than there is. Both functions keep the order of the classes.
"""

from typing import Any

import keras

_CUT = ("softmax", "sigmoid")


def without_probabilities(answer: Any) -> tuple[Any, str | None]:
    """The symbolic tensor before the softmax or sigmoid that made another.

    Args:
      answer: an output of a functional or sequential model.

    Returns:
      The tensor of logits and the name of the function that was cut; `answer` itself and None
      where none was found.
    """
    layer, node_index, tensor_index = answer._keras_history
    inputs = layer._inbound_nodes[node_index].input_tensors
    if isinstance(layer, keras.Model) and getattr(layer, "outputs", None):
        inner, name = without_probabilities(layer.outputs[tensor_index])
        return (keras.Model(layer.inputs, inner)(inputs), name) if name else (answer, None)
    if isinstance(layer, keras.layers.Softmax):
        return (inputs[0], "softmax") if layer.axis in (-1, 1) else (answer, None)
    function = _function_name(layer)
    if function == "linear" and isinstance(layer, keras.layers.Activation):
        # A cast to float32 at the end, as mixed precision has it.
        before, name = without_probabilities(inputs[0])
        return (before, name) if name else (answer, None)
    if function not in _CUT:
        return answer, None
    if isinstance(layer, keras.layers.Dense):
        return _linear(layer)(inputs[0]), function
    return inputs[0], function


def _function_name(layer: Any) -> str | None:
    """Of the activation that a layer applies last; or of the operation that it is."""
    if isinstance(layer, (keras.layers.Activation, keras.layers.Dense)):
        return getattr(layer.activation, "__name__", None)
    is_operation = not isinstance(layer, keras.layers.Layer)
    return type(layer).__name__.lower() if is_operation else None


def _linear(layer: keras.layers.Dense) -> keras.layers.Dense:
    """The same weights without the activation."""
    linear = type(layer).from_config({**layer.get_config(), "activation": "linear"})
    linear.build(layer.input_spec.axes and (None, layer.input_spec.axes[-1]))
    linear.set_weights(layer.get_weights())
    return linear
