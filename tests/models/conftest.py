"""A linear classifier of small images."""

import numpy as np
import pytest

from tests.models.linear import linear_model


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).uniform(0, 1, (12, 4, 4, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def head():
    """Weights of a linear classifier of pixels in [0, 1]."""
    generator = np.random.default_rng(1)
    return generator.normal(size=(48, 5)).astype(np.float32), generator.normal(size=5)


@pytest.fixture(scope="module")
def native(head):
    return linear_model(head)
