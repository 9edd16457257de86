import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf.attacks.parts import losses


def _margin_in_numpy(labels, logits):
    values = []
    for label, row in zip(labels, logits, strict=True):
        largest_other = max(value for index, value in enumerate(row) if index != label)
        values.append(-max(0.0, row[label] - largest_other + 50.0))
    return values


@pytest.mark.parametrize("scale", [1.0, 30.0, 1e4])
def test_margin_with_confidence_50_against_numpy(scale):
    generator = np.random.default_rng(0)
    logits = (scale * generator.normal(size=(50, 5))).astype(np.float32)
    labels = generator.integers(0, 5, 50).astype(np.int32)
    expected = _margin_in_numpy(labels, logits)
    margin = losses.margin(labels=tf.constant(labels), logits=tf.constant(logits))
    np.testing.assert_allclose(margin, expected, rtol=1e-5)
    # Both sides of the hinge are there.
    if scale > 1:
        assert 0 < np.count_nonzero(expected) < 50


def test_margin_lowers_the_true_logit_and_raises_the_largest_other():
    logits = tf.constant([[3.0, 1.0, 2.0], [-60.0, 0.0, 1.0]])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = losses.margin(labels=tf.constant([0, 0]), logits=logits)
    gradient = tape.gradient(loss, logits).numpy()
    # The second is misclassified by more than the confidence: nothing is left to gain.
    np.testing.assert_array_equal(gradient, [[-1, 0, 1], [0, 0, 0]])


def test_true_class_lead_against_numpy():
    logits = np.float32([[3, 1, 2], [-5, 0, 4], [1, 1, -9]])
    leads = losses.true_class_lead(tf.constant([0, 1, 1]), tf.constant(logits))
    np.testing.assert_array_equal(leads, [1, -4, 0])


@pytest.mark.parametrize("num_classes", [4, 10])
def test_targeted_dlr_against_numpy(num_classes):
    generator = np.random.default_rng(0)
    logits = (30 * generator.normal(size=(40, num_classes))).astype(np.float32)
    labels = generator.integers(0, num_classes, 40).astype(np.int32)
    targets = (labels + generator.integers(1, num_classes, 40).astype(np.int32)) % num_classes
    expected = []
    for row, label, target in zip(logits.astype(np.float64), labels, targets, strict=True):
        ordered = sorted(row, reverse=True)
        denominator = ordered[0] - 0.5 * (ordered[2] + ordered[3]) + 1e-12
        expected.append(-(row[label] - row[target]) / denominator)
    loss = losses.targeted_dlr(*map(tf.constant, (logits, labels, targets)))
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    scaled = losses.targeted_dlr(*map(tf.constant, (7 * logits + 3, labels, targets)))
    np.testing.assert_allclose(scaled, expected, rtol=1e-4)


@pytest.mark.parametrize("num_classes", [3, 10])
def test_dlr_against_numpy(num_classes):
    generator = np.random.default_rng(0)
    logits = (30 * generator.normal(size=(40, num_classes))).astype(np.float32)
    labels = generator.integers(0, num_classes, 40).astype(np.int32)
    expected = []
    for row, label in zip(logits.astype(np.float64), labels, strict=True):
        ordered, others = sorted(row, reverse=True), np.delete(row, label)
        expected.append(-(row[label] - others.max()) / (ordered[0] - ordered[2] + 1e-12))
    loss = losses.dlr(tf.constant(logits), tf.constant(labels))
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_equal_logits_have_a_finite_loss():
    zeros = tf.zeros([1, 5])
    assert losses.targeted_dlr(zeros, tf.constant([0]), tf.constant([1])).numpy() == 0


def test_targeted_margin_by_hand():
    loss = losses.targeted_margin(
        tf.constant([[5.0, 2.0, 1.0]] * 2), tf.constant([0, 2]), tf.constant([1, 0])
    )
    np.testing.assert_array_equal(loss, [-3, 4])
