"""The layers of the networks in NumPy, for whole forward passes to be checked against."""

import numpy as np


def randomise(model, seed=0):
    """Random weights, moving averages among them, that keep activations near unit scale."""
    generator = np.random.default_rng(seed)
    for variable in model.variables:
        shape = variable.shape
        if "kernel" in variable.path:
            value = generator.normal(0, np.prod(shape[:-1]) ** -0.5, shape)
        elif "variance" in variable.path or "gamma" in variable.path:
            value = generator.uniform(0.5, 2.0, shape)
        else:
            value = generator.normal(0, 0.3, shape)
        variable.assign(value)


def weights(model):
    """Weights by layer, in float64."""
    return {
        layer.name: [np.float64(weight) for weight in layer.get_weights()] for layer in model.layers
    }


def convolve(x, kernel, *, stride=1, padding=0):
    """`[b, h, w, c]` by `[k, k, c, o]`, with as much zero padding on each of the four sides."""
    size = kernel.shape[0]
    x = np.pad(x, [(0, 0), (padding, padding), (padding, padding), (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))
    return np.einsum("bhwcij,ijco->bhwo", windows[:, ::stride, ::stride], kernel)


def convolve_transposed(x, kernel, *, stride, padding):
    """`[b, h, w, c]` by `[k, k, o, c]`: each pixel stamps the kernel; `padding` is cut off."""
    batch, height, width, _ = x.shape
    size, _, outputs, _ = kernel.shape
    y = np.zeros((batch, (height - 1) * stride + size, (width - 1) * stride + size, outputs))
    for row in range(height):
        for column in range(width):
            top, left = row * stride, column * stride
            y[:, top : top + size, left : left + size] += np.einsum(
                "bc,ijoc->bijo", x[:, row, column], kernel
            )
    return y[:, padding:-padding, padding:-padding]


def normalise(x, batch_normalisation, epsilon):
    """Batch normalisation at inference, by the layer's weights."""
    gamma, beta, mean, variance = batch_normalisation
    return (x - mean) / np.sqrt(variance + epsilon) * gamma + beta


def relu(x, slope=0.0):
    """Leaky by `slope`."""
    return np.where(x > 0, x, slope * x)
