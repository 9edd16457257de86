"""What identifies a network's weights."""

import hashlib

import keras
import numpy as np


def weights_sha256(model: keras.Model) -> str:
    """SHA-256 of a model's weights in order, in hexadecimal; the file they came from is no part."""
    digest = hashlib.sha256()
    for array in model.get_weights():
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
