"""Classifiers that images are made against, to be tried on another one."""

import dataclasses

from fsgan_tf.attacks.parts.attacked_classifier import AttackedClassifier


@dataclasses.dataclass(frozen=True)
class TransferSource:
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
