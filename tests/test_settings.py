"""Flags: parsing, validation, precedence, and the one line an error is."""

from pathlib import Path

import pytest
from absl import flags

from fsgan_tf import cli, settings
from fsgan_tf.errors import RunError, UserError

CONFIGS = Path(__file__).parents[1] / "configs"
CONFIG_NAMES = sorted(str(file.relative_to(CONFIGS)) for file in CONFIGS.rglob("*.flags"))


def _parse(*arguments: str) -> flags.FlagValues:
    values = settings.training_flags()
    values(["train", *arguments])
    return values


@pytest.mark.parametrize(("text", "value"), [("8/255", 8 / 255), ("0.05", 0.05), ("1", 1.0)])
def test_epsilon_accepts_fractions_and_numbers(text, value):
    assert _parse(f"--epsilon={text}").epsilon == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("fs_gan", {"attack_iterations": 1, "generator_learning_rate": 1.0, "latent_dim": 10}),
        ("feature_scatter", {"attack_iterations": 1, "attack_step_size": 1.0}),
        ("pgd_at", {"attack_iterations": 10, "attack_step_size": 0.25}),
        ("l2l", {"generator_optimizer": "adam", "generator_learning_rate": 1e-3}),
        ("l2l_da", {"gradient_clip_norm": 1.0, "latent_dim": 8, "classifier_learning_rate": 0.01}),
    ],
)
def test_flags_not_given_are_the_methods_own(method, expected):
    values = _parse(f"--method={method}")
    assert all(values[name].value is None for name in expected)
    settings.complete(values)
    assert {name: values[name].value for name in expected} == expected


def test_flags_given_are_kept():
    values = _parse("--method=l2l_da", "--latent_dim=3", "--nogenerator_lr_decay", "--run_dir=x")
    settings.complete(values)
    assert (values.latent_dim, values.generator_lr_decay, values.run_dir) == (3, False, "x")


@pytest.mark.parametrize("config", CONFIG_NAMES)
def test_no_flag_file_departs_from_its_methods_authors(config):
    values = _parse(f"--flagfile={CONFIGS / config}")
    settings.complete(values)
    assert settings.departures(values) == []


def test_another_methods_flag_file_is_a_departure():
    values = _parse(f"--flagfile={CONFIGS / 'cifar10.flags'}", "--method=pgd_at")
    settings.complete(values)
    assert settings.departures(values) == ["--attack_iterations=1 (its authors: 10)"]


def test_flags_survive_being_written_as_a_flagfile(tmp_path):
    values = _parse("--epsilon=8/255", "--lr_decay_epochs=60,90", "--train_examples=7")
    file = tmp_path / "flags.txt"
    file.write_text(values.flags_into_string())
    read = _parse(f"--flagfile={file}")
    for name, value in values.flag_values_dict().items():
        assert read[name].value == value, name


def test_last_flag_wins_over_a_flagfile(tmp_path):
    file = tmp_path / "some.flags"
    file.write_text("# a comment\n--epochs=3\n")
    assert _parse(f"--flagfile={file}", "--epochs=5").epochs == 5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--epsilon=0"], ["epsilon", "above 0"]),
        (["--epsilon=-0.1"], ["epsilon", "above 0"]),
        (["--epsilon=1.5"], ["epsilon", "at most 1"]),
        (["--epsilon=8/0"], ["epsilon", "8/255"]),
        (["--epsilon=nan"], ["epsilon", "nan"]),
        (["--epsilon=big"], ["epsilon", "big"]),
        (["--classifier_depth=11"], ["classifier_depth", "6n+4"]),
        (["--batch_size=1"], ["batch_size", "1"]),
        (["--method=gan"], ["method", "fs_gan"]),
        (["--strategy=tpu"], ["strategy", "mirrored"]),
        (["--epohcs=3"], ["epohcs", "epochs"]),
        (["--lr_decay_epochs=60;90"], ["lr_decay_epochs", "60,90"]),
        (["--label_smoothing=1"], ["label_smoothing"]),
        (["--flagfile=/nowhere.flags"], ["/nowhere.flags"]),
        (["svhn", "--epochs=2", "now"], ["svhn now", "--name=value"]),
    ],
)
def test_bad_flags_are_one_line_and_exit_code_2(arguments, words, capsys):
    def never(flag_values, rest):
        raise AssertionError("main must not run")

    code = cli.run(never, settings.training_flags(), description="", argv=arguments)
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

    assert cli.run(main, settings.export_flags(), description="", argv=[]) == code
    assert capsys.readouterr().err.count("\n") == 1


def test_every_method_module_is_a_choice():
    assert {"fs_gan", "standard"} <= set(settings.method_names())
    assert "base" not in settings.method_names()
