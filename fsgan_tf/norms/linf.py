"""l_inf: the largest change of a value.

Its step and its limit on perturbations are CleverHans', so that an attack made of them walks as
CleverHans' attacks do, bit for bit.
"""

import numpy as np
import tensorflow as tf
from cleverhans.tf2.utils import clip_eta, optimize_linear

from fsgan_tf import stateless_random
from fsgan_tf.norms.base import Norm, per_example, way_to_the_range


class Linf(Norm):
    """Perturbations measured by the largest change of a value."""

    def draw(self, shape: tf.Tensor | list[int], seed: tf.Tensor) -> tf.Tensor:
        """See `Norm.draw`."""
        return 2 * stateless_random.uniform(shape, seed) - 1

    def far_draw(
        self, shape: tf.Tensor | list[int], seed: tf.Tensor, radius: float | tf.Tensor
    ) -> tf.Tensor:
        """A draw from the ball, stretched to its surface."""
        noise = self.draw(shape, seed)
        return radius * (noise / per_example(self.size(noise), noise))

    def size(self, perturbations: tf.Tensor) -> tf.Tensor:
        """See `Norm.size`."""
        return tf.reduce_max(tf.abs(perturbations), axis=list(range(1, len(perturbations.shape))))

    def largest(self, width: float, num_values: int) -> float:
        """See `Norm.largest`."""
        del num_values
        return width

    def steepest(self, gradients: tf.Tensor, length: float | tf.Tensor, width: float) -> tf.Tensor:
        """Along the signs."""
        del width
        return optimize_linear(gradients, length, np.inf)

    def limit(self, perturbations: tf.Tensor, radius: float | tf.Tensor) -> tf.Tensor:
        """See `Norm.limit`."""
        return clip_eta(perturbations, np.inf, radius)

    def project(
        self,
        adversarial_images: tf.Tensor,
        images: tf.Tensor,
        radius: float | tf.Tensor,
        lower: float,
        upper: float,
    ) -> tf.Tensor:
        """The nearest ones in ball and range.

        Rounded otherwise than `images + limit(adversarial_images - images)`.
        """
        inside = tf.clip_by_value(adversarial_images, images - radius, images + radius)
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

        All coordinates move alike against the function until they reach the box, so a step of norm
        r changes the function by sum_i |w_i| min(r, m_i), m_i being the way to the box. With the
        m_i in ascending order that is the least, over k, of sum_{i<k} |w_i| m_i + r sum_{i>=k}
        |w_i|; so the wanted r is the largest that one of these needs to reach the function's value.
        """
        downhill, room = way_to_the_range(points, values, gradients, lower, upper)
        order = tf.argsort(room, axis=1)
        weights = tf.gather(tf.abs(gradients), order, batch_dims=1)
        spent = tf.cumsum(weights * tf.gather(room, order, batch_dims=1), axis=1, exclusive=True)
        slope = tf.cumsum(weights, axis=1, reverse=True)
        radii = tf.math.divide_no_nan(tf.abs(values)[:, None] - spent, slope)
        radius = tf.reduce_max(radii, axis=1, keepdims=True)
        return downhill * tf.minimum(radius, room)

    def contains(self, perturbations: tf.Tensor, radius: float | tf.Tensor) -> tf.Tensor:
        """See `Norm.contains`."""
        inside = tf.abs(perturbations) <= radius
        return tf.reduce_all(inside, axis=list(range(1, len(perturbations.shape))))

    def round_to_8_bits(
        self, adversarial_images: tf.Tensor, images: tf.Tensor, radius: float | tf.Tensor
    ) -> tf.Tensor:
        """See `ThreatModel.round_to_8_bits`."""
        lowest = tf.math.ceil(255 * (images - radius))
        highest = tf.math.floor(255 * (images + radius))
        return tf.clip_by_value(tf.round(255 * adversarial_images), lowest, highest) / 255


NORM = Linf()
