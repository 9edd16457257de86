"""A training step of Feature-Scatter's authors, in PyTorch, as their `fs_main.py` takes it."""

import contextlib
import io
from typing import Any

import compare_feature_scatter

from benchmarks.timing import Timed

_IMAGE_SHAPE = (3, 32, 32)


def authors_step(
    folder: str | None, *, depth: int, width: int, batch_size: int, num_classes: int
) -> Timed:
    """The step on random images, on PyTorch's GPU or on the CPU where it has none; in images.

    Args:
      folder: checkout of their repository.
      depth: of their Wide ResNet.
      width: of their Wide ResNet.
      batch_size: images a step.
      num_classes: K.

    Raises:
      UserError: there is no such checkout, or no PyTorch.
    """
    torch, code = compare_feature_scatter.reference_code(folder, "feature_scatter")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = code.WideResNet(depth=depth, num_classes=num_classes, widen_factor=width).to(device)
    images = 2 * torch.rand(batch_size, *_IMAGE_SHAPE, device=device) - 1
    labels = torch.randint(num_classes, [batch_size], device=device)
    with contextlib.redirect_stdout(io.StringIO()):
        attack: Any = code.Attack_FeaScatter(network, compare_feature_scatter.ATTACK)
    if device == "cuda":
        attack = torch.nn.DataParallel(attack)
        torch.backends.cudnn.benchmark = True
    optimizer = torch.optim.SGD(attack.parameters(), **compare_feature_scatter.SGD)

    def run() -> None:
        _, losses = attack(images, labels)
        optimizer.zero_grad()
        loss = losses.mean()
        loss.backward()
        optimizer.step()
        loss.item()

    def run_on_cpu() -> None:
        with compare_feature_scatter.on_cpu(torch):
            run()

    return Timed(run if device == "cuda" else run_on_cpu, batch_size)
