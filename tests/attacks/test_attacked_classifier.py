import keras
import numpy as np
import pytest
from keras import layers

from fsgan_tf.attacks.parts.attacked_classifier import AttackedClassifier

IMAGES = np.random.default_rng(0).random((4, 8, 8, 3), np.float32)


class Doubled(keras.Model):
    """What it does is not told by its layers, nor is what it is built of."""

    def __init__(self, inputs, outputs, factor=2):
        super().__init__(inputs, outputs)
        self.factor = factor

    def call(self, images, training=None):
        return self.factor * super().call(images, training=training)


def _build(kind):
    inputs = keras.Input((8, 8, 3))
    x = layers.BatchNormalization(gamma_initializer="random_normal")(inputs)
    outputs = layers.Dense(5)(layers.Flatten()(x))
    return kind(inputs, outputs)


@pytest.mark.parametrize("kind", [keras.Model, Doubled])
def test_a_keras_model_answers_as_it_does_itself(kind):
    keras.utils.set_random_seed(0)
    model = _build(kind)
    logits = AttackedClassifier(model).logits(IMAGES)
    np.testing.assert_allclose(logits, model(IMAGES, training=False), rtol=1e-4, atol=1e-6)
