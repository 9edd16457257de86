"""Strategies and precision."""

import pytest
import tensorflow as tf
from tensorflow.python.framework.config import disable_op_determinism

from fsgan_tf import devices
from fsgan_tf.data.augmentation import crop_flip
from fsgan_tf.errors import UserError


@pytest.mark.parametrize("name", ["one_device", "auto"])
def test_one_device_where_there_is_no_gpu(name):
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("a GPU is there")
    assert devices.make_strategy(name).num_replicas_in_sync == 1


def test_mirrored_takes_all_logical_devices(mirrored_strategy):
    assert mirrored_strategy.num_replicas_in_sync == 2


def test_multi_worker_needs_its_description(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(UserError, match="TF_CONFIG"):
        devices.make_strategy("multi_worker")


@pytest.mark.parametrize(("native", "faster"), [(True, True), (True, False), (False, True)])
def test_precision_follows_the_hardware(monkeypatch, native, faster):
    monkeypatch.setattr(devices, "has_bfloat16", lambda: native)
    monkeypatch.setattr(devices, "bfloat16_is_faster", lambda: faster)
    expected = "mixed_bfloat16" if native and faster else "float32"
    assert devices.resolve_precision("auto") == expected
    assert devices.resolve_precision("float32") == "float32"
    if native:
        assert devices.resolve_precision("mixed_bfloat16") == "mixed_bfloat16"
    else:
        with pytest.raises(UserError, match="bfloat16"):
            devices.resolve_precision("mixed_bfloat16")


@pytest.mark.parametrize(("slowdown", "faster"), [(0.5, True), (0.9, False), (2.0, False)])
def test_bfloat16_is_taken_where_a_trial_is_clearly_faster(monkeypatch, slowdown, faster):
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("GPUs are not tried")
    monkeypatch.setattr(
        devices, "_product_seconds", lambda matrix: slowdown if matrix.dtype == tf.bfloat16 else 1
    )
    devices.bfloat16_is_faster.cache_clear()
    assert devices.bfloat16_is_faster() == faster
    devices.bfloat16_is_faster.cache_clear()


@pytest.mark.parametrize(
    ("details", "native"),
    [
        ({"compute_capability": (9, 0)}, True),
        ({"compute_capability": (8, 0)}, True),
        ({"compute_capability": (7, 5)}, False),
        ({}, False),
    ],
)
def test_a_gpu_multiplies_bfloat16_by_its_compute_capability(monkeypatch, details, native):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["a GPU"])
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: details)
    assert devices.has_bfloat16() == native
    devices.bfloat16_is_faster.cache_clear()
    assert devices.bfloat16_is_faster()
    devices.bfloat16_is_faster.cache_clear()


@pytest.mark.parametrize(
    ("flags", "native"),
    [("flags : fpu amx_bf16 sse", True), ("flags : avx512_bf16", True), ("flags : avx2", False)],
)
def test_a_cpu_multiplies_bfloat16_where_its_flags_say_so(tmp_path, monkeypatch, flags, native):
    (tmp_path / "cpuinfo").write_text(f"processor : 0\n{flags}\n")
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    monkeypatch.setattr(devices, "Path", lambda path: tmp_path / path.removeprefix("/proc/"))
    assert devices.has_bfloat16() == native
    (tmp_path / "cpuinfo").unlink()
    assert not devices.has_bfloat16()


def test_a_product_takes_time():
    assert 0 < devices._product_seconds(tf.ones([8, 8], tf.bfloat16)) < 60


def test_deterministic_operations_leave_the_augmentation_to_work():
    """KerasCV's layers ask for a global generator, which TensorFlow then refuses to make."""
    try:
        devices.make_deterministic()
        images = crop_flip(16, 16)(tf.zeros([2, 16, 16, 3]), tf.constant([1, 2], tf.int64))
        assert images.shape == (2, 16, 16, 3)
    finally:
        disable_op_determinism()
        tf.config.optimizer.set_experimental_options({"arithmetic_optimization": True})


def test_sums_are_not_merged_in_another_order_in_each_process():
    try:
        devices.make_deterministic()
        assert not tf.config.optimizer.get_experimental_options()["arithmetic_optimization"]
    finally:
        disable_op_determinism()
        tf.config.optimizer.set_experimental_options({"arithmetic_optimization": True})


def test_a_process_alone_is_the_chief_and_waits_for_nobody():
    strategy = tf.distribute.get_strategy()
    assert devices.is_chief(strategy)
    assert not devices.has_workers(strategy)
    assert devices.on_all_workers(strategy, 7) == [7]


@pytest.mark.parametrize(
    "config",
    [
        "{",
        "[]",
        '{"cluster": {"worker": ["a:1"]}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "ps", "index": 0}}',
    ],
)
def test_a_description_without_this_worker_is_refused(monkeypatch, config):
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(UserError, match="TF_CONFIG must be JSON"):
        devices.make_strategy("multi_worker")
