"""l_2: the Euclidean length of a perturbation.

Sizes are summed in float64, and projections end so far inside the ball that float32 rounds nothing
out of it: 4e-6 on CIFAR-10, where papers have a radius of 0.5.
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


class L2(Norm):
    """Perturbations measured by their Euclidean length."""

    def draw(self, shape: tf.Tensor | list[int], seed: tf.Tensor) -> tf.Tensor:
        """A normal draw over its length, times the n-th root of a uniform number."""
        for_directions, for_radii = stateless_random.split(seed, 2)
        directions = self._direction(stateless_random.normal(shape, for_directions))
        uniform = stateless_random.uniform([tf.shape(directions)[0]], for_radii)
        radii = uniform ** (1 / values_of_each(directions))
        return directions * per_example(radii, directions)

    def far_draw(
        self, shape: tf.Tensor | list[int], seed: tf.Tensor, radius: float | tf.Tensor
    ) -> tf.Tensor:
        """A normal draw over its length, as AutoAttack's `autopgd_base.py` has it."""
        return radius * self._direction(stateless_random.normal(shape, seed))

    def size(self, perturbations: tf.Tensor) -> tf.Tensor:
        """See `Norm.size`."""
        values = tf.cast(perturbations, tf.float64)
        axes = list(range(1, len(perturbations.shape)))
        return tf.cast(tf.sqrt(tf.reduce_sum(values**2, axis=axes)), tf.float32)

    def largest(self, width: float, num_values: int) -> float:
        """See `Norm.largest`."""
        return width * num_values**0.5

    def steepest(self, gradients: tf.Tensor, length: float | tf.Tensor, width: float) -> tf.Tensor:
        """Along the gradient, however small it is; along the signs of its infinite values."""
        del width
        axes = list(range(1, len(gradients.shape)))
        largest = tf.reduce_max(tf.abs(gradients), axis=axes, keepdims=True)
        scaled = tf.math.divide_no_nan(gradients, largest)
        scaled = tf.where(tf.math.is_inf(gradients), tf.sign(gradients), scaled)
        return length * self._direction(scaled)

    def limit(self, perturbations: tf.Tensor, radius: float | tf.Tensor) -> tf.Tensor:
        """See `Norm.limit`."""
        reach = inner_radius(radius, tf.sqrt(values_of_each(perturbations)))
        factors = tf.minimum(tf.math.divide_no_nan(reach, self.size(perturbations)), 1.0)
        return perturbations * per_example(factors, perturbations)

    def project(
        self,
        adversarial_images: tf.Tensor,
        images: tf.Tensor,
        radius: float | tf.Tensor,
        lower: float,
        upper: float,
    ) -> tf.Tensor:
        """To the ball, then to the range, which shortens a perturbation: AutoAttack's order."""
        inside = images + self.limit(adversarial_images - images, radius)
        return tf.clip_by_value(inside, lower, upper)

    def step_to_hyperplane(
        self,
        points: tf.Tensor,
        values: tf.Tensor,
        gradients: tf.Tensor,
        lower: float,
        upper: float,
    ) -> tf.Tensor:
        """See `ThreatModel.step_to_hyperplane`.

        A coordinate moves by t |w_i| against the function until it reaches the box, m_i away, so
        that the function changes by sum_i |w_i| min(t |w_i|, m_i). With the m_i / |w_i| in
        ascending order that is the least, over k, of sum_{i<k} |w_i| m_i + t sum_{i>=k} w_i^2; so
        the wanted t is the largest that one of these needs to reach the function's value.
        """
        scale = tf.reduce_max(tf.abs(gradients), axis=1)
        values = tf.math.divide_no_nan(values, scale)
        gradients = tf.math.divide_no_nan(gradients, scale[:, None])
        downhill, room = way_to_the_range(points, values, gradients, lower, upper)
        order = tf.argsort(tf.math.divide_no_nan(room, tf.abs(gradients)), axis=1)
        weights = tf.gather(tf.abs(gradients), order, batch_dims=1)
        spent = tf.cumsum(weights * tf.gather(room, order, batch_dims=1), axis=1, exclusive=True)
        slope = tf.cumsum(weights**2, axis=1, reverse=True)
        rates = tf.math.divide_no_nan(tf.abs(values)[:, None] - spent, slope)
        rate = tf.reduce_max(rates, axis=1, keepdims=True)
        return downhill * tf.minimum(rate * tf.abs(gradients), room)

    def round_to_8_bits(
        self, adversarial_images: tf.Tensor, images: tf.Tensor, radius: float | tf.Tensor
    ) -> tf.Tensor:
        """See `ThreatModel.round_to_8_bits`."""
        return rounded_within(adversarial_images, images, radius, power=2)

    def _direction(self, vectors: tf.Tensor) -> tf.Tensor:
        """Vectors over their lengths; a null vector stays one."""
        return tf.math.divide_no_nan(vectors, per_example(self.size(vectors), vectors))


NORM = L2()
