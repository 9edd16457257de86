"""What an installed package brings: dependencies within bounds, and its commands."""

import os
import re
import subprocess
import sys

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.commands import ROOT, python

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NAMED = [
    Requirement(text)
    for texts in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    for text in texts
]


def _pins(*files):
    """Version by name, for this Python."""
    lines = [line for file in files for line in (ROOT / file).read_text().splitlines()]
    pins = [Requirement(line) for line in lines if re.match(r"\w[^ ]*==", line)]
    return {
        canonicalize_name(pin.name): next(iter(pin.specifier)).version
        for pin in pins
        if pin.marker is None or pin.marker.evaluate()
    }


@pytest.mark.parametrize("requirement", NAMED, ids=str)
def test_each_dependency_is_pinned_within_its_bounds(requirement):
    files = ("requirements.txt", "requirements-dev.txt", "requirements-peers.txt")
    pins = _pins(*files)
    assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)])


@pytest.mark.parametrize("command", PROJECT["scripts"])
def test_an_installed_command_is_the_module(command):
    module, function = PROJECT["scripts"][command].split(":")
    # In a process of its own, as an installed command starts.
    program = (
        f"import sys; sys.argv = [{command!r}, '--help']; import {module} as m; m.{function}()"
    )
    installed = python("-c", program)
    assert installed.returncode == 0
    shown = python("-m", f"fsgan_tf.{command.removeprefix('fsgan-')}", "--help").stdout
    assert installed.stdout == shown


@pytest.mark.parametrize("words", [("fsgan_tf",), ("fsgan_tf.train", "--help")])
def test_a_reader_that_leaves_ends_a_command_quietly(words):
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = python("-m", *words, capture_output=False, stdout=writing, stderr=subprocess.PIPE)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_package_lists_its_commands():
    listed = python("-m", "fsgan_tf")
    assert listed.returncode == 0
    for command in PROJECT["scripts"]:
        assert command in listed.stdout
        assert f"python -m fsgan_tf.{command.removeprefix('fsgan-')}" in listed.stdout
