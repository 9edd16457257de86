"""The flags of evaluation, export and prediction, made from settings. Imports no TensorFlow.

Each command gets a fresh `flags.FlagValues`, so nothing is global: `main` makes typed settings of
it, and everything below takes those or keyword arguments. The flags of training are in
`training_flags`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from absl import flags

from fsgan_tf.attacks import registry as attacks
from fsgan_tf.cli import settings_flags
from fsgan_tf.data import registry as sources
from fsgan_tf.data.settings import EvaluatedDataSettings
from fsgan_tf.evaluation.configuration import EvaluationConfiguration
from fsgan_tf.evaluation.settings import EvaluationSettings
from fsgan_tf.models.settings import ExportSettings, ModelSettings, PredictionSettings
from fsgan_tf.reporting.settings import ReportSettings
from fsgan_tf.settings import from_text, readers_of, values_of


def evaluation_flags() -> flags.FlagValues:
    """The flags of `python -m fsgan_tf.evaluate`."""
    return settings_flags.made_from(_evaluation_groups())


def evaluation(values: flags.FlagValues) -> EvaluationConfiguration:
    """The typed settings of parsed flags.

    Raises:
      UserError: a value that is none.
    """
    given = settings_flags.given_texts(values, readers_of(_evaluation_groups()))
    return EvaluationConfiguration(
        model=from_text(ModelSettings, given),
        data=from_text(EvaluatedDataSettings, given),
        source=values_of(sources.all_own_fields().values(), given),
        evaluation=from_text(EvaluationSettings, given),
        attacks=values_of((field for field, _ in attacks.options().values()), given),
        report=from_text(ReportSettings, given),
    )


def evaluation_help(argv: Sequence[str]) -> str:
    """The flags of an evaluation by what they belong to; the command line changes nothing."""
    del argv
    return settings_flags.help_text(_evaluation_groups())


def export_flags() -> flags.FlagValues:
    """The flags of `python -m fsgan_tf.export`."""
    return settings_flags.made_from({"export": ExportSettings})


def export(values: flags.FlagValues) -> ExportSettings:
    """As `evaluation`."""
    return _read(ExportSettings, values)


def export_help(argv: Sequence[str]) -> str:
    """As `evaluation_help`."""
    del argv
    return settings_flags.help_text({"export": ExportSettings})


def predict_flags() -> flags.FlagValues:
    """The flags of `python -m fsgan_tf.predict`."""
    return settings_flags.made_from({"prediction": PredictionSettings})


def prediction(values: flags.FlagValues) -> PredictionSettings:
    """As `evaluation`."""
    return _read(PredictionSettings, values)


def predict_help(argv: Sequence[str]) -> str:
    """As `evaluation_help`."""
    del argv
    return settings_flags.help_text({"prediction": PredictionSettings})


def _read(cls: type, values: flags.FlagValues) -> Any:
    return from_text(cls, settings_flags.given_texts(values, readers_of({"": cls})))


def _evaluation_groups() -> dict[str, type]:
    """Every class of settings that an evaluation can have, by what it belongs to."""
    return {
        "classifier": ModelSettings,
        "data": EvaluatedDataSettings,
        **{
            f"data {source.__module__.rpartition('.')[2]}": source.Settings
            for source in sources.source_classes()
        },
        "evaluation": EvaluationSettings,
        "results": ReportSettings,
        **{f"attack {kind.name}": kind.settings for kind in attacks.kinds()},
    }
