"""What every attack is: a name, its parameters and one attempt on one batch."""

import dataclasses
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import tensorflow as tf

from fsgan_tf.attacks.parts.attacked_classifier import AttackedClassifier
from fsgan_tf.attacks.parts.source import TransferSource
from fsgan_tf.threat_model import ThreatModel

# What an attack asks of the classifier: its gradients (a white box), its outputs alone (a black
# box), or nothing until it tries finished images on it.
Access = Literal["gradients", "outputs", "none"]


class Wanted(NamedTuple):
    """An attack as it is asked for.

    Attributes:
      name: as in `--attacks`.
      epsilon: radius of the ball, in the norm's unit.
      num_steps: the N of its name; 0 where it has none.
      inner: the attacks that the ATTACK of its name stands for; empty where it has none.
      sources: classifiers to transfer from.
      norm: that measures perturbations.
    """

    name: str
    epsilon: float
    num_steps: int = 0
    inner: "tuple[Attack, ...]" = ()
    sources: tuple[TransferSource, ...] = ()
    norm: str = "linf"


class Attempt(NamedTuple):
    """What one run of an attack found.

    Attributes:
      images: float32 `[b, h, w, c]`, the best adversarial image found for each example.
      success: bool `[b]`, whether the attack claims that its image is misclassified. The engine
        verifies each claim.
    """

    images: tf.Tensor
    success: tf.Tensor


def parameters_of(attack: Any, *left_out: str) -> dict[str, Any]:
    """The fields of an attack's dataclass but its name and those left out, for results.json."""
    fields = dataclasses.asdict(attack)
    return {name: value for name, value in fields.items() if name not in ("name", *left_out)}


class Attack(Protocol):
    """An attack; `fsgan_tf.attacks` says how a new one is found.

    Attributes:
      name: as in `--attacks` and results.json.
      access: what it asks of the classifier.
      restarts: how often the engine runs it on what it has not fooled yet: with other random
        starts, or with other targets.
      cost: gradient evaluations (or as long-lasting queries) it spends on an image; the engine
        runs cheap attacks first.
      parameters: everything that decides its strength, for results.json.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def access(self) -> Access: ...  # noqa: D102

    @property
    def restarts(self) -> int: ...  # noqa: D102

    @property
    def cost(self) -> int: ...  # noqa: D102

    @property
    def parameters(self) -> dict[str, Any]: ...  # noqa: D102

    def run(
        self,
        classifier: AttackedClassifier,
        threat_model: ThreatModel,
        images: tf.Tensor,
        labels: tf.Tensor,
        seeds: tf.Tensor,
        restart: int,
    ) -> Attempt:
        """Attacks one batch once.

        Args:
          classifier: the classifier; its gradients may be used.
          threat_model: what a perturbation may be.
          images: float32 `[b, h, w, c]` clean images within the pixel range.
          labels: int32 `[b]` true labels.
          seeds: int64 `[b, 2]`, the stateless seed of each example and restart, the only source of
            chance: a key of the attack and restart, and the example's position among those
            evaluated.
          restart: which of `restarts` runs this is, from 0.

        Returns:
          One attempt. An example's outcome depends on its own image, label and seed alone.
        """
        ...


@runtime_checkable
class Climbing(Attack, Protocol):
    """An attack that climbs a loss by the classifier's gradient, step by step.

    Whatever has these members beside those of `Attack` is one. The checks then ask whether it beats
    a single step, and whether more steps or another start of it would find more. An attack that
    minimises a distance, as FAB does, is none.

    Attributes:
      loss: what it climbs; `cross_entropy` is known by that name.
      num_steps: gradient steps of one restart, of the longest where they differ.
    """

    @property
    def loss(self) -> str: ...  # noqa: D102

    @property
    def num_steps(self) -> int: ...  # noqa: D102

    def once(self, num_steps: int) -> "Climbing":
        """The same attack with one restart of so many steps."""
        ...
