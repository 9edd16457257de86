"""Adversarial weight perturbation (Wu et al. 2020, arXiv:2004.05884).

Source: csdongxian/AWP at a7acf5d, `AT_AWP/utils_awp.py`, `AT_AWP/train_cifar10.py` and
`trades_AWP/`: before a descent step every kernel is moved up the training loss by gamma times its
own l2 norm, along its gradient; the loss is computed anew there and descended by the optimizer,
whose L2 and momentum see the moved kernels; then the move is taken back. Vectors (biases and
normalisation) are not moved.

Deviation: the authors take the gradient from a copy of the network, so that its pass leaves no
trace in the moving averages; here the gradient comes from the pass that the method makes anyway,
and the moving averages see the batch at both weights.

The authors have no method with a generator. For these methods we move the classifier's kernels up
its own loss on the generator's images. The images are made before the move and are not made again.
The exception is `generated_step`, whose step and whose generator's gradient are taken anew at the
moved weights.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras
import tensorflow as tf

# As in the source: keeps the direction finite where a kernel has no gradient.
_SMALLEST_NORM = 1e-20


@contextlib.contextmanager
def perturbed_weights(
    network: keras.Model, gradients: list[tf.Tensor], gamma: float
) -> Iterator[None]:
    """Moves the kernels of a network up its loss inside the `with`, and back after it.

    Args:
      network: whose trainable variables are moved.
      gradients: of this replica's loss by them, of any common scale.
      gamma: length of each kernel's move, in units of its l2 norm.
    """
    context = tf.distribute.get_replica_context()
    kernels = [
        (variable, gradient)
        for variable, gradient in zip(network.trainable_variables, gradients, strict=True)
        if len(variable.shape) > 1
    ]
    whole = context.all_reduce(tf.distribute.ReduceOp.SUM, [gradient for _, gradient in kernels])
    moves = [
        _move(variable.value, gradient, gamma)
        for (variable, _), gradient in zip(kernels, whole, strict=True)
    ]
    variables = [variable.value for variable, _ in kernels]
    _add(variables, moves)
    yield
    _add(variables, [-move for move in moves])


def _move(kernel: tf.Variable, gradient: tf.Tensor, gamma: float) -> tf.Tensor:
    """Gamma |kernel| along the gradient; none where that overflowed, as float16's may.

    What is not finite could not be taken back.
    """
    norm = tf.norm(gradient)
    move = gamma * tf.norm(kernel) / (norm + _SMALLEST_NORM) * gradient
    return tf.where(tf.math.is_finite(norm), move, 0.0)


def _add(variables: list[tf.Variable], values: list[tf.Tensor]) -> None:
    """Adds to variables that every replica has a copy of, equal values on each."""

    def on_all_replicas(strategy: tf.distribute.Strategy, values: list[tf.Tensor]) -> None:
        for variable, value in zip(variables, values, strict=True):
            strategy.extended.update(variable, lambda v, x: v.assign_add(x), args=(value,))

    tf.distribute.get_replica_context().merge_call(on_all_replicas, args=(values,))
