"""The flags of evaluation, made from the settings that models, data, attacks and reports declare.

`FlagValues` holds texts; `configuration` makes typed settings of them. Imports no TensorFlow.
"""

from __future__ import annotations

from absl import flags

from fsgan_tf.attacks import registry as attacks
from fsgan_tf.cli.settings_flags import SettingsFlags, given_texts
from fsgan_tf.data import registry as sources
from fsgan_tf.data.settings import EvaluatedDataSettings
from fsgan_tf.evaluation.configuration import EvaluationConfiguration
from fsgan_tf.evaluation.settings import EvaluationSettings
from fsgan_tf.models.settings import ModelSettings
from fsgan_tf.reporting.settings import ReportSettings
from fsgan_tf.settings import from_text, readers_of, values_of


def evaluation_flags() -> SettingsFlags:
    """The flags of `python -m fsgan_tf.evaluate`, of every attack and data source."""
    return SettingsFlags(_groups())


def configuration(values: flags.FlagValues) -> EvaluationConfiguration:
    """The typed settings of parsed flags.

    Raises:
      UserError: a value that is none.
    """
    given = given_texts(values, readers_of(_groups()))
    return EvaluationConfiguration(
        model=from_text(ModelSettings, given),
        data=from_text(EvaluatedDataSettings, given),
        source=values_of(sources.all_own_fields().values(), given),
        evaluation=from_text(EvaluationSettings, given),
        attacks=values_of((field for field, _ in attacks.options().values()), given),
        report=from_text(ReportSettings, given),
    )


def _groups() -> dict[str, type]:
    """Every class of settings that an evaluation can have, by what it belongs to."""
    return {
        "classifier": ModelSettings,
        "data": EvaluatedDataSettings,
        **sources.groups(),
        "evaluation": EvaluationSettings,
        "results": ReportSettings,
        **{f"attack {kind.name}": kind.settings for kind in attacks.kinds()},
    }
