"""The flags of training: parsing, precedence, what applies, and the one line an error is."""

import pytest

from fsgan_tf import train
from fsgan_tf.cli import runner, training_flags
from fsgan_tf.errors import RunError, UserError
from fsgan_tf.runs.configuration import TrainingConfiguration, groups, readers
from tests.commands import ROOT, call, python

CONFIGS = ROOT / "configs"


def _parse(*arguments: object) -> TrainingConfiguration:
    return training_flags.parse([str(argument) for argument in arguments])


def _never(flag_values, words):
    training_flags.configuration(flag_values)
    raise AssertionError("main must not go on")


@pytest.mark.parametrize(("text", "value"), [("8/255", 8 / 255), ("0.05", 0.05), ("1", 1.0)])
def test_epsilon_accepts_fractions_and_numbers(text, value):
    assert _parse(f"--epsilon={text}").training.epsilon == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("fs_gan", {"attack_iterations": 2, "generator_learning_rate": 1e-3, "latent_dim": 10}),
        ("feature_scatter", {"attack_iterations": 1, "attack_step_size": 1.0}),
        ("pgd_at", {"attack_iterations": 10, "attack_step_size": 0.25}),
        ("l2l", {"generator_optimizer": "adam", "generator_learning_rate": 1e-3}),
        ("l2l_da", {"gradient_clip_norm": 1.0, "latent_dim": 8, "classifier_learning_rate": 0.01}),
    ],
)
def test_flags_not_given_are_the_methods_own(method, expected):
    values = _parse(f"--method={method}").values()
    assert {name: values[name] for name in expected} == expected


def test_flags_given_are_kept():
    values = _parse("--method=l2l_da", "--latent_dim=3", "--nogenerator_lr_decay", "--run_dir=x")
    assert (values.method.latent_dim, values.method.generator_lr_decay) == (3, False)
    assert values.run_dir == "x"
    assert _parse("--method=pgd_at").run_dir == "runs/digits_pgd_at"


def test_another_methods_flag_file_is_a_departure_and_what_is_not_read_is_named():
    flag_values = training_flags.training_flags()
    flag_values(["train", f"--flagfile={CONFIGS / 'cifar10.flags'}", "--method=pgd_at"])
    configured = training_flags.configuration(flag_values)
    assert configured.departures() == ["--attack_iterations=2 (its authors: 10)"]
    departure, unread = training_flags.notes(flag_values, configured)
    assert "configs/baselines" in departure
    assert unread.startswith("pgd_at does not read --adversary_statistics, ")
    assert _parse(f"--flagfile={CONFIGS / 'cifar10.flags'}").departures() == []


def test_a_training_says_its_departures_from_the_paper_in_one_line():
    flag_values = training_flags.training_flags()
    flag_values(["train", f"--flagfile={CONFIGS / 'cifar10.flags'}", "--latent_dim=3"])
    (line,) = training_flags.notes(flag_values, training_flags.configuration(flag_values))
    assert line.startswith("departs from the paper in --")
    assert line.endswith("; configs/paper follows it word for word")
    for departure in (
        "--generator_learning_rate=0.001 (0.0078)",
        "--latent_dim=3 (10)",
        "--generator_input_skip=true (false)",
    ):
        assert departure in line
    letter = _parse(f"--flagfile={CONFIGS / 'paper' / 'cifar10.flags'}")
    assert letter.departures_from_paper() == []
    # On CIFAR-100 the paper has another rate.
    values = _parse("--dataset=cifar100", "--generator_learning_rate=7.8e-5")
    assert "generator_learning_rate" not in "".join(values.departures_from_paper())
    assert _parse("--method=pgd_at").departures_from_paper() == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--method=pgd_at", "--latent_dim=3"], ["--latent_dim", "pgd_at", "fs_gan", "l2l_da"]),
        (["--method=standard", "--nogenerator_lr_decay"], ["--generator_lr_decay", "standard"]),
        (["--method", "standard", "--label_smoothing", "0"], ["feature_scatter", "fs_gan"]),
    ],
)
def test_a_flag_that_the_method_does_not_read_is_refused_by_name(arguments, words, capsys):
    assert call(train, *arguments, main=_never) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert all(word in line for word in words), line


def test_a_configuration_survives_being_written_as_a_flag_file(tmp_path):
    values = _parse(
        "--epsilon=8/255", "--lr_decay_epochs=60,90", "--train_examples=7", "--deterministic"
    )
    file = tmp_path / "flags.txt"
    file.write_text(values.to_flags())
    assert _parse(f"--flagfile={file}") == values
    assert TrainingConfiguration.from_flag_file(file.read_text()) == values


def test_the_flags_of_earlier_runs_are_read():
    """As absl wrote them: booleans without a value, and flags of every method."""
    text = "--batch_size=16\n--nodry_run\n--deterministic\n--method=pgd_at\n--latent_dim=10\n\n"
    values = TrainingConfiguration.from_flag_file(text)
    assert (values.training.batch_size, values.training.deterministic) == (16, True)
    with pytest.raises(UserError, match="line 1, '--epohcs=3'"):
        TrainingConfiguration.from_flag_file("--epohcs=3\n")


def test_last_flag_wins_over_a_flagfile(tmp_path):
    file = tmp_path / "some.flags"
    file.write_text("# a comment\n--epochs=3\n")
    assert _parse(f"--flagfile={file}", "--epochs=5").training.epochs == 5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--epsilon=0"], ["epsilon", "above 0"]),
        (["--epsilon=-0.1"], ["epsilon", "above 0"]),
        (["--epsilon=1.5"], ["epsilon", "at most 1"]),
        (["--epsilon=8/0"], ["epsilon", "8/255"]),
        (["--epsilon=nan"], ["epsilon", "nan"]),
        (["--epsilon=big"], ["epsilon", "big"]),
        (["--epochs=two"], ["--epochs=two", "a whole number"]),
        ([f"--epochs=1{'0' * 400}"], ["--epochs", "at most 9223372036854775807"]),
        (["--classifier_depth=11"], ["classifier_depth", "6n+4"]),
        (["--batch_size=1"], ["batch_size", "1"]),
        (["--method=gan"], ["method", "fs_gan"]),
        (["--architecture=resnet"], ["architecture", "wide_resnet"]),
        (["--method=l2l", "--attack_iterations=3"], ["attack_iterations", "at most 2"]),
        (["--strategy=tpu"], ["strategy", "mirrored"]),
        (["--epohcs=3"], ["epohcs", "epochs"]),
        (["--lr=1"], ["--classifier_learning_rate"]),
        (["--learning_rate=1"], ["--classifier_learning_rate", "--generator_learning_rate"]),
        (["--batch=1"], ["--batch_size"]),
        (["--run_dir="], ["--run_dir=: must be a text of at least one character"]),
        (["--dataset="], ["--dataset=: must be a text of at least one character"]),
        (["--output_dir=x"], ["did you mean --run_dir?"]),
        (["--lr_decay=1"], ["--lr_decay_epochs", "--lr_decay_factor"]),
        (["--lr_decay_epochs=60;90"], ["lr_decay_epochs", "60,90"]),
        (["--label_smoothing=1"], ["label_smoothing"]),
        (["--flagfile=/nowhere.flags"], ["/nowhere.flags"]),
        (["svhn", "--epochs=2", "now"], ["svhn now", "--name=value"]),
    ],
)
def test_bad_flags_are_one_line_and_exit_code_2(arguments, words, capsys):
    code = call(train, *arguments, main=_never)
    printed = capsys.readouterr()
    assert code == 2
    assert printed.err.count("\n") == 1
    assert printed.err.startswith("error: ")
    for word in words:
        assert word in printed.err


@pytest.mark.parametrize(
    ("error", "code"), [(UserError("a\nb"), 2), (RunError("c"), 1), (KeyboardInterrupt(), 130)]
)
def test_exit_codes(error, code, capsys):
    def main(flag_values, words):
        raise error

    assert runner.run(main, training_flags.training_flags(), description="", argv=[]) == code
    assert capsys.readouterr().err.count("\n") == 1


def test_help_groups_the_flags_and_shows_what_applies_to_a_method():
    whole = training_flags.help_text(["--help"])
    assert all(f"--{name}:" in whole or f"--[no]{name}:" in whole for name in readers())
    titles = [line for line in whole.splitlines() if line.endswith(":") and line[0] != " "]
    assert titles[:2] == ["training:", "data:"]
    order = [titles.index(title) for title in ("network wide_resnet:", "every method:")]
    assert order == sorted(order)
    assert {"method fs_gan:", "method pgd_at:"} <= set(titles)
    of_one = training_flags.help_text(["--help", "--method=pgd_at"])
    assert "--adversary_mode" in of_one
    assert "--epochs" in of_one
    assert "--latent_dim" not in of_one


def test_no_two_parts_of_a_training_have_a_flag_of_one_name():
    for name, reading in readers().items():
        kinds = {group.partition(" ")[0] for group in reading}
        assert len(kinds) == 1, (name, reading)
    assert {"training", "data", "method fs_gan", "network wide_resnet"} <= set(groups())


def _configured(*arguments: object) -> TrainingConfiguration:
    """As the command has it."""
    values = training_flags.training_flags()
    values(["train", *map(str, arguments)])
    return training_flags.configuration(values)


def test_a_run_directory_alone_goes_on_with_the_flags_of_its_run(tmp_path):
    first = _configured(f"--run_dir={tmp_path}", "--method=pgd_at", "--momentum=0.5", "--epochs=3")
    (tmp_path / "flags.txt").write_text(first.to_flags())
    assert _configured(f"--run_dir={tmp_path}") == first
    longer = _configured(f"--run_dir={tmp_path}", "--epochs=9").values()
    assert longer == {**first.values(), "epochs": 9}
    # Any other flag makes it a command of its own, which the run directory then compares.
    assert _configured(f"--run_dir={tmp_path}", "--method=pgd_at").method.momentum == 0.9


def test_relative_paths_to_images_are_recorded_for_use_from_anywhere(tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)
    assert _parse("--dataset=photos").data.dataset == str(tmp_path / "photos")
    values = _parse("--dataset=cifar10", "--data_dir=sets", "--class_names=names.txt").values()
    assert values["dataset"] == "cifar10"
    assert values["data_dir"] == str(tmp_path / "sets")
    assert values["class_names"] == str(tmp_path / "names.txt")
    assert _parse("--dataset=digits").data.dataset == "digits"


def test_an_error_in_the_flags_comes_before_tensorflow():
    done = python("-m", "fsgan_tf.train", "--method=pgd_at", "--latent_dim=3")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
