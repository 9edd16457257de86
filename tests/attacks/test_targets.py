import numpy as np
import tensorflow as tf

from fsgan_tf.attacks.parts.targets import likeliest_wrong_class


def test_targets_are_the_wrong_classes_in_order_of_their_logits():
    """The true class is left out wherever it ranks; of equal logits the lower class is first."""
    logits = tf.constant([[4.0, 1, 3, 2], [4.0, 1, 3, 3], [-9.0, -8, -7, -6]])
    labels = tf.constant([0, 2, 3])
    ranked = [likeliest_wrong_class(logits, labels, rank).numpy() for rank in range(3)]
    np.testing.assert_array_equal(np.transpose(ranked), [[2, 3, 1], [0, 3, 1], [2, 1, 0]])
