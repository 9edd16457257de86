"""Black-box attacks by transfer: images made against one classifier, tried on another.

The paper attacks a copy of the classifier so, with the parameters of its white-box attacks; an
undefended classifier as the source is the usual test of a defence that masks its gradients
(Athalye et al., arXiv:1802.00420, section 3.1).
"""

import dataclasses
from typing import Any

import tensorflow as tf

from fsgan_tf.attacks.attack import Attempt
from fsgan_tf.attacks.attacked_classifier import AttackedClassifier, is_misclassified
from fsgan_tf.attacks.projected_gradient import ProjectedGradient
from fsgan_tf.threat_model import ThreatModel


@dataclasses.dataclass(frozen=True)
class Source:
    """A classifier against which images are made.

    Attributes:
      name: short, for the names of attacks.
      copies: of the classifier, one for each device.
      path: of its run, SavedModel or Keras file.
      sha256: hash of its weights or files.
      method: it was trained with; `standard` makes it an undefended twin. None where no run tells.
      seed: it was trained with; None where no run tells.
    """

    name: str
    copies: tuple[AttackedClassifier, ...]
    path: str
    sha256: str
    method: str | None = None
    seed: int | None = None

    @property
    def classifier(self) -> AttackedClassifier:
        """The first copy."""
        return self.copies[0]

    def on(self, device: str | None) -> AttackedClassifier:
        """The copy on a device."""
        return next(copy for copy in self.copies if copy.device == device)

    def __str__(self) -> str:
        training = f", method {self.method}, seed {self.seed}" if self.method else ""
        return f"{self.name}: {self.path}{training}, sha256 {self.sha256}"


@dataclasses.dataclass(frozen=True)
class Transfer:
    """Climbs on the source to the end, and tries where that led on the classifier attacked.

    Attributes:
      attack: what climbs.
      source: where it climbs.
    """

    attack: ProjectedGradient
    source: Source

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
        path = self.attack.path(source, threat_model, images, labels, seeds, to_the_end=True)
        last_fools = is_misclassified(classifier.logits(path.last), labels)
        best_fools = is_misclassified(classifier.logits(path.best), labels)
        found = tf.where(last_fools[:, None, None, None], path.last, path.best)
        return Attempt(found, last_fools | best_fools)
