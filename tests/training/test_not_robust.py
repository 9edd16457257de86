"""The end of a training that brought no robustness."""

import pytest

from fsgan_tf.cli import training_flags
from fsgan_tf.methods import fs_gan, pgd_at, standard
from fsgan_tf.training import not_robust

CLASSES = {"fs_gan": fs_gan.FSGAN, "pgd_at": pgd_at.PGDAT, "standard": standard.Standard}


def told(*flags: str, clean: float = 0.6, robust: float = 0.0) -> str | None:
    configured = training_flags.parse(flags)
    method = CLASSES[configured.training.method]
    return not_robust.warning(
        method, configured, {"clean_accuracy": clean, "robust_accuracy": robust}, 300
    )


def test_the_figures_the_cause_and_the_flag_are_named():
    line = told("--ot_on=logits")
    assert "it classifies 60.0% of 300 held-out images, and 0.0% of 256 under attack" in line
    assert "--ot_on=probabilities" in line
    assert "--epochs" in told("--method=pgd_at")
    assert "--epsilon" in told("--method=pgd_at")
    assert "--epochs" in told()


@pytest.mark.parametrize(
    ("flags", "robust"), [(("--method=standard",), 0.0), ((), 0.06), ((), float("nan"))]
)
def test_nothing_is_said_where_robustness_came_or_was_not_trained_for(flags, robust):
    assert told(*flags, robust=robust) is None


def test_nothing_is_said_where_nothing_was_held_out():
    configured = training_flags.parse([])
    assert not_robust.warning(fs_gan.FSGAN, configured, {"loss": 1.0}, 0) is None
