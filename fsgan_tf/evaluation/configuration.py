"""The whole of what an evaluation is asked to do. Imports no TensorFlow."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from fsgan_tf import norms
from fsgan_tf.data import registry
from fsgan_tf.data.settings import EvaluatedDataSettings
from fsgan_tf.errors import UserError
from fsgan_tf.evaluation.settings import EvaluationSettings
from fsgan_tf.models.named_model import NamedModel, named_model
from fsgan_tf.models.settings import ModelSettings
from fsgan_tf.reporting.settings import ReportSettings

if TYPE_CHECKING:
    from fsgan_tf.runs.configuration import TrainingConfiguration

# Settings of the data that are as in the training where they are not given.
_AS_TRAINED = ("dataset", "image_size", "channels", "memory_limit")


@dataclasses.dataclass(frozen=True)
class EvaluationConfiguration:
    """One evaluation.

    Attributes:
      model: which classifier.
      data: which images.
      source: the settings of where they come from, as far as they are given.
      evaluation: how it is attacked.
      attacks: the settings of attacks, as far as they are given.
      report: what is written.
    """

    model: ModelSettings
    data: EvaluatedDataSettings
    source: dict[str, Any]
    evaluation: EvaluationSettings
    attacks: dict[str, Any]
    report: ReportSettings

    @property
    def named(self) -> NamedModel:
        """The classifier; see `named_model`."""
        return named_model(self.model)

    def resolved(self, trained: TrainingConfiguration | None) -> EvaluationConfiguration:
        """With what the classifier was trained on and against, where the flags do not say it.

        Args:
          trained: the classifier's training; None where it comes from no run.

        Returns:
          The same evaluation, with its data set, its norm and its radii.

        Raises:
          UserError: nothing says the data set or the radius, or the radius is none in the norm.
        """
        trained_with = trained.values() if trained else {}
        given = {name: getattr(self.data, name) for name in _AS_TRAINED}
        data = dataclasses.replace(
            self.data,
            **{n: trained_with.get(n) if value is None else value for n, value in given.items()},
        )
        if data.dataset is None:
            raise self._not_said("dataset")
        evaluation = self._within_a_ball(trained)
        # Settings of other sources are refused if they are given, and left out if the run had them.
        own = registry.own_fields(registry.source_of(data.dataset))
        source = {name: trained_with[name] for name in own if name in trained_with} | self.source
        return dataclasses.replace(self, data=data, source=source, evaluation=evaluation)

    def _within_a_ball(self, trained: TrainingConfiguration | None) -> EvaluationSettings:
        """How the classifier is attacked, with the norm and the radii."""
        given, training = self.evaluation, trained.training if trained else None
        norm = given.norm or (training.norm if training else "linf")
        epsilon = given.epsilon
        if not given.radii:
            if training is None:
                raise self._not_said("epsilon")
            if training.norm != norm:
                raise UserError(
                    f"--norm={norm} needs --epsilon in its own unit; the run's is "
                    f"{norms.radius_text(training.norm, training.epsilon)} in {training.norm}"
                )
            epsilon = training.epsilon
        try:
            return dataclasses.replace(given, norm=norm, epsilon=epsilon)
        except ValueError as error:
            raise UserError(str(error)) from error

    def _not_said(self, name: str) -> UserError:
        return UserError(f"--{self.named.flag} does not say its {name}; give --{name}")
