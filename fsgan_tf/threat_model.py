"""The threat model: what a perturbation may be.

Training adversaries and evaluation attacks share this description of the ball, the random draws of
`stateless_random` and the view of a network with fused normalisation
(`networks/fused_normalization.py`). Their losses and loops are their own, and what an attack claims
is verified on the classifier as it was given.

What depends on the norm is in one class of `fsgan_tf.norms`.
"""

import dataclasses
import numbers
from typing import Any

import tensorflow as tf

from fsgan_tf import norms
from fsgan_tf.norms.base import Norm

_TOLERANCE = 1e-6


@dataclasses.dataclass(frozen=True)
class ThreatModel:
    """Perturbations of norm at most `epsilon` of images within [`lower`, `upper`].

    As the argument of a compiled function its `epsilon` is a tensor, so that one trace serves every
    radius.

    Attributes:
      epsilon: radius, in the norm's own unit: of pixels of [0, 1], such as 8/255 in l_inf, 0.5 in
        l_2 and 12 in l_1 for CIFAR-10.
      lower: smallest pixel value.
      upper: largest pixel value.
      norm: one of `norms.NAMES`.
    """

    epsilon: float
    lower: float = 0.0
    upper: float = 1.0
    norm: str = "linf"

    def __post_init__(self) -> None:
        if self.norm not in norms.NAMES:
            raise ValueError(f"norm is {self.norm!r}; there are {', '.join(norms.NAMES)}")
        if not isinstance(self.epsilon, numbers.Real):
            return  # In a compiled function it is a tensor.
        if fault := norms.radius_fault(self.norm, float(self.epsilon), self.upper - self.lower):
            raise ValueError(f"epsilon is {self.epsilon}; it {fault}")

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
    def _ball(self) -> Norm:
        return norms.get(self.norm)

    @property
    def radius_text(self) -> str:
        """See `norms.radius_text`."""
        return norms.radius_text(self.norm, self.epsilon)

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
          on_the_surface: a perturbation of norm epsilon, before it is clipped; in l_1 the
            projection of normal noise, which changes few values.

        Returns:
          float32 `[b, h, w, c]`.
        """
        shape = tf.concat([[1], tf.shape(images)[1:]], axis=0)

        def draw(seed: tf.Tensor) -> tf.Tensor:
            if on_the_surface:
                return self._ball.far_draw(shape, seed, self.epsilon)[0]
            return self.epsilon * self._ball.draw(shape, seed)[0]

        spec = tf.TensorSpec(images.shape[1:], tf.float32)
        noise = tf.map_fn(draw, seeds, fn_output_signature=spec)
        return self.project(images + noise, images)

    def steepest_step(self, gradients: tf.Tensor, length: float | tf.Tensor) -> tf.Tensor:
        """The step along which the loss rises most; see the norm's file for l_1.

        Args:
          gradients: float32 `[b, h, w, c]` of the loss; no step is taken where a value is NaN, so
            that one such pixel does not end an attack.
          length: its norm, in its unit, or one for each image, `[b, 1, 1, 1]`.

        Returns:
          float32 `[b, h, w, c]`.
        """
        known = tf.where(tf.math.is_nan(gradients), 0.0, gradients)
        return self._ball.steepest(known, length, self.upper - self.lower)

    def size(self, perturbations: tf.Tensor) -> tf.Tensor:
        """Norms `[b]` of float32 perturbations `[b, ...]`."""
        return self._ball.size(perturbations)

    def widest(self, num_values: int) -> float:
        """The radius within which any image of `num_values` values can be turned into any other.

        Half of it turns any image grey.
        """
        return self._ball.largest(self.upper - self.lower, num_values)

    def clip(self, images: tf.Tensor) -> tf.Tensor:
        """Clips float32 images of any shape to the pixel range."""
        return tf.clip_by_value(images, self.lower, self.upper)

    def limit(self, perturbations: tf.Tensor) -> tf.Tensor:
        """The nearest perturbations in the ball, float32 `[b, h, w, c]`."""
        return self._ball.limit(perturbations, self.epsilon)

    def project(self, adversarial_images: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
        """Feasible images: the nearest in l_inf and l_1; in l_2 to the ball, then to the range.

        Args:
          adversarial_images: float32 `[b, h, w, c]`, any values.
          images: float32 `[b, h, w, c]` clean images within the pixel range.

        Returns:
          float32 `[b, h, w, c]`.
        """
        return self._ball.project(adversarial_images, images, self.epsilon, self.lower, self.upper)

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
