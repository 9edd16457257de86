"""Black-box attacks by transfer: images made against one classifier, tried on another.

The paper attacks a copy of the classifier so, with the parameters of its white-box attacks; an
undefended classifier as the source is the usual test of a defence that masks its gradients
(Athalye et al., arXiv:1802.00420, section 3.1).
"""

import dataclasses
from typing import Any, ClassVar

import tensorflow as tf

from fsgan_tf.attacks.parts.attack import Access, Attack, Attempt, Wanted
from fsgan_tf.attacks.parts.attacked_classifier import AttackedClassifier, is_misclassified
from fsgan_tf.attacks.parts.projected_gradient import ProjectedGradient, climb
from fsgan_tf.attacks.parts.source import TransferSource
from fsgan_tf.errors import UserError
from fsgan_tf.settings import Settings
from fsgan_tf.threat_model import ThreatModel

NAME = "transfer_ATTACK"
HELP = "fgsm, pgdN or cwN against each --source, its images tried on the classifier"
ACCESS = "none"
NORMS = ("linf", "l2", "l1")


def make(wanted: Wanted, settings: Settings) -> list[Attack]:
    """See `fsgan_tf.attacks`."""
    del settings  # Those of the attack it transfers are in that attack.
    (climbing,) = wanted.inner
    if not isinstance(climbing, ProjectedGradient):
        raise UserError(
            f"unknown attack {wanted.name!r}; transfer_ goes before fgsm, pgdN and cwN alone"
        )
    if not wanted.sources:
        raise UserError(
            f"{wanted.name} attacks by images made against another classifier; name one with "
            "--source=RUN_DIR, or a SavedModel's folder or a .keras file"
        )
    for source in wanted.sources:
        if not all(copy.differentiable for copy in source.copies):
            raise UserError(
                f"{source.path or source.name} has no gradients, which {wanted.name} climbs; "
                "give a --source that has"
            )
    return [Transfer(climbing, source) for source in wanted.sources]


@dataclasses.dataclass(frozen=True)
class Transfer:
    """Climbs on the source to the end, and tries where that led on the classifier attacked.

    Attributes:
      attack: what climbs.
      source: where it climbs.
    """

    attack: ProjectedGradient
    source: TransferSource

    access: ClassVar[Access] = "none"

    @property
    def name(self) -> str:
        """As in `--attacks`, and the source's name."""
        return f"transfer_{self.attack.name}@{self.source.name}"

    @property
    def restarts(self) -> int:
        """Independent runs; only chance tells them apart."""
        return self.attack.restarts

    @property
    def cost(self) -> int:
        """Gradients of the source spent on an image."""
        return self.attack.cost

    @property
    def parameters(self) -> dict[str, Any]:
        """What results.json says of this attack."""
        return {
            **self.attack.parameters,
            "source": self.source.path,
            "source_method": self.source.method,
            "source_seed": self.source.seed,
            "source_sha256": self.source.sha256,
        }

    def run(
        self,
        classifier: AttackedClassifier,
        threat_model: ThreatModel,
        images: tf.Tensor,
        labels: tf.Tensor,
        seeds: tf.Tensor,
        restart: int,
    ) -> Attempt:
        """Climbs once on the source; see `Attack.run`.

        Of a path, two iterates are tried: the last one, as other codes do, and that of the source's
        highest loss.
        """
        del restart  # The seeds already tell it.
        source = self.source.on(classifier.device)
        path = climb(
            source,
            threat_model,
            images,
            self.attack.start(threat_model, images, seeds),
            labels,
            loss=self.attack.loss,
            num_steps=self.attack.num_steps,
            step_size=self.attack.step_size,
            stop_when_fooled=False,
            keep_first_success=False,
        )
        last_fools = is_misclassified(classifier.logits(path.last), labels)
        best_fools = is_misclassified(classifier.logits(path.best), labels)
        found = tf.where(last_fools[:, None, None, None], path.last, path.best)
        return Attempt(found, last_fools | best_fools)
