"""The threat model: what a perturbation may be.

Training adversaries and evaluation attacks share this description of the ball, the random draws of
`stateless_random` and the view of a network with fused normalisation
(`networks/fused_normalization.py`). Their losses and loops are their own, and what an attack claims
is verified on the classifier as it was given.

What depends on the norm is in one class (`Linf`). Its step and its limit on perturbations are
CleverHans', so that an attack made of them walks as CleverHans' attacks do, bit for bit.
"""

import dataclasses
import numbers
from typing import Any

import numpy as np
import tensorflow as tf
from cleverhans.tf2.utils import clip_eta, optimize_linear

from fsgan_tf import stateless_random

_TOLERANCE = 1e-6


class Linf:
    """Perturbations measured by the largest change of a value."""

    @staticmethod
    def draw(shape: tf.Tensor | list[int], seed: tf.Tensor) -> tf.Tensor:
        """A uniform draw from the unit ball."""
        return 2 * stateless_random.uniform(shape, seed) - 1

    @staticmethod
    def size(perturbations: tf.Tensor) -> tf.Tensor:
        """Norms `[b]`."""
        return tf.reduce_max(tf.abs(perturbations), axis=list(range(1, len(perturbations.shape))))

    @staticmethod
    def steepest(gradients: tf.Tensor, length: float | tf.Tensor) -> tf.Tensor:
        """The perturbations of norm `length` along which a linear function rises most."""
        return optimize_linear(gradients, length, np.inf)

    @staticmethod
    def limit(perturbations: tf.Tensor, radius: float | tf.Tensor) -> tf.Tensor:
        """The nearest perturbations of norm at most `radius`."""
        return clip_eta(perturbations, np.inf, radius)

    @staticmethod
    def project(
        adversarial_images: tf.Tensor, images: tf.Tensor, radius: float | tf.Tensor
    ) -> tf.Tensor:
        """The nearest images at most `radius` from `images`.

        Rounded otherwise than `images + limit(adversarial_images - images)`.
        """
        return tf.clip_by_value(adversarial_images, images - radius, images + radius)

    @staticmethod
    def step_to_hyperplane(
        points: tf.Tensor, values: tf.Tensor, gradients: tf.Tensor, lower: float, upper: float
    ) -> tf.Tensor:
        """See `ThreatModel.step_to_hyperplane`.

        All coordinates move alike against the function until they reach the box, so a step of norm
        r changes the function by sum_i |w_i| min(r, m_i), m_i being the way to the box. With the
        m_i in ascending order that is the least, over k, of sum_{i<k} |w_i| m_i + r sum_{i>=k}
        |w_i|; so the wanted r is the largest that one of these needs to reach the function's value.
        """
        downhill = tf.where(values >= 0, -1.0, 1.0)[:, None] * tf.sign(gradients)
        room = tf.where(downhill > 0, upper - points, points - lower)
        order = tf.argsort(room, axis=1)
        weights = tf.gather(tf.abs(gradients), order, batch_dims=1)
        spent = tf.cumsum(weights * tf.gather(room, order, batch_dims=1), axis=1, exclusive=True)
        slope = tf.cumsum(weights, axis=1, reverse=True)
        radii = tf.math.divide_no_nan(tf.abs(values)[:, None] - spent, slope)
        radius = tf.reduce_max(radii, axis=1, keepdims=True)
        return downhill * tf.minimum(radius, room)

    @staticmethod
    def contains(perturbations: tf.Tensor, radius: float | tf.Tensor) -> tf.Tensor:
        """Whether the norm is at most `radius`, bool `[b]`; False where a value is NaN."""
        return tf.reduce_all(tf.abs(perturbations) <= radius, axis=[1, 2, 3])

    @staticmethod
    def round_to_8_bits(
        adversarial_images: tf.Tensor, images: tf.Tensor, radius: float | tf.Tensor
    ) -> tf.Tensor:
        """See `ThreatModel.round_to_8_bits`."""
        lowest = tf.math.ceil(255 * (images - radius))
        highest = tf.math.floor(255 * (images + radius))
        return tf.clip_by_value(tf.round(255 * adversarial_images), lowest, highest) / 255


_NORMS = {"linf": Linf}


@dataclasses.dataclass(frozen=True)
class ThreatModel:
    """Perturbations of norm at most `epsilon` of images within [`lower`, `upper`].

    As the argument of a compiled function its `epsilon` is a tensor, so that one trace serves every
    radius.

    Attributes:
      epsilon: radius, in pixel units.
      lower: smallest pixel value.
      upper: largest pixel value.
      norm: the only norm so far.
    """

    epsilon: float
    lower: float = 0.0
    upper: float = 1.0
    norm: str = "linf"

    def __post_init__(self) -> None:
        # In a compiled function it is a tensor.
        is_number = isinstance(self.epsilon, numbers.Real)
        if is_number and not 0 < self.epsilon <= self.upper - self.lower:
            raise ValueError(
                f"epsilon is {self.epsilon}; it must be above 0 and at most "
                f"{self.upper - self.lower}, the width of the pixel range"
            )
        if self.norm not in _NORMS:
            raise ValueError(f"norm is {self.norm!r}; only 'linf' is supported")

    def __tf_flatten__(self) -> tuple[tuple[Any, ...], tuple[Any, ...]]:  # noqa: PLW3201
        """For `tf.nest` and `tf.function`: what is fixed in a trace, and what is an argument."""
        epsilon: Any = self.epsilon
        if isinstance(epsilon, numbers.Real):
            epsilon = tf.constant(epsilon, tf.float32)
        return (self.lower, self.upper, self.norm), (epsilon,)

    @classmethod
    def __tf_unflatten__(  # noqa: PLW3201
        cls, metadata: tuple[Any, ...], components: tuple[Any, ...]
    ) -> "ThreatModel":
        """The inverse of `__tf_flatten__`."""
        return cls(*components, *metadata)

    @property
    def _ball(self) -> type[Linf]:
        return _NORMS[self.norm]

    def random_perturbation(self, shape: tf.Tensor | list[int], seed: tf.Tensor) -> tf.Tensor:
        """Uniform in the ball.

        Args:
          shape: of the result, `[b, h, w, c]`.
          seed: `[2]` int32, stateless.

        Returns:
          float32 perturbation, pixel units; image plus perturbation may leave the pixel range.
        """
        return self.epsilon * self._ball.draw(shape, seed)

    def random_start(
        self, images: tf.Tensor, seeds: tf.Tensor, *, on_the_surface: bool = False
    ) -> tf.Tensor:
        """Uniform in the ball around each image, clipped to the pixel range.

        Args:
          images: float32 `[b, h, w, c]`.
          seeds: int64 `[b, 2]`, each example's own stateless seed.
          on_the_surface: scale each perturbation to norm epsilon.

        Returns:
          float32 `[b, h, w, c]`.
        """

        def draw(seed: tf.Tensor) -> tf.Tensor:
            noise = self._ball.draw(tf.shape(images)[1:], seed)
            return noise / self._ball.size(noise[None])[0] if on_the_surface else noise

        spec = tf.TensorSpec(images.shape[1:], tf.float32)
        noise = tf.map_fn(draw, seeds, fn_output_signature=spec)
        return self.clip(images + self.epsilon * noise)

    def steepest_step(self, gradients: tf.Tensor, length: float | tf.Tensor) -> tf.Tensor:
        """The step along which the loss rises most.

        Args:
          gradients: float32 `[b, h, w, c]` of the loss; no step is taken where a value is NaN, so
            that one such pixel does not end an attack.
          length: its norm, pixel units, or one for each image, `[b, 1, 1, 1]`.

        Returns:
          float32 `[b, h, w, c]`.
        """
        known = tf.where(tf.math.is_nan(gradients), 0.0, gradients)
        return self._ball.steepest(known, length)

    def size(self, perturbations: tf.Tensor) -> tf.Tensor:
        """Norms `[b]` of float32 perturbations `[b, ...]`, pixel units."""
        return self._ball.size(perturbations)

    def clip(self, images: tf.Tensor) -> tf.Tensor:
        """Clips float32 images of any shape to the pixel range."""
        return tf.clip_by_value(images, self.lower, self.upper)

    def limit(self, perturbations: tf.Tensor) -> tf.Tensor:
        """The nearest perturbations in the ball, float32 `[b, h, w, c]`, as CleverHans has them."""
        return self._ball.limit(perturbations, self.epsilon)

    def project(self, adversarial_images: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
        """Nearest feasible images: the epsilon-ball around `images` first, then the pixel range.

        Args:
          adversarial_images: float32 `[b, h, w, c]`, any values.
          images: float32 `[b, h, w, c]` clean images within the pixel range.

        Returns:
          float32 `[b, h, w, c]`.
        """
        return self.clip(self._ball.project(adversarial_images, images, self.epsilon))

    def step_to_hyperplane(
        self, points: tf.Tensor, values: tf.Tensor, gradients: tf.Tensor
    ) -> tf.Tensor:
        """The step of least norm, within the pixel range, to where an affine function is zero.

        Args:
          points: float32 `[b, n]` within the pixel range.
          values: float32 `[b]`, the function at the points.
          gradients: float32 `[b, n]`, the function's gradient; zeros are not moved along.

        Returns:
          float32 `[b, n]` steps, pixel units. Where the range does not reach the zero, the step
          that comes nearest: into a corner.
        """
        return self._ball.step_to_hyperplane(points, values, gradients, self.lower, self.upper)

    def round_to_8_bits(self, adversarial_images: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
        """Nearest images whose pixels are k/255 for integer k, within the ball where it has any.

        Rounding alone leaves the ball where epsilon is not a multiple of 1/255.

        Args:
          adversarial_images: float32 `[b, h, w, c]`, feasible.
          images: float32 `[b, h, w, c]` clean images.

        Returns:
          float32 `[b, h, w, c]`.
        """
        return self._ball.round_to_8_bits(adversarial_images, images, self.epsilon + _TOLERANCE)

    def is_feasible(self, adversarial_images: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
        """Whether each image is finite, in the ball and in the pixel range, to 1e-6.

        Args:
          adversarial_images: float32 `[b, h, w, c]`.
          images: float32 `[b, h, w, c]`.

        Returns:
          bool `[b]`; False where a pixel is NaN.
        """
        within_range = (adversarial_images >= self.lower - _TOLERANCE) & (
            adversarial_images <= self.upper + _TOLERANCE
        )
        within_ball = self._ball.contains(adversarial_images - images, self.epsilon + _TOLERANCE)
        return within_ball & tf.reduce_all(within_range, axis=[1, 2, 3])
