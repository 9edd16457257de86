"""PMA by its authors' code; xieyong0/PMA with that code's own settings."""

import importlib
import sys
from collections.abc import Iterator
from unittest import mock

import numpy as np
from compare_feature_scatter import channels_first, channels_last

from peers import pytorch
from peers.task import Attack, Task, fooled


def attacks(task: Task) -> dict[str, Attack]:
    """One pair of runs of 100 steps, as `main.py` of theirs calls it."""
    torch, logits_fn = pytorch.same_classifier(task)
    with mock.patch.object(sys, "path", [task.clones["pma"], *sys.path]):
        code = importlib.import_module("attacks.MD")
    adversary = code.MDAttack(
        logits_fn,
        epsilon=task.epsilon,
        num_steps=100,
        num_classes=len(task.restored.class_names),
        loss_fn="PMargin",
    )
    squeeze = torch.Tensor.squeeze

    def adversarial(images: np.ndarray, labels: np.ndarray) -> Iterator[np.ndarray]:
        torch.manual_seed(task.seed)
        for start in range(0, len(labels), task.batch_size):
            rows = slice(start, start + task.batch_size)
            pixels, classes = torch.tensor(channels_first(images[rows])), torch.tensor(labels[rows])
            # Their indices of the images that still stand lose their axis where one is left.
            with mock.patch.object(
                torch.Tensor, "squeeze", lambda tensor: torch.atleast_1d(squeeze(tensor))
            ):
                found, _ = adversary.perturb(pixels, classes.long())
            yield channels_last(found.detach().numpy())

    def run(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        if not len(labels):
            return np.zeros(0, bool)
        return fooled(task, np.concatenate(list(adversarial(images, labels))), images, labels)

    return {"pma": run}
