"""What an evaluation is asked to do."""

import dataclasses
from collections.abc import Sequence

from fsgan_tf.attacks.parts.attack import Attack
from fsgan_tf.attacks.parts.source import Source
from fsgan_tf.threat_model import ThreatModel


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
    """

    threat_model: ThreatModel
    attacks: Sequence[Attack]
    batch_size: int = 128
    seed: int = 0
    standalone: bool = False
    sources: Sequence[Source] = ()
    checks: str = "full"
