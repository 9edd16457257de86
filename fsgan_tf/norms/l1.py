"""l_1: the sum of the changes of all values.

The projection is that of Croce and Hein, "Mind the box" (arXiv:2103.01208), to the ball and the
pixel range at once; to the ball alone and then to the range would end far inside the ball. Steps
are SLIDE's (Tramer and Boneh, arXiv:1904.13000), as CleverHans' `sparse_l1_descent` has them: the
steepest step changes a single value, which the pixel range soon stops, so the 1% of values with the
largest gradients are changed alike.

Sums are float64, and projections end so far inside the ball that float32 rounds nothing out of it:
2e-4 on CIFAR-10, where papers have a radius of 12.
"""

import tensorflow as tf

from fsgan_tf import stateless_random
from fsgan_tf.norms.base import (
    Norm,
    inner_radius,
    per_example,
    rounded_within,
    values_of_each,
    way_to_the_range,
)

_SHARE = 0.01


class L1(Norm):
    """Perturbations measured by the sum of the changes of all values."""

    def draw(self, shape: tf.Tensor | list[int], seed: tf.Tensor) -> tf.Tensor:
        """Exponential draws of random signs over their sum, times the n-th root of a uniform."""
        for_directions, for_radii = stateless_random.split(seed, 2)
        signed = 2 * stateless_random.uniform(shape, for_directions) - 1
        laplace = -tf.sign(signed) * tf.math.log(1 - tf.abs(signed))
        uniform = stateless_random.uniform([tf.shape(laplace)[0]], for_radii)
        radii = uniform ** (1 / values_of_each(laplace)) / self.size(laplace)
        return laplace * per_example(radii, laplace)

    def far_draw(
        self, shape: tf.Tensor | list[int], seed: tf.Tensor, radius: float | tf.Tensor
    ) -> tf.Tensor:
        """A normal draw, whose projection changes few values, as AutoAttack's."""
        del radius
        return stateless_random.normal(shape, seed)

    def size(self, perturbations: tf.Tensor) -> tf.Tensor:
        """See `Norm.size`."""
        sizes = tf.abs(tf.cast(perturbations, tf.float64))
        axes = list(range(1, len(perturbations.shape)))
        return tf.cast(tf.reduce_sum(sizes, axis=axes), tf.float32)

    def largest(self, width: float, num_values: int) -> float:
        """See `Norm.largest`."""
        return width * num_values

    def steepest(self, gradients: tf.Tensor, length: float | tf.Tensor, width: float) -> tf.Tensor:
        """Along the signs of 1% of the values, and of as many that none leaves any pixel range."""
        lengths = tf.broadcast_to(tf.reshape(length, [-1]), [tf.shape(gradients)[0]])
        counts = tf.maximum(lengths / width, _SHARE * values_of_each(gradients))
        return length * sparse_direction(gradients, tf.cast(tf.math.ceil(counts), tf.int32))

    def limit(self, perturbations: tf.Tensor, radius: float | tf.Tensor) -> tf.Tensor:
        """See `Norm.limit`; every value is moved towards 0 by as much, at most to 0."""
        return _shrunk(perturbations, tf.fill(tf.shape(perturbations), float("inf")), radius)

    def project(
        self,
        adversarial_images: tf.Tensor,
        images: tf.Tensor,
        radius: float | tf.Tensor,
        lower: float,
        upper: float,
    ) -> tf.Tensor:
        """The nearest ones in ball and range."""
        perturbations = adversarial_images - images
        room = tf.where(perturbations > 0, upper - images, images - lower)
        moved = images + _shrunk(perturbations, tf.maximum(room, 0.0), radius)
        return tf.clip_by_value(moved, lower, upper)

    def step_to_hyperplane(
        self,
        points: tf.Tensor,
        values: tf.Tensor,
        gradients: tf.Tensor,
        lower: float,
        upper: float,
    ) -> tf.Tensor:
        """See `ThreatModel.step_to_hyperplane`; the largest gradients first, each to the range."""
        downhill, room = way_to_the_range(points, values, gradients, lower, upper)
        slopes = tf.abs(gradients)
        order = tf.argsort(slopes, axis=1, direction="DESCENDING")
        changes = tf.gather(slopes * room, order, batch_dims=1)
        before = tf.gather(
            tf.cumsum(changes, axis=1, exclusive=True), tf.argsort(order, axis=1), batch_dims=1
        )
        wanted = tf.math.divide_no_nan(tf.abs(values)[:, None] - before, slopes)
        return downhill * tf.clip_by_value(wanted, 0.0, room)

    def round_to_8_bits(
        self, adversarial_images: tf.Tensor, images: tf.Tensor, radius: float | tf.Tensor
    ) -> tf.Tensor:
        """See `ThreatModel.round_to_8_bits`."""
        return rounded_within(adversarial_images, images, radius, power=1)


def sparse_direction(gradients: tf.Tensor, counts: tf.Tensor) -> tf.Tensor:
    """The signs of the largest gradients, over their number.

    Args:
      gradients: float32 `[b, ...]`.
      counts: int32 `[b]`, how many of each example; at least one, and of equal ones all.

    Returns:
      float32 `[b, ...]` of l_1 norm 1; 0 where all gradients are.
    """
    sizes = tf.reshape(tf.abs(gradients), [tf.shape(gradients)[0], -1])
    last = tf.clip_by_value(counts, 1, tf.shape(sizes)[1]) - 1
    least = tf.gather(tf.sort(sizes, axis=1, direction="DESCENDING"), last, batch_dims=1)
    largest = tf.abs(gradients) >= per_example(least, gradients)
    signs = tf.where(largest, tf.sign(gradients), 0.0)
    axes = list(range(1, len(gradients.shape)))
    return tf.math.divide_no_nan(signs, tf.reduce_sum(tf.abs(signs), axis=axes, keepdims=True))


def _shrunk(perturbations: tf.Tensor, room: tf.Tensor, radius: float | tf.Tensor) -> tf.Tensor:
    """The nearest perturbations of norm at most `radius` with no value beyond `room`.

    Of a value of size a with room r the size becomes max(min(a - l, r), 0), with one l for all. The
    norm falls as l grows, linearly between the a - r, where values begin to shrink, and the a,
    where they are gone.
    """
    shape = tf.shape(perturbations)
    sizes, room = (
        tf.cast(tf.reshape(values, [shape[0], -1]), tf.float64)
        for values in (tf.abs(perturbations), room)
    )
    reach = tf.cast(inner_radius(radius, values_of_each(perturbations)), tf.float64)
    ends = tf.concat([tf.maximum(sizes - room, 0), sizes], axis=1)
    begun = tf.concat([tf.ones_like(sizes), -tf.ones_like(sizes)], axis=1)
    order = tf.argsort(ends, axis=1)
    ends = tf.gather(ends, order, batch_dims=1)
    slopes = tf.cumsum(tf.gather(begun, order, batch_dims=1), axis=1)
    whole = tf.reduce_sum(tf.minimum(sizes, room), axis=1, keepdims=True)
    falls = tf.cumsum(slopes[:, :-1] * (ends[:, 1:] - ends[:, :-1]), axis=1)
    norms = tf.concat([whole, whole - falls], axis=1)
    last = tf.maximum(tf.reduce_sum(tf.cast(norms > reach, tf.int32), axis=1) - 1, 0)
    end, norm, slope = (tf.gather(x, last, batch_dims=1) for x in (ends, norms, slopes))
    level = end + tf.math.divide_no_nan(norm - reach, slope)
    level = tf.where(whole[:, 0] > reach, level, tf.zeros_like(level))[:, None]
    shrunk = tf.maximum(tf.minimum(sizes - level, room), 0)
    return tf.sign(perturbations) * tf.reshape(tf.cast(shrunk, tf.float32), shape)


NORM = L1()
