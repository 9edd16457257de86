"""The l_inf threat model: what a perturbation may be.

Shared by training adversaries and evaluation attacks; they share nothing else.
"""

import dataclasses

import tensorflow as tf

from fsgan_tf import stateless_random

_TOLERANCE = 1e-6


@dataclasses.dataclass(frozen=True)
class ThreatModel:
    """Perturbations of l_inf norm at most `epsilon` of images within [`lower`, `upper`].

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
        if not 0 < self.epsilon <= self.upper - self.lower:
            raise ValueError(
                f"epsilon is {self.epsilon}; it must be above 0 and at most "
                f"{self.upper - self.lower}, the width of the pixel range"
            )
        if self.norm != "linf":
            raise ValueError(f"norm is {self.norm!r}; only 'linf' is supported")

    def random_perturbation(self, shape: tf.Tensor | list[int], seed: tf.Tensor) -> tf.Tensor:
        """Uniform in [-epsilon, epsilon].

        Args:
          shape: of the result, `[b, h, w, c]`.
          seed: `[2]` int32, stateless.

        Returns:
          float32 perturbation, pixel units; image plus perturbation may leave the pixel range.
        """
        return self.epsilon * (2 * stateless_random.uniform(shape, seed) - 1)

    def clip(self, images: tf.Tensor) -> tf.Tensor:
        """Clips float32 `[b, h, w, c]` images to the pixel range."""
        return tf.clip_by_value(images, self.lower, self.upper)

    def project(self, adversarial_images: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
        """Nearest feasible images: the epsilon-ball around `images` first, then the pixel range.

        Args:
          adversarial_images: float32 `[b, h, w, c]`, any values.
          images: float32 `[b, h, w, c]` clean images within the pixel range.

        Returns:
          float32 `[b, h, w, c]`.
        """
        inside = tf.clip_by_value(adversarial_images, images - self.epsilon, images + self.epsilon)
        return self.clip(inside)

    def round_to_8_bits(self, adversarial_images: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
        """Nearest images whose pixels are k/255 for integer k, within the ball where it has any.

        Rounding alone leaves the ball where epsilon is no multiple of 1/255.

        Args:
          adversarial_images: float32 `[b, h, w, c]`, feasible.
          images: float32 `[b, h, w, c]` clean images.

        Returns:
          float32 `[b, h, w, c]`.
        """
        lowest = tf.math.ceil(255 * (images - self.epsilon - _TOLERANCE))
        highest = tf.math.floor(255 * (images + self.epsilon + _TOLERANCE))
        return tf.clip_by_value(tf.round(255 * adversarial_images), lowest, highest) / 255

    def is_feasible(self, adversarial_images: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
        """Whether each image is finite, in the ball and in the pixel range, to 1e-6.

        Args:
          adversarial_images: float32 `[b, h, w, c]`.
          images: float32 `[b, h, w, c]`.

        Returns:
          bool `[b]`; False where a pixel is NaN.
        """
        tolerance = _TOLERANCE
        inside = (
            (tf.abs(adversarial_images - images) <= self.epsilon + tolerance)
            & (adversarial_images >= self.lower - tolerance)
            & (adversarial_images <= self.upper + tolerance)
        )
        return tf.reduce_all(inside, axis=[1, 2, 3])
