"""AutoAttack, its authors' version standard; fra31/auto-attack."""

import importlib
import sys
from unittest import mock

import numpy as np
from compare_feature_scatter import channels_first

from peers import pytorch
from peers.task import Attack, Task


def attacks(task: Task) -> dict[str, Attack]:
    """An attack at a time on what is left, as theirs runs them."""
    torch, logits_fn = pytorch.same_classifier(task)
    with mock.patch.object(sys, "path", [task.clones["auto_attack"], *sys.path]):
        code = importlib.import_module("autoattack")
    adversary = code.AutoAttack(
        logits_fn,
        norm=task.norm.capitalize(),
        eps=task.epsilon,
        seed=task.seed,
        version="standard",
        device="cpu",
        verbose=False,
    )

    def attack(name: str) -> Attack:
        def fooled(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
            if not len(labels):
                return np.zeros(0, bool)
            adversary.attacks_to_run = [name]
            _, answers = adversary.run_standard_evaluation(
                torch.tensor(channels_first(images)),
                torch.tensor(labels).long(),
                bs=task.batch_size,
                return_labels=True,
            )
            return answers.numpy() != labels

        return fooled

    return {name.replace("-", "_"): attack(name) for name in adversary.attacks_to_run}
