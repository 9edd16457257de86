"""Batches and classifiers on the edge: every step stays finite, for every method."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf import methods
from fsgan_tf.methods.base import TrainingMethod
from tests.small_training import BATCH_SIZE, IMAGE_SHAPE, batch, build_quick


@functools.cache
def _method(name: str) -> tuple[TrainingMethod, list[list[np.ndarray]]]:
    """Built once a method; each test starts from its first weights."""
    method = build_quick(name)
    return method, [network.get_weights() for network in method.networks.values()]


def _constant_images(method, data):
    return {**data, "image": tf.fill([BATCH_SIZE, *IMAGE_SHAPE], 0.5)}


def _one_class(method, data):
    return {**data, "label": tf.zeros([BATCH_SIZE], tf.int32)}


def _one_image(method, data):
    return {key: tf.repeat(value[:1], BATCH_SIZE, axis=0) for key, value in data.items()}


def _scale_logits(method, data, scale):
    for variable in method.classifier.get_layer("logits").variables:
        variable.assign(scale * variable)
    return data


def _zero_logits(method, data):
    return _scale_logits(method, data, 0.0)


def _confident_logits(method, data):
    """In the thousands: their softmax is one-hot to the last bit."""
    return _scale_logits(method, data, 1e3)


def _equal_clean_and_adversarial_logits(method, data):
    """The classifier says the same of every image, and not zeros."""
    data = _zero_logits(method, data)
    bias = method.classifier.get_layer("logits").bias
    bias.assign(tf.range(bias.shape[0], dtype=tf.float32))
    return data


@pytest.mark.parametrize("name", methods.names())
@pytest.mark.parametrize(
    "edge",
    [
        _constant_images,
        _one_class,
        _one_image,
        _zero_logits,
        _confident_logits,
        _equal_clean_and_adversarial_logits,
    ],
)
def test_a_step_on_the_edge_is_finite(name, edge):
    method, weights = _method(name)
    for network, values in zip(method.networks.values(), weights, strict=True):
        network.set_weights(values)
    for optimizer in method.optimizers_by_network.values():
        for variable in optimizer.variables[2:]:
            variable.assign(tf.zeros_like(variable))
    method.reset_means()
    reports = method.train_step(edge(method, batch()))
    assert np.isfinite([float(value) for value in reports.values()]).all(), reports
    for network in method.networks.values():
        for variable in network.variables:
            assert np.isfinite(variable.numpy()).all(), variable.path
