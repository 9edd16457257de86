"""Two logical CPUs, quiet logs, and the fixtures many tests share."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pytest
import tensorflow as tf

pytest_plugins = ["tests.classifier_fixtures"]

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)


@pytest.fixture(scope="session")
def mirrored_strategy() -> tf.distribute.Strategy:
    """Two replicas; one for all tests, since a second default one can abort the process."""
    from fsgan_tf.devices import make_strategy

    strategy = make_strategy("mirrored")
    assert strategy.num_replicas_in_sync == 2
    return strategy
