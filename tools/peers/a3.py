"""A3 by its authors' code; liuye6666/adaptive_auto_attack.

Its restarts depend on how many images of all still stand, so that it is given all images, also
those that the classifier misclassifies unattacked. What is replaced: CUDA by the CPU, its image
files by the task's arrays, and names that NumPy dropped.
"""

import contextlib
import importlib
import io
import os
import random
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np
from compare_feature_scatter import channels_first, on_cpu

from fsgan_tf.errors import UserError
from peers import pytorch
from peers.task import Attack, Task, answers

# Which of the data sets that it has settings for has as many classes.
_DATA_SETS = {10: "cifar10", 100: "cifar100"}
# Gradients an image, of all images, that its script allows for.
_AVERAGE = 1000


def attacks(task: Task) -> dict[str, Attack]:
    """The whole attack, as `main` of theirs calls it.

    Raises:
      UserError: its code has no settings for so many classes.
    """
    classes = len(task.restored.class_names)
    if classes not in _DATA_SETS:
        raise UserError(f"--parts=a3 attacks classifiers of 10 or 100 classes, not {classes}")
    torch, logits_fn = pytorch.same_classifier(task)
    code = _imported(torch, task.clones["a3"])

    def run(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        correct = answers(task, task.images) == task.labels
        if not np.array_equal(task.labels[correct], labels):
            raise ValueError("A3 attacks the images that the classifier gets right")
        return ~_withstood(code, torch, logits_fn, task, _DATA_SETS[classes])[correct]

    return {"a3": run}


def _withstood(code: Any, torch: Any, logits_fn: Any, task: Task, data_set: str) -> np.ndarray:
    """Which images of all still stand in the end.

    Their function prints how many, and does not say which, so that its restarts are listened to.
    The first attacks all that the classifier gets right, less those that a random corner of the
    ball fools.
    """
    withstood = np.zeros(len(task.labels), bool)
    attacked: list[np.ndarray] = []

    def batches(batch_size: int, dataframe: Any, *_: Any, **__: Any) -> Iterator[dict[str, Any]]:
        rows = np.array([int(path.split("/")[-1]) for path in dataframe["img_path"]], int)
        for start in range(0, len(rows), batch_size):
            batch = rows[start : start + batch_size]
            attacked[:] = [batch]
            yield {
                "img": torch.tensor(channels_first(task.images[batch])),
                "lab": torch.tensor(task.labels[batch]).long(),
            }

    restart = code.AAA_white_box

    def heard(*arguments: Any, **options: Any) -> Any:
        result = restart(*arguments, **options)
        withstood[attacked[0]] = result[1]
        return result

    names = [f"{label}/{row}" for row, label in enumerate(task.labels)]
    torch.manual_seed(task.seed)
    random.seed(task.seed)
    with (
        mock.patch.object(code, "mytest_loader", batches),
        mock.patch.object(code, "AAA_white_box", heard),
        mock.patch.object(code.glob, "glob", return_value=names),
        mock.patch.object(np, "int", int, create=True),
        contextlib.redirect_stdout(io.StringIO()),
        on_cpu(torch),
        torch.no_grad(),
    ):
        code.Adaptive_Auto_white_box_attack(
            logits_fn,
            code.device,
            task.epsilon,
            True,
            task.batch_size,
            _AVERAGE,
            "ours",
            data_set,
        )
    return withstood


def _imported(torch: Any, folder: str) -> Any:
    """Their file on the CPU, without torchvision, which reads their image files alone."""
    torchvision: Any = ModuleType("torchvision")
    torchvision.datasets = torchvision.transforms = None
    # What is imported while `sys.modules` is patched is imported again the next time.
    importlib.import_module("pandas")
    with (
        mock.patch.dict(sys.modules, {"torchvision": torchvision}),
        mock.patch.dict(os.environ),
        mock.patch.object(sys, "path", [folder, *sys.path]),
    ):
        code: Any = importlib.import_module("Adaptive_Auto_Attack_main")
    code.device = torch.device("cpu")
    return code
