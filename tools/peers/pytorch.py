"""The classifier of a run in PyTorch, for authors' code."""

import importlib
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from compare_feature_scatter import channels_first, outputs_first

from fsgan_tf.errors import RunError
from peers.task import Task

# Of the logits of the two networks; rounding leaves about a hundredth of it.
_SAME_LOGITS = 1e-4


def same_classifier(task: Task) -> tuple[Any, Callable[[Any], Any]]:
    """The module torch and the task's classifier in it.

    Raises:
      RunError: its logits differ from those of the task's.
    """
    torch = importlib.import_module("torch")
    theirs = logits_fn(torch, task.restored.model)
    _require_same(task, torch, theirs)
    return torch, theirs


def logits_fn(torch: Any, model: Any) -> Callable[[Any], Any]:
    """The classifier of `networks.wide_resnet` in PyTorch, in inference mode.

    Args:
      torch: the module.
      model: the Keras model; its weights are copied.

    Returns:
      float32 `[b, c, h, w]` images in [0, 1] to float32 `[b, K]` logits.
    """
    functional = torch.nn.functional
    weights = {
        variable.path: torch.tensor(outputs_first(variable.numpy())) for variable in model.variables
    }
    depth = int(model.name.split("_")[-2])

    def convolved(x: Any, name: str, stride: int = 1) -> Any:
        kernel = weights[f"{name}/kernel"]
        return functional.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)

    def activated(x: Any, name: str) -> Any:
        names = ("moving_mean", "moving_variance", "gamma", "beta")
        arguments = [weights[f"{name}_bn/{variable}"] for variable in names]
        return functional.relu(functional.batch_norm(x, *arguments, training=False, eps=1e-5))

    def block(x: Any, name: str, stride: int) -> Any:
        inputs = activated(x, f"{name}_pre")
        y = convolved(inputs, f"{name}_conv1", stride)
        y = convolved(activated(y, f"{name}_mid"), f"{name}_conv2")
        if f"{name}_shortcut/kernel" in weights:
            x = convolved(inputs, f"{name}_shortcut", stride)
        return x + y

    def logits(images: Any) -> Any:
        # Channels last in memory, which convolutions on a CPU are faster with.
        images = images.contiguous(memory_format=torch.channels_last)
        x = convolved(2 * images - 1, "stem")
        for group in (1, 2, 3):
            for index in range(1, (depth - 4) // 6 + 1):
                x = block(x, f"group{group}_block{index}", 2 if group > 1 and index == 1 else 1)
        features = activated(x, "final").mean(dim=(2, 3))
        return functional.linear(features, weights["logits/kernel"], weights["logits/bias"])

    return logits


def _require_same(task: Task, torch: Any, theirs_fn: Callable[[Any], Any]) -> None:
    difference = 0.0
    for start in range(0, len(task.images), task.batch_size):
        images = task.images[start : start + task.batch_size]
        ours = np.asarray(task.restored.model(images, training=False))
        with torch.no_grad():
            theirs = theirs_fn(torch.tensor(channels_first(images))).numpy()
        difference = max(difference, float(np.abs(ours - theirs).max()))
    if not difference <= _SAME_LOGITS:
        raise RunError(
            f"the logits of the two networks differ by {difference:.1e}, at most {_SAME_LOGITS}: "
            "they are not the same classifier"
        )
    print(f"logits in PyTorch differ by at most {difference:.1e}", file=sys.stderr, flush=True)
