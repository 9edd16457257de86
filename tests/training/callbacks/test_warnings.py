"""The warnings, apart from the training that causes them."""

import pytest

from fsgan_tf.training.callbacks.warnings import Warnings, warnings_of


def _row(one_step=0.8, multi_step=0.7, **more):
    return {
        "one_step_accuracy": one_step,
        "robust_accuracy": multi_step,
        "accuracy_on_adversarial": 0.8,
        **more,
    }


@pytest.mark.parametrize(
    ("earlier", "row"),
    [
        ([_row(0.8, 0.7)], _row(0.8, 0.3)),  # it was robust, and is so to one step only
        ([], _row(0.9, 0.0)),  # it never was
        ([_row(0.30, 0.25)], _row(0.30, 0.10)),
    ],
)
def test_catastrophic_overfitting_is_warned_of(earlier, row):
    (line,) = warnings_of(earlier, row)
    assert "catastrophic overfitting" in line


@pytest.mark.parametrize(
    ("earlier", "row"),
    [
        ([], _row(0.13, 0.10)),
        ([_row(0.8, 0.7)], _row(0.8, 0.65)),
        ([_row(0.8, 0.7)], _row(0.4, 0.3)),  # both fell: bad, but something else
    ],
)
def test_honest_epochs_are_not(earlier, row):
    assert warnings_of(earlier, row) == []


def test_standard_training_has_no_adversary_to_overfit():
    assert warnings_of([], {"one_step_accuracy": 0.5, "robust_accuracy": 0.0}) == []


@pytest.mark.parametrize(("reached", "warned"), [(0.049, True), (0.051, False)])
def test_a_generator_below_half_a_sign_step_is_warned_of(reached, warned):
    row = _row(validation_generator_ot=reached, validation_sign_step_ot=0.1)
    assert any("generator" in line for line in warnings_of([], row)) == warned


def test_without_held_out_images_nothing_is_judged():
    assert warnings_of([{"loss": 1.0}], {"loss": 0.5, "accuracy_on_adversarial": 0.9}) == []


def test_an_epoch_is_judged_beside_those_before_it(capsys):
    watcher = Warnings([_row(0.8, 0.7)])
    watcher.on_epoch_end(1, _row(0.8, 0.65))
    assert capsys.readouterr().out == ""
    watcher.on_epoch_end(2, _row(0.8, 0.3))
    assert "warning: fgsm accuracy holds at 0.800" in capsys.readouterr().out
