"""Strategies and precision."""

import pytest
import tensorflow as tf

from fsgan_tf import hardware
from fsgan_tf.errors import UserError


@pytest.mark.parametrize("name", ["one_device", "auto"])
def test_one_device_where_there_is_no_gpu(name):
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("a GPU is there")
    assert hardware.make_strategy(name).num_replicas_in_sync == 1


def test_mirrored_takes_all_logical_devices(mirrored_strategy):
    assert mirrored_strategy.num_replicas_in_sync == 2


def test_multi_worker_needs_its_description(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(UserError, match="TF_CONFIG"):
        hardware.make_strategy("multi_worker")


@pytest.mark.parametrize("native", [True, False])
def test_precision_follows_the_hardware(monkeypatch, native):
    monkeypatch.setattr(hardware, "has_bfloat16", lambda: native)
    assert hardware.resolve_precision("auto") == ("mixed_bfloat16" if native else "float32")
    assert hardware.resolve_precision("float32") == "float32"
    if native:
        assert hardware.resolve_precision("mixed_bfloat16") == "mixed_bfloat16"
    else:
        with pytest.raises(UserError, match="bfloat16"):
            hardware.resolve_precision("mixed_bfloat16")
