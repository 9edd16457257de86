"""What an evaluation is asked to do."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from fsgan_tf.attacks import registry
from fsgan_tf.attacks.parts.attack import Attack
from fsgan_tf.attacks.parts.source import TransferSource
from fsgan_tf.evaluation.configuration import EvaluationConfiguration
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
    sources: Sequence[TransferSource] = ()
    checks: str = "full"
    eot: int | None = None
    smaller: Sequence[Radius] = ()

    def with_attack(self, attack: Attack) -> "Request":
        """The same with one attack more, at every radius."""
        smaller = [Radius(ball, (*attacks, attack)) for ball, attacks in self.smaller]
        return dataclasses.replace(self, attacks=(*self.attacks, attack), smaller=smaller)


def requested(asked: EvaluationConfiguration, sources: Sequence[TransferSource]) -> Request:
    """How a configuration asks to attack.

    Args:
      asked: with the norm and the radii; see `EvaluationConfiguration.resolved`.
      sources: other classifiers, loaded.

    Raises:
      UserError: there is no such attack, or it cannot do what is asked of it.
    """
    settings = asked.evaluation
    balls = [ThreatModel(radius, norm=str(settings.norm)) for radius in settings.radii]
    largest, *smaller = [Radius(ball, _attacks(asked, ball, sources)) for ball in balls]
    return Request(
        threat_model=largest.threat_model,
        attacks=largest.attacks,
        batch_size=settings.batch_size,
        seed=settings.seed,
        standalone=settings.runs_standalone,
        sources=tuple(sources),
        checks=settings.checks,
        eot=settings.averages_over,
        smaller=smaller,
    )


def _attacks(
    asked: EvaluationConfiguration, ball: ThreatModel, sources: Sequence[TransferSource]
) -> tuple[Attack, ...]:
    names, options = asked.evaluation.attacks, {"sources": sources, **asked.attacks}
    if names is not None:
        return tuple(registry.by_names(names, ball.epsilon, norm=ball.norm, **options))
    return tuple(registry.suite(asked.evaluation.suite, ball.epsilon, norm=ball.norm, **options))
