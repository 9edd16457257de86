"""Linear classifiers of small images, and SavedModels of any function, for tests of models/."""

import keras
import tensorflow as tf


def linear_model(head, scale=1.0, offset=0.0, activation=None):
    """The classifier for pixels `scale * x + offset`."""
    model = keras.Sequential(
        [
            keras.Input((4, 4, 3)),
            keras.layers.Rescaling(1 / scale, -offset / scale),
            keras.layers.Flatten(),
            keras.layers.Dense(5, activation=activation),
        ]
    )
    model.layers[-1].set_weights(head)
    return model


def save_function(path, *, shape=(None, 4, 4, 3), dtype=tf.float32, name="image", **signatures):
    module = tf.Module()
    module.scale = tf.Variable(1.0)
    spec = tf.TensorSpec(shape, dtype, name=name)
    functions = {
        key: tf.function(lambda x, serve=serve: serve(x, module.scale), input_signature=[spec])
        for key, serve in signatures.items()
    }
    tf.saved_model.save(module, str(path), signatures=functions)
    return str(path)
