"""Pixels as the networks take them."""

import numpy as np


def unit(images: np.ndarray) -> np.ndarray:
    """Images in [0, 1]: those of uint8 as float32, over 255; others as they are."""
    if images.dtype == np.uint8:
        return images.astype(np.float32) / np.float32(255)
    return images
