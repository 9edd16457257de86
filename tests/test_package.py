"""What a newcomer meets first: imports, --help, configurations, collected tests."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fsgan_tf import settings

ROOT = Path(__file__).parents[1]
COMMANDS = ("train", "evaluate", "export", "predict")


def _python(*arguments: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=environment, check=False
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_complete_and_imports_no_tensorflow(command):
    code = (
        "import runpy, sys; sys.argv = ['x', '--help']\n"
        f"try: runpy.run_module('fsgan_tf.{command}', run_name='__main__')\n"
        "except SystemExit as end: code = end.code\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules), 'TensorFlow was imported'\n"
        "sys.exit(code)"
    )
    done = _python("-c", code)
    assert done.returncode == 0, done.stderr
    for name in getattr(
        settings, f"{'training' if command == 'train' else _noun(command)}_flags"
    )():
        assert f"--{name}" in done.stdout or f"--[no]{name}" in done.stdout


def _noun(command: str) -> str:
    return {"evaluate": "evaluation", "export": "export", "predict": "predict"}[command]


@pytest.mark.parametrize("tool", sorted((ROOT / "tools").glob("*.py")), ids=lambda p: p.stem)
def test_tools_start(tool):
    done = _python(str(tool), "--help")
    assert done.returncode == 0, done.stderr
    assert "Flags:" in done.stdout
    assert _python(str(tool), "--no_such_flag").returncode == 2


def test_importing_the_package_imports_no_tensorflow():
    code = "import sys, fsgan_tf; sys.exit('tensorflow' in sys.modules)"
    assert _python("-c", code).returncode == 0


@pytest.mark.parametrize("config", sorted((ROOT / "configs").glob("*.flags")), ids=lambda p: p.stem)
def test_configurations_parse_and_hold_the_papers_values(config):
    values = settings.training_flags()
    assert values(["train", f"--flagfile={config}"]) == ["train"]
    if values.dataset == "digits":
        return
    assert (values.classifier_depth, values.classifier_width) == (28, 10)
    assert values.epsilon == pytest.approx(8 / 255)
    assert values.epochs == (200 if values.dataset == "cifar100" else 100)
    assert values.generator_learning_rate == (0.01 if values.dataset == "cifar100" else 1)
    assert values.classifier_learning_rate == (0.01 if values.dataset == "svhn_cropped" else 0.1)
    assert settings.decay_epochs(values) == (60, 90)


def test_digits_configuration_is_the_default():
    values, defaults = settings.training_flags(), settings.training_flags()
    values(["train", f"--flagfile={ROOT / 'configs' / 'digits.flags'}"])
    defaults(["train"])
    settings.complete(values)
    settings.complete(defaults)
    differences = {
        name: (value, defaults[name].value)
        for name, value in values.flag_values_dict().items()
        if defaults[name].value != value
    }
    assert set(differences) <= {"augmentation", "flagfile"}


def test_every_test_function_is_collected():
    """A function that is misnamed, or stands in a file of another name, never runs."""
    for file in (ROOT / "tests").rglob("*.py"):
        functions = [
            node.name
            for node in ast.parse(file.read_text()).body
            if isinstance(node, ast.FunctionDef)
        ]
        misnamed = [name for name in functions if re.match(r"_?tests?(?!_)|_test_|tests_", name)]
        assert not misnamed, f"{file}: {misnamed}"
        if any(name.startswith("test_") for name in functions):
            assert file.name.startswith("test_"), file
