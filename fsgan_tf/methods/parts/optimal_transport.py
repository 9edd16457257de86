"""Entropic optimal transport between the outputs of a clean and a perturbed batch.

Source: Cuturi 2013 (arXiv:1306.0895) for the Sinkhorn iteration; Haichao-Zhang/FeatureScatter at
77e9140, `ot.py`, for the cosine cost and the stopping rule of the `reference` solver.

Deviations: none in `reference`. `converged` is ours, for comparison: it meets both marginals, and
its plan is constant to the gradient (the envelope theorem's gradient of the regularised problem).
"""

import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

_COSINE_EPSILON = 1e-6
_REFERENCE_ITERATIONS = 100
_REFERENCE_THRESHOLD = 0.1
_CONVERGED_ITERATIONS = 5000
_CONVERGED_THRESHOLD = 1e-4


def cosine_cost(clean_logits: tf.Tensor, adversarial_logits: tf.Tensor) -> tf.Tensor:
    """Cost matrix C_ij = max(0, 1 - cos(clean_i, adversarial_j)); FS-GAN eq. 4.

    Args:
      clean_logits: `[n, k]`, any float type; computed in float32.
      adversarial_logits: `[m, k]`, likewise.

    Returns:
      float32 `[n, m]` within [0, 2]; a row of zeros counts as orthogonal to everything.
    """
    cosine = tf.matmul(_unit(clean_logits), _unit(adversarial_logits), transpose_b=True)
    return tf.nn.relu(1.0 - cosine)


def sinkhorn_plan(
    cost_matrix: tf.Tensor, entropic_regularization: float = 0.01, solver: str = "reference"
) -> tf.Tensor:
    """Transport plan between uniform marginals for a cost matrix.

    Args:
      cost_matrix: float32 `[n, m]`.
      entropic_regularization: weight of the entropy; 0.01 in Feature-Scatter and FS-GAN.
      solver: `reference` stops as Feature-Scatter's code does, when the l1 change of the row
        potentials falls below 0.1 or after 100 iterations: usually a few to 20, with row marginals
        off by up to half and more. The gradient flows through the iterations. `converged` goes on
        until the row marginals are met to 1e-4 in l1, or for 5,000 iterations, and lets no
        gradient through.

    Returns:
      float32 `[n, m]` of non-negative entries that sum to about 1.

    Raises:
      ValueError: for an unknown solver.
    """
    if solver == "reference":
        return _reference_plan(cost_matrix, entropic_regularization)
    if solver == "converged":
        # Stopped before as well as after: a tape would keep every iteration.
        plan = _converged_plan(tf.stop_gradient(cost_matrix), entropic_regularization)
        return tf.stop_gradient(plan)
    raise ValueError(f"solver is {solver!r}; it must be 'reference' or 'converged'")


def probabilities(logits: tf.Tensor) -> tf.Tensor:
    """Softmax in float32 of `[n, k]` logits of any float type."""
    return tf.nn.softmax(tf.cast(logits, tf.float32))


def centered(logits: tf.Tensor) -> tf.Tensor:
    """`[n, k]` logits less their mean over the classes, in float32."""
    logits = tf.cast(logits, tf.float32)
    return logits - tf.reduce_mean(logits, axis=1, keepdims=True)


# What the cosine compares. A common offset of the logits changes their cosine and not their
# softmax; probabilities and centred logits do not see it.
OUTPUTS = {"logits": tf.identity, "centered_logits": centered, "probabilities": probabilities}


def transport_cost(
    clean_logits: tf.Tensor,
    adversarial_logits: tf.Tensor,
    entropic_regularization: float = 0.01,
    solver: str = "reference",
    of: str = "logits",
) -> tf.Tensor:
    """Optimal-transport distance D = sum_ij T_ij C_ij of two batches of logits; FS-GAN eq. 3.

    Args:
      clean_logits: `[n, k]`.
      adversarial_logits: `[m, k]`.
      entropic_regularization: see `sinkhorn_plan`.
      solver: see `sinkhorn_plan`.
      of: what of the logits the cost compares, a key of `OUTPUTS`: `logits` as in Feature-Scatter's
        code and FS-GAN's section IV-B, `probabilities` as in FS-GAN's eq. 4, `centered_logits`.

    Returns:
      float32 scalar within [0, 2], already a mean over the batch: the plan sums to 1.
    """
    compared = OUTPUTS[of]
    cost_matrix = cosine_cost(compared(clean_logits), compared(adversarial_logits))
    plan = sinkhorn_plan(cost_matrix, entropic_regularization, solver)
    return tf.reduce_sum(plan * cost_matrix)


def scatter_gradient(
    classifier: Callable[[tf.Tensor], tf.Tensor],
    clean_logits: tf.Tensor,
    images: tf.Tensor,
    entropic_regularization: float = 0.01,
    solver: str = "reference",
    of: str = "logits",
) -> tuple[tf.Tensor, tf.Tensor]:
    """Gradient of L_ot by perturbed images.

    Args:
      classifier: images to logits, in the mode in which it is attacked.
      clean_logits: `[b, k]`, constant.
      images: perturbed, float32 `[b, h, w, c]`.
      entropic_regularization: see `sinkhorn_plan`.
      solver: see `sinkhorn_plan`.
      of: see `transport_cost`.

    Returns:
      The gradient, float32 `[b, h, w, c]`, and L_ot itself, float32 scalar.
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(images)
        logits = classifier(images)
        cost = transport_cost(clean_logits, logits, entropic_regularization, solver, of)
    # L_ot is a mean over the batch, whose factor 1/b costs float16 its range. A power of two can be
    # divided out again exactly.
    scale = 2.0 ** tf.math.ceil(tf.math.log(tf.cast(tf.shape(images)[0], tf.float32)) / math.log(2))
    return tape.gradient(cost, images, scale) / scale, cost


def _unit(vectors: tf.Tensor) -> tf.Tensor:
    vectors = tf.cast(vectors, tf.float32)
    square_norm = tf.reduce_sum(tf.square(vectors), axis=1, keepdims=True)
    # The maximum keeps the gradient finite where all logits are zero.
    return vectors * tf.math.rsqrt(tf.maximum(square_norm, _COSINE_EPSILON**2))


def _log_kernel(cost: tf.Tensor, u: tf.Tensor, v: tf.Tensor, regularization: float) -> tf.Tensor:
    return (u[:, tf.newaxis] + v[tf.newaxis, :] - cost) / regularization


def _reference_plan(cost: tf.Tensor, regularization: float) -> tf.Tensor:
    """The plan with a gradient by the iterations' own reverse.

    TensorFlow's gradient of a `tf.while_loop` would keep every `[n, m]` intermediate, and has been
    seen to fail at random (`AlreadyExistsError` of a temporary variable, TF 2.21). The reverse
    needs the potentials alone.
    """
    rows, columns = _sizes(cost)
    log_mu, log_nu = -tf.math.log(rows), -tf.math.log(columns)

    @tf.custom_gradient
    def plan_of(cost: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        def kernel(u: tf.Tensor, v: tf.Tensor) -> tf.Tensor:
            return tf.exp(_log_kernel(cost, u, v, regularization))

        def step_u(u: tf.Tensor, v: tf.Tensor) -> tf.Tensor:
            return u + regularization * (log_mu - tf.math.log(_sums(kernel(u, v), 1)))

        def step_v(u: tf.Tensor, v: tf.Tensor) -> tf.Tensor:
            return v + regularization * (log_nu - tf.math.log(_sums(kernel(u, v), 0)))

        def iterate(
            count: tf.Tensor,
            u: tf.Tensor,
            v: tf.Tensor,
            _: tf.Tensor,
            us: tf.TensorArray,
            vs: tf.TensorArray,
        ) -> tuple[Any, ...]:
            new_u = step_u(u, v)
            change = tf.reduce_sum(tf.abs(new_u - u))
            return (
                count + 1, new_u, step_v(new_u, v), change, us.write(count, u), vs.write(count, v)
            )  # fmt: skip

        count, u, v, _, us, vs = tf.while_loop(
            lambda count, u, v, change, us, vs: change >= _REFERENCE_THRESHOLD,
            iterate,
            (
                tf.constant(0),
                tf.zeros_like(cost[:, 0]),
                tf.zeros_like(cost[0]),
                tf.constant(math.inf),
                _history(cost.shape[0]),
                _history(cost.shape[1]),
            ),
            maximum_iterations=_REFERENCE_ITERATIONS,
        )
        plan = kernel(u, v)

        def gradient(by_plan: tf.Tensor) -> tf.Tensor:
            """Walks the iterations back; `by_x` is the gradient of the loss by x."""

            def reverse(
                index: tf.Tensor, by_u: tf.Tensor, by_v: tf.Tensor, by_cost: tf.Tensor
            ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
                u, v = us.read(index), vs.read(index)
                after_u = kernel(step_u(u, v), v)
                through_v = -after_u * (by_v / _sums(after_u, 0))[tf.newaxis, :]
                by_u += tf.reduce_sum(through_v, axis=1)
                before = kernel(u, v)
                through_u = -before * (by_u / _sums(before, 1))[:, tf.newaxis]
                both = through_u + through_v
                return (
                    index - 1,
                    by_u + tf.reduce_sum(through_u, axis=1),
                    by_v + tf.reduce_sum(both, axis=0),
                    by_cost - both,
                )

            last = by_plan * plan / regularization
            _, _, _, by_cost = tf.while_loop(
                lambda index, *_: index >= 0,
                reverse,
                (count - 1, tf.reduce_sum(last, axis=1), tf.reduce_sum(last, axis=0), -last),
                maximum_iterations=_REFERENCE_ITERATIONS,
            )
            return by_cost

        return plan, gradient

    return plan_of(cost)


def _sums(kernel: tf.Tensor, axis: int) -> tf.Tensor:
    """Sums plus 1e-6, and no maximum is subtracted: the reference's, and it shapes the plan."""
    return tf.reduce_sum(kernel, axis=axis) + 1e-6


def _history(size: int | None) -> tf.TensorArray:
    """Room for one `[size]` potential an iteration."""
    return tf.TensorArray(
        tf.float32, _REFERENCE_ITERATIONS, element_shape=[size], clear_after_read=False
    )


def _converged_plan(cost: tf.Tensor, regularization: float) -> tf.Tensor:
    rows, columns = _sizes(cost)
    log_mu, log_nu = -tf.math.log(rows), -tf.math.log(columns)

    def iterate(u: tf.Tensor, v: tf.Tensor, _: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        kernel = _log_kernel(cost, u, v, regularization)
        log_row_sums = tf.reduce_logsumexp(kernel, axis=1)
        error = tf.reduce_sum(tf.abs(tf.exp(log_row_sums) - tf.exp(log_mu)))
        u += regularization * (log_mu - log_row_sums)
        kernel = _log_kernel(cost, u, v, regularization)
        v += regularization * (log_nu - tf.reduce_logsumexp(kernel, axis=0))
        return u, v, error

    u, v, _ = tf.while_loop(
        lambda u, v, error: error >= _CONVERGED_THRESHOLD,
        iterate,
        (tf.zeros_like(cost[:, 0]), tf.zeros_like(cost[0]), tf.constant(math.inf)),
        maximum_iterations=_CONVERGED_ITERATIONS,
    )
    return tf.exp(_log_kernel(cost, u, v, regularization))


def _sizes(cost: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    shape = tf.cast(tf.shape(cost), tf.float32)
    return shape[0], shape[1]
