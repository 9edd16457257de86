"""Counted arithmetic of networks and methods."""

import keras
import numpy as np
from keras import layers


def multiply_adds(model: keras.Model) -> int:
    """Multiply-adds of one example's forward pass: convolutions and dense layers.

    Args:
      model: a Keras model of fixed image shape, which may hold others.

    Returns:
      The count; 5.2e9 for WRN-28-10 at 32x32.
    """
    return sum(_layer_multiply_adds(layer) for layer in model._flatten_layers())


def parameters(model: keras.Model) -> int:
    """Number of trainable parameters."""
    return sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)


def _layer_multiply_adds(layer: keras.Layer) -> int:
    if isinstance(layer, layers.Conv2DTranspose):
        # Each input pixel meets the whole kernel.
        return int(np.prod(layer.input.shape[1:3]) * np.prod(layer.kernel.shape))
    # A depthwise kernel has no output channels but its own: it too meets each output pixel whole.
    if isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D):
        return int(np.prod(layer.output.shape[1:3]) * np.prod(layer.kernel.shape))
    if isinstance(layer, layers.SeparableConv2D):
        kernels = (layer.depthwise_kernel, layer.pointwise_kernel)
        size = sum(np.prod(kernel.shape) for kernel in kernels)
        return int(np.prod(layer.output.shape[1:3]) * size)
    if isinstance(layer, layers.Dense):
        return int(np.prod(layer.kernel.shape))
    return 0
