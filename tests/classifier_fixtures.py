"""Small classifiers and examples that every test of the attacks uses."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf.threat_model import ThreatModel

NUM_CLASSES = 4


@pytest.fixture(scope="session")
def threat_model():
    return ThreatModel(epsilon=0.05)


@pytest.fixture(scope="session")
def ball():
    """Small enough that `network` withstands it on some images."""
    return ThreatModel(epsilon=0.01)


@pytest.fixture(scope="session")
def images():
    """[24, 8, 8, 1]: one quadrant brighter than the others, by anything from 0 to 0.25."""
    generator = np.random.default_rng(0)
    pixels = generator.uniform(0.3, 0.5, (24, 8, 8, 1))
    for index, gap in enumerate(generator.permutation(np.linspace(0, 0.25, 24))):
        row, column = divmod(index % NUM_CLASSES, 2)
        pixels[index, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += gap
    return pixels.astype(np.float32)


@pytest.fixture(scope="session")
def labels():
    return np.arange(24, dtype=np.int32) % NUM_CLASSES


@pytest.fixture(scope="session")
def honest():
    """Logits: the quadrants' mean brightness times 20. One step of FGSM is the best attack."""

    def logits_fn(pixels):
        quadrants = tf.nn.avg_pool2d(pixels, 4, 4, "VALID")
        return 20.0 * tf.reshape(quadrants, [-1, NUM_CLASSES])

    return logits_fn


@pytest.fixture
def network():
    """An untrained convolutional network with batch normalisation."""
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(8, 3, strides=2),
            keras.layers.BatchNormalization(),
            keras.layers.Activation("relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(NUM_CLASSES),
        ]
    )


@pytest.fixture
def network_labels(network, images):
    """What the network says, but for every sixth image."""
    labels = network(images, training=False).numpy().argmax(axis=1).astype(np.int32)
    labels[::6] = (labels[::6] + 1) % NUM_CLASSES
    return labels
