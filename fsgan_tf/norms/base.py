"""What a threat model asks of a norm.

Perturbations, gradients and images are float32 `[b, ...]` of any rank, in pixel units; each example
of the batch is measured for itself.
"""

import abc

import tensorflow as tf

# Float32's spacing just below 1, twice what adding a perturbation to a pixel of [-1, 1] rounds by.
_ROUNDING = 2.0**-24


class Norm(abc.ABC):
    """A norm, and what attacks do in its balls."""

    @abc.abstractmethod
    def draw(self, shape: tf.Tensor | list[int], seed: tf.Tensor) -> tf.Tensor:
        """Uniform draws from the unit ball, of the shape `[b, ...]`, by one stateless seed."""

    @abc.abstractmethod
    def far_draw(
        self, shape: tf.Tensor | list[int], seed: tf.Tensor, radius: float | tf.Tensor
    ) -> tf.Tensor:
        """Random perturbations that are projected to the surface of the ball, where APGD starts."""

    @abc.abstractmethod
    def size(self, perturbations: tf.Tensor) -> tf.Tensor:
        """Norms `[b]`."""

    @abc.abstractmethod
    def largest(self, width: float, num_values: int) -> float:
        """The norm of a perturbation that changes each of `num_values` values by `width`."""

    @abc.abstractmethod
    def steepest(self, gradients: tf.Tensor, length: float | tf.Tensor, width: float) -> tf.Tensor:
        """The perturbations of norm `length` along which attacks climb.

        Args:
          gradients: without NaN.
          length: one, or `[b, 1, ...]`.
          width: of the pixel range.
        """

    @abc.abstractmethod
    def limit(self, perturbations: tf.Tensor, radius: float | tf.Tensor) -> tf.Tensor:
        """The nearest perturbations of norm at most `radius`."""

    @abc.abstractmethod
    def project(
        self,
        adversarial_images: tf.Tensor,
        images: tf.Tensor,
        radius: float | tf.Tensor,
        lower: float,
        upper: float,
    ) -> tf.Tensor:
        """See `ThreatModel.project`."""

    @abc.abstractmethod
    def step_to_hyperplane(
        self,
        points: tf.Tensor,
        values: tf.Tensor,
        gradients: tf.Tensor,
        lower: float,
        upper: float,
    ) -> tf.Tensor:
        """See `ThreatModel.step_to_hyperplane`."""

    def contains(self, perturbations: tf.Tensor, radius: float | tf.Tensor) -> tf.Tensor:
        """Whether the norm is at most `radius`, bool `[b]`; False where a value is NaN."""
        return self.size(perturbations) <= radius

    @abc.abstractmethod
    def round_to_8_bits(
        self, adversarial_images: tf.Tensor, images: tf.Tensor, radius: float | tf.Tensor
    ) -> tf.Tensor:
        """See `ThreatModel.round_to_8_bits`."""


def per_example(values: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """`[b]` values as `[b, 1, ...]`, of the rank of `like`."""
    return tf.reshape(values, [-1, *(1 for _ in like.shape[1:])])


def values_of_each(perturbations: tf.Tensor) -> tf.Tensor:
    """How many values an example has, float32."""
    return tf.cast(tf.reduce_prod(tf.shape(perturbations)[1:]), tf.float32)


def inner_radius(radius: float | tf.Tensor, most_added: tf.Tensor) -> tf.Tensor:
    """A radius so much smaller that rounding leads out of the ball of `radius` nowhere.

    Args:
      radius: of the ball.
      most_added: the norm of a perturbation that is 1 everywhere.
    """
    shorter = radius * (1 - 2.0**-21) - _ROUNDING * most_added
    return tf.maximum(shorter, radius / 2)


def way_to_the_range(
    points: tf.Tensor, values: tf.Tensor, gradients: tf.Tensor, lower: float, upper: float
) -> tf.Tensor:
    """The signs that lead a function towards 0, and how far each value may go: two `[b, n]`."""
    towards = tf.where(values >= 0, -1.0, 1.0)[:, None] * tf.sign(gradients)
    room = tf.where(towards > 0, upper - points, points - lower)
    return towards, room


def rounded_within(
    adversarial_images: tf.Tensor, images: tf.Tensor, radius: float | tf.Tensor, power: int
) -> tf.Tensor:
    """Images of 8 bits near others, in an l_p ball where it has any so near.

    Each value goes to the nearer of its two levels. Where that leaves the ball, values that went
    away from the clean one go to the other level instead, the nearest ties first, until the ball
    has the image.

    Args:
      adversarial_images: `[b, ...]`.
      images: clean ones.
      radius: of the ball.
      power: p.

    Returns:
      float32 `[b, ...]`, of k/255.
    """
    shape = tf.shape(images)

    def levels(pixels: tf.Tensor) -> tf.Tensor:
        return 255 * tf.reshape(tf.cast(pixels, tf.float64), [shape[0], -1])

    found, clean = levels(adversarial_images), levels(images)
    rounded = tf.round(found)
    outwards = (rounded - found) * tf.sign(rounded - clean)
    inner = rounded - tf.sign(rounded - clean)
    cost = tf.abs(rounded - clean) ** power
    saved = tf.where(outwards > 0, tf.maximum(cost - tf.abs(inner - clean) ** power, 0), 0 * cost)
    order = tf.argsort(outwards, axis=1, direction="DESCENDING")
    saved_before = tf.cumsum(tf.gather(saved, order, batch_dims=1), axis=1, exclusive=True)
    before = tf.gather(saved_before, tf.argsort(order, axis=1), batch_dims=1)
    limit = (255 * tf.cast(radius, tf.float64)) ** power
    excess = tf.reduce_sum(cost, axis=1, keepdims=True) - limit
    moved = tf.where((before < excess) & (saved > 0), inner, rounded)
    return tf.reshape(tf.cast(moved / 255, tf.float32), shape)
