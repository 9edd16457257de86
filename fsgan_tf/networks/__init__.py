"""Networks, and the settings of Keras that they need."""

from fsgan_tf.networks import keras_settings

keras_settings.pin()
