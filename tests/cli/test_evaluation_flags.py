"""The flags of evaluation as typed settings, and the help of the commands that read them."""

import pytest

from fsgan_tf.cli import evaluation_flags
from fsgan_tf.errors import UserError
from fsgan_tf.export import export_flags
from fsgan_tf.predict import predict_flags
from tests import commands


def _evaluation(*argv):
    values = evaluation_flags.evaluation_flags()
    values(["evaluate", *argv])
    return evaluation_flags.configuration(values)


def test_an_evaluation_without_flags_has_the_settings_defaults():
    asked = _evaluation()
    assert asked.evaluation.suite == "quick"
    assert asked.evaluation.attacks is asked.evaluation.epsilon is asked.data.dataset is None
    assert (asked.evaluation.batch_size, asked.evaluation.seed) == (128, 0)
    assert asked.evaluation.source == ()
    assert asked.attacks == asked.source == {}
    assert asked.model.preprocessing == "checked"
    assert not asked.report.save_examples


def test_texts_become_values_of_their_types():
    asked = _evaluation(
        "--epsilon=8/255",
        "--mean=0.4, 0.5,0.6",
        "--input_range=-1,1",
        "--image_size=64,96",
        "--attacks=fgsm, pgd20",
        "--source=runs/a,runs/b",
        "--num_examples=10",
        "--restarts=3",
        "--data_dir=x",
        "--standalone",
        "--nosave_examples",
        "--expected_clean_accuracy=0.92",
        "--format=robustbench",
    )
    assert asked.evaluation.epsilon == 8 / 255
    assert asked.model.mean == (0.4, 0.5, 0.6)
    assert asked.model.input_range == "-1,1"
    assert asked.data.image_size == (64, 96)
    assert asked.evaluation.attacks == ("fgsm", "pgd20")
    assert asked.evaluation.source == ("runs/a", "runs/b")
    assert asked.data.num_examples == 10
    assert asked.attacks == {"restarts": 3}
    assert asked.source == {"data_dir": "x"}
    assert asked.evaluation.standalone
    assert not asked.report.save_examples
    assert asked.model.expected_clean_accuracy == 0.92
    assert asked.report.format == "robustbench"


@pytest.mark.parametrize(
    ("argv", "standalone"),
    [
        ([], False),
        (["--suite=paper_white_box"], True),
        (["--suite=paper_white_box", "--nostandalone"], False),
        (["--suite=paper_white_box", "--attacks=fgsm"], False),
        (["--standalone"], True),
    ],
)
def test_columns_of_the_paper_are_standalone_by_default(argv, standalone):
    assert _evaluation(*argv).evaluation.runs_standalone is standalone


@pytest.mark.parametrize(
    ("argv", "calls"),
    [
        ([], None),
        (["--eot=3"], 3),
        (["--suite=random"], 20),
        (["--suite=random", "--eot=3"], 3),
        (["--suite=random", "--attacks=fgsm"], None),
    ],
)
def test_the_suite_for_random_classifiers_averages_by_default(argv, calls):
    assert _evaluation(*argv).evaluation.averages_over == calls


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--epsilon=0", "must be above 0"),
        ("--epsilon=8/0", "a number or a fraction such as 8/255"),
        ("--image_size=4", "must have sides of at least 8"),
        ("--channels=2", "must be 1 (grey) or 3 (colour)"),
        ("--input_range=0,2", "must be 0,1 or 0,255 or -1,1"),
        ("--mean=0.4,inf", "must be finite numbers"),
        ("--mean=0.4,high", "must be numbers separated by commas"),
        ("--epsilons=inf,1", "must be finite numbers"),
        ("--suite=weak", "must be one of quick, strong"),
        ("--batch_size=0", "must be at least 1"),
        ("--memory_limit=0", "must be above 0"),
        ("--fail_on=never", "must be one of fail, warn"),
    ],
)
def test_what_no_value_can_mean_is_refused_by_the_name_of_its_flag(flag, message):
    with pytest.raises(UserError) as error:
        _evaluation(flag)
    assert message in str(error.value)
    assert str(error.value).startswith(f"{flag}: ")


def test_help_groups_the_flags_without_tensorflow():
    code = (
        "import sys; from fsgan_tf.cli.evaluation_flags import evaluation_flags; "
        "print(evaluation_flags().get_help()); sys.exit('tensorflow' in sys.modules)"
    )
    told = commands.python("-c", code)
    assert told.returncode == 0, told.stderr
    sections = {text.partition(":\n")[0]: text for text in told.stdout.split("\n\n")}
    assert "--keras_model: " in sections["classifier"]
    assert "--epsilon: " in sections["evaluation"]
    assert "default: 1; cwN, pgdN" in sections["several attacks"]
    assert "--data_dir: " in sections["data tfds_images"]
    assert "--top: " in predict_flags().get_help()
    assert "saved_model, litert, litert_float16" in export_flags().get_help()
