"""FS-GAN and its baselines: robust image classifiers in TensorFlow and Keras 3.

Importing this package imports no TensorFlow; its modules do.
"""

__version__ = "0.2.0"
