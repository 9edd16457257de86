"""What the machine can do: distribution strategy and arithmetic precision."""

import os
import re
from pathlib import Path

import tensorflow as tf

from fsgan_tf.errors import UserError

# Names Linux gives the instructions that multiply bfloat16 natively.
_CPU_BFLOAT16 = re.compile(r"\b(avx512_bf16|amx_bf16|bf16)\b")
_GPU_BFLOAT16_CAPABILITY = (8, 0)


def make_strategy(name: str) -> tf.distribute.Strategy:
    """The distribution strategy of that name.

    Args:
      name: `auto` mirrors over all GPUs where there are several and takes one device otherwise;
        `one_device`; `mirrored` over all GPUs, or all logical CPUs where there is none;
        `multi_worker`, described by the environment's TF_CONFIG.

    Returns:
      The strategy; TensorFlow's default one for one device.

    Raises:
      UserError: for `multi_worker` without TF_CONFIG.
    """
    gpus = tf.config.list_logical_devices("GPU")
    if name == "multi_worker":
        if "TF_CONFIG" not in os.environ:
            raise UserError(
                "--strategy=multi_worker needs TF_CONFIG in the environment, naming the workers"
            )
        return tf.distribute.MultiWorkerMirroredStrategy()
    if name == "mirrored" or (name == "auto" and len(gpus) > 1):
        devices = [device.name for device in gpus or tf.config.list_logical_devices("CPU")]
        return tf.distribute.MirroredStrategy(
            devices,
            cross_device_ops=tf.distribute.HierarchicalCopyAllReduce() if not gpus else None,
        )
    return tf.distribute.get_strategy()


def resolve_precision(name: str) -> str:
    """The Keras dtype policy for a `--precision`.

    Args:
      name: `auto` is mixed_bfloat16 where the hardware multiplies bfloat16, else float32.

    Returns:
      `float32`, `mixed_bfloat16` or `mixed_float16`.

    Raises:
      UserError: for mixed_bfloat16 on hardware that only emulates it.
    """
    if name == "auto":
        return "mixed_bfloat16" if has_bfloat16() else "float32"
    if name == "mixed_bfloat16" and not has_bfloat16():
        raise UserError(
            "--precision=mixed_bfloat16: this machine only emulates bfloat16, slower than float32; "
            "use --precision=float32"
        )
    return name


def has_bfloat16() -> bool:
    """Whether the first GPU, or the CPU where there is none, multiplies bfloat16 natively."""
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details = tf.config.experimental.get_device_details(gpus[0])
        return details.get("compute_capability", (0, 0)) >= _GPU_BFLOAT16_CAPABILITY
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.exists() and bool(_CPU_BFLOAT16.search(cpuinfo.read_text()))
