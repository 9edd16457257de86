"""What an evaluation is asked to do."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from fsgan_tf.attacks.parts.attack import Attack
from fsgan_tf.attacks.parts.source import Source
from fsgan_tf.threat_model import ThreatModel


class Radius(NamedTuple):
    """One radius of several.

    Attributes:
      threat_model: what a perturbation may be.
      attacks: those of the other radii, by the same names.
    """

    threat_model: ThreatModel
    attacks: Sequence[Attack]


@dataclasses.dataclass(frozen=True)
class Request:
    """How a classifier is to be attacked.

    Attributes:
      threat_model: what a perturbation may be.
      attacks: from `attacks.registry`; cheap ones run first, whatever their order here.
      batch_size: images attacked together.
      seed: of the random starts.
      standalone: run every attack on every cleanly classified example, for accuracies to compare
        between papers; otherwise an attack sees what withstood those before it.
      sources: other classifiers, for the checks to compare with.
      checks: how much is checked: one of `settings.CHECKS`.
      eot: of a classifier whose answers differ from call to call, over how many calls each gradient
        and loss is averaged; None of one that answers alike each time.
      smaller: further radii, from the largest to the smallest, all below that of `threat_model`.
    """

    threat_model: ThreatModel
    attacks: Sequence[Attack]
    batch_size: int = 128
    seed: int = 0
    standalone: bool = False
    sources: Sequence[Source] = ()
    checks: str = "full"
    eot: int | None = None
    smaller: Sequence[Radius] = ()
