"""FS-GAN and its baselines: robust image classifiers in TensorFlow and Keras 3.

Importing this package imports no TensorFlow; its modules do.
"""

import os

# Keras reads it when it is imported; `networks.keras_settings` says so where that was before.
os.environ["KERAS_BACKEND"] = "tensorflow"

__version__ = "0.2.0"
