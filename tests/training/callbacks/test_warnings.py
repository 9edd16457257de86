"""The warnings, apart from the training that causes them."""

import pytest

from fsgan_tf.methods import fs_gan, generated_step
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


# A generator that learns, attacks and is diverse, as metrics.jsonl has it.
ALIVE = {
    "generator_displacement": 0.4,
    "validation_generator_ot": 0.1,
    "validation_replaced_sign_ot": 0.1,
    "validation_sign_cosine": 0.7,
    "diversity_share": 0.3,
    "validation_latent_share": 0.4,
    "validation_logit_offset": 0.1,
    "validation_logit_spread": 0.5,
}


def test_a_generator_that_learns_is_not_warned_of():
    assert warnings_of([], _row(**ALIVE)) == []


@pytest.mark.parametrize(
    ("measured", "word"),
    [
        ({"generator_displacement": 0.003}, "inert"),
        ({"validation_sign_cosine": 0.999}, "inert"),
        ({"validation_generator_ot": 0.079}, "weaker adversary"),
        ({"validation_latent_share": 0.006}, "no diversity"),
        ({"diversity_share": 0.004}, "no diversity"),
        ({"validation_logit_offset": -0.6}, "common offset"),
    ],
)
def test_each_measure_of_the_generator_has_its_warning(measured, word):
    (line,) = warnings_of([], _row(**ALIVE | measured))
    assert word in line


@pytest.mark.parametrize("ot_on", ["probabilities", "logits"])
def test_an_offset_is_warned_of_where_the_distance_sees_it(ot_on):
    row = _row(**ALIVE | {"validation_logit_offset": 0.6})
    lines = warnings_of([], row, fs_gan.Settings(ot_on=ot_on))
    assert len(lines) == (ot_on == "logits")


def test_a_control_is_not_called_inert():
    row = _row(generator_displacement=0.0, validation_sign_cosine=1.0)
    assert len(warnings_of([], row, generated_step.Settings())) == 2
    assert warnings_of([], row, generated_step.Settings(generator_update="frozen_sign")) == []


def test_methods_without_these_measures_are_not_warned_of():
    assert warnings_of([], _row(generator_displacement=0.2)) == []


def test_without_held_out_images_nothing_is_judged():
    assert warnings_of([{"loss": 1.0}], {"loss": 0.5, "accuracy_on_adversarial": 0.9}) == []


def test_an_epoch_is_judged_beside_those_before_it(capsys):
    watcher = Warnings([_row(0.8, 0.7)])
    watcher.on_epoch_end(1, _row(0.8, 0.65))
    assert capsys.readouterr().out == ""
    watcher.on_epoch_end(2, _row(0.8, 0.3))
    assert "warning: fgsm accuracy holds at 0.800" in capsys.readouterr().out


class _Method:
    settings = None


@pytest.mark.parametrize("another", [False, True])
def test_a_second_method_is_not_judged_beside_the_first(another, capsys):
    watcher, method = Warnings([_row(0.30, 0.25)]), _Method()
    watcher.set_model(method)
    watcher.set_model(_Method() if another else method)
    watcher.on_epoch_end(1, _row(0.30, 0.10))
    assert ("overfitting" in capsys.readouterr().out) is not another
