"""What the machine can do: replicas, arithmetic precision, repeatable arithmetic."""

import functools
import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from fsgan_tf.errors import UserError

# Names Linux gives the instructions that multiply bfloat16 natively.
_CPU_BFLOAT16 = re.compile(r"\b(avx512_bf16|amx_bf16|bf16)\b")
_GPU_BFLOAT16_CAPABILITY = (8, 0)
# A trial of both precisions takes about a fifth of a second.
_TRIED_SIZE, _TRIALS, _FASTER = 1024, 6, 1.2


def make_strategy(name: str) -> tf.distribute.Strategy:
    """The distribution strategy of that name.

    Args:
      name: `auto` mirrors over all GPUs where there are several and takes one device otherwise;
        `one_device`; `mirrored` over all GPUs, or all logical CPUs where there is none;
        `multi_worker`, described by the environment's TF_CONFIG.

    Returns:
      The strategy; TensorFlow's default one for one device.

    Raises:
      UserError: for `multi_worker` without a usable TF_CONFIG.
    """
    if name == "multi_worker":
        _require_cluster(os.environ.get("TF_CONFIG"))
        # Before anything else asks for devices, which would start TensorFlow without the others.
        return tf.distribute.MultiWorkerMirroredStrategy()
    devices = replica_devices(name)
    if not devices:
        return tf.distribute.get_strategy()
    is_cpu = "CPU" in devices[0]
    return tf.distribute.MirroredStrategy(
        devices, cross_device_ops=tf.distribute.HierarchicalCopyAllReduce() if is_cpu else None
    )


def replica_devices(name: str) -> list[str]:
    """Names of the devices that share the work under a strategy; none where there is but one.

    Args:
      name: `auto`, `one_device` or `mirrored`, as for `make_strategy`.
    """
    gpus = tf.config.list_logical_devices("GPU")
    if name == "mirrored" or (name == "auto" and len(gpus) > 1):
        return [device.name for device in gpus or tf.config.list_logical_devices("CPU")]
    return []


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes files: the only one, or the first worker of several."""
    if not has_workers(strategy):
        return True
    resolver = strategy.cluster_resolver
    if "chief" in resolver.cluster_spec().jobs:
        return resolver.task_type == "chief"
    return (resolver.task_type, resolver.task_id) == ("worker", 0)


def has_workers(strategy: tf.distribute.Strategy) -> bool:
    """Whether other processes train too."""
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy) and bool(
        strategy.cluster_resolver.cluster_spec()
    )


def on_all_workers(strategy: tf.distribute.Strategy, number: int) -> list[int]:
    """Every worker's number, in the workers' order; all of them wait here for each other.

    Args:
      strategy: of the training.
      number: this process's, within int32.

    Returns:
      One number a replica; `[number]` without waiting where this process is alone.
    """
    if not has_workers(strategy):
        return [number]
    return _exchange_of(strategy)(tf.constant(number, tf.int32)).numpy().tolist()


@functools.cache
def _exchange_of(strategy: tf.distribute.Strategy) -> Callable[[tf.Tensor], tf.Tensor]:
    """Traced once: a training asks after every step."""

    def gather(number: tf.Tensor) -> tf.Tensor:
        return tf.distribute.get_replica_context().all_gather(number[tf.newaxis], axis=0)

    @tf.function(autograph=False)
    def exchange(number: tf.Tensor) -> tf.Tensor:
        numbers = strategy.run(gather, args=(number,))
        return strategy.experimental_local_results(numbers)[0]

    return exchange


def make_deterministic() -> None:
    """The same bits from the same seed on the same machine; after `make_strategy`."""
    tf.config.experimental.enable_op_determinism()
    # It merges sums into one of an order that differs between processes: the last bit with it.
    tf.config.optimizer.set_experimental_options({"arithmetic_optimization": False})
    # KerasCV's layers ask for it, though the augmentation draws nothing from it.
    tf.random.set_global_generator(tf.random.Generator.from_seed(0))


def resolve_precision(name: str) -> str:
    """The Keras dtype policy for a `--precision`.

    Args:
      name: `auto` is mixed_bfloat16 where the hardware multiplies bfloat16 faster, else float32.

    Returns:
      `float32`, `mixed_bfloat16` or `mixed_float16`.

    Raises:
      UserError: for mixed_bfloat16 on hardware that only emulates it.
    """
    if name == "auto":
        return "mixed_bfloat16" if has_bfloat16() and bfloat16_is_faster() else "float32"
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


@functools.cache
def bfloat16_is_faster() -> bool:
    """Whether bfloat16 matrices multiply faster than float32 ones, tried once a process on a CPU.

    Having the instructions does not tell: of two CPUs that have them, one was 1.5 times faster in
    bfloat16 and the other half as fast (docs/benchmarks.md). Both are far from the limit, so that
    a busy machine decides as an idle one does.
    """
    if tf.config.list_physical_devices("GPU"):
        return True
    with tf.device("CPU:0"):
        pair = [tf.ones([_TRIED_SIZE] * 2, dtype) for dtype in (tf.float32, tf.bfloat16)]
        # In turn, so that other work on the machine meets both; the shortest saw least of it.
        seconds = [[_product_seconds(matrix) for matrix in pair] for _ in range(_TRIALS)]
    float32, bfloat16 = map(min, zip(*seconds[1:], strict=True))
    return float32 > _FASTER * bfloat16


def _product_seconds(matrix: tf.Tensor) -> float:
    start = time.perf_counter()
    tf.matmul(matrix, matrix)[0, 0].numpy()
    return time.perf_counter() - start


def _require_cluster(text: str | None) -> None:
    """Raises `UserError` unless this is the TF_CONFIG of one of several workers."""
    if text is None:
        raise UserError(
            "--strategy=multi_worker needs TF_CONFIG in the environment, naming the workers; "
            "tools/launch_local.sh sets it for workers on one machine"
        )
    try:
        config = json.loads(text)
        cluster, task = config["cluster"], config["task"]
        cluster[task["type"]][task["index"]]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise UserError(
            'TF_CONFIG must be JSON such as {"cluster": {"worker": ["host1:12345", '
            '"host2:12345"]}, "task": {"type": "worker", "index": 0}}, with this worker among '
            f"them; it is {text}"
        ) from error
