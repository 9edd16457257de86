"""The defaults of a training follow its data."""

import pytest

from fsgan_tf.cli import training_flags
from fsgan_tf.data.registry import source_classes
from fsgan_tf.runs.configuration import TrainingConfiguration, readers


def test_what_a_source_recommends_are_flags_of_a_training():
    for source in source_classes():
        assert set(source.recommended) <= set(readers())


@pytest.mark.parametrize("dataset", ["cifar10", "FOLDER"])
def test_data_other_than_digits_are_trained_as_natural_images(dataset, tmp_path):
    name = dataset.replace("FOLDER", str(tmp_path))
    configured = training_flags.parse([f"--dataset={name}"])
    assert configured.training.epsilon == 8 / 255


def test_digits_are_trained_by_the_settings_own_defaults():
    for arguments in ([], ["--dataset=digits"]):
        configured = training_flags.parse(arguments)
        assert configured.training.epsilon == type(configured.training).epsilon


def test_a_flag_wins_over_what_the_data_recommend_and_the_rest_is_named():
    values = training_flags.training_flags()
    values(["train", "--dataset=cifar10", "--epsilon=4/255"])
    configured = training_flags.configuration(values)
    assert configured.training.epsilon == 4 / 255
    assert not any("by default" in note for note in training_flags.notes(values, configured))


def test_what_the_data_recommend_is_named():
    values = training_flags.training_flags()
    values(["train", "--dataset=cifar10"])
    notes = training_flags.notes(values, training_flags.configuration(values))
    assert any("--epsilon=8/255" in note and "by default" in note for note in notes)


def test_a_method_that_does_not_read_a_recommendation_goes_without():
    values = training_flags.training_flags()
    values(["train", "--dataset=cifar10", "--method=pgd_at"])
    configured = training_flags.configuration(values)
    assert configured.recommended(()) == ["--epsilon=8/255"]


def test_a_run_keeps_what_it_was_trained_with():
    flags = training_flags.parse(["--dataset=cifar10", "--epsilon=0.05"]).to_flags()
    assert TrainingConfiguration.from_flag_file(flags).training.epsilon == 0.05


def test_help_says_both_defaults():
    text = training_flags.help_text([])
    assert "(default: 13/255; 8/255 for data other than digits)" in text
