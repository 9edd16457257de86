"""The networks: functional Keras models of built-in layers alone, so files of them load safely.

Importing them pins the settings of Keras that they need.
"""

from fsgan_tf.networks import keras_settings

keras_settings.pin()
