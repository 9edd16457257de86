"""The ablation: every variant can be trained, and the control is in every comparison."""

import experiments
import pytest

from fsgan_tf import evaluate, train
from fsgan_tf.cli import training_flags
from tests.commands import call
from tools import ablation

SCALE = (
    "--dataset=digits --augmentation=none --classifier_depth=10 --classifier_width=1 "
    "--generator_width=4 --batch_size=8 --train_examples=16 --epochs=1 --lr_decay_epochs=1 "
    "--precision=float32 --validation_examples=8 --attack_iterations=1"
)
COMMANDS = {command.__name__: command for command in (train, evaluate)}


@pytest.mark.parametrize("variant", ablation._VARIANTS)
def test_a_variants_flags_are_those_of_a_training(variant):
    flags = [flag.format(runs="runs", seed=0) for flag in ablation._VARIANTS[variant]]
    given = training_flags.parse([*ablation._SCALE.split(), *flags])
    if flags and variant != "one_latent":
        recommended = training_flags.parse(["--flagfile=configs/cifar10.flags"])
        assert given.values() != recommended.values()


@pytest.mark.slow
def test_the_control_stands_beside_what_is_compared(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        experiments, "run_module", lambda module, flags: call(COMMANDS[module], *flags)
    )
    arguments = (f"--runs={tmp_path}", f"--scale={SCALE}", "--variants=letter,standard")
    assert call(ablation, *arguments) == 0
    table = capsys.readouterr().out.rpartition("| variant |")[2].splitlines()
    assert [line.split()[1] for line in table[2:]] == ["frozen_sign", "letter", "standard"]
    control = dict(zip(ablation._COLUMNS, table[2].split("|")[1:-1], strict=True))
    assert float(control["moved"]) == 0
    assert float(control["generator OT"]) == float(control["sign OT"])


def test_an_unknown_variant_is_named(tmp_path, capsys):
    assert call(ablation, f"--runs={tmp_path}", "--variants=gan") == 2
    assert "gan" in capsys.readouterr().err
