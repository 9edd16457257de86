"""A source of images is one file: its names, its settings, its help."""

import json
import textwrap

import pytest

from fsgan_tf import train
from fsgan_tf.cli import training_flags
from fsgan_tf.data import loading, registry, sources
from fsgan_tf.errors import UserError
from tests import commands
from tests.data.test_image_folder import class_folders
from tests.own_files import on_path
from tests.small_training import SMALL

SOURCE = '''
"""Noise under stripes: horizontal ones or vertical ones."""

import dataclasses

import numpy as np

from fsgan_tf import settings
from fsgan_tf.data.source import Source, SplitNames
from fsgan_tf.data.split import Split
from fsgan_tf.settings import setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class StripesSettings(settings.Settings):
    """Of the stripes."""

    stripes: int = setting(3, "Number of stripes.", lower=1)


class StripesSource(Source):
    """Two classes."""

    help = "stripes"
    Settings = StripesSettings
    class_names = ("horizontal", "vertical")
    splits = SplitNames(train="train", test="test")

    @classmethod
    def owns(cls, name):
        """Whether this name is `stripes`."""
        return name == "stripes"

    def __init__(self, name, images, own):
        """Draws nothing yet."""
        self._stripes = own.stripes

    def read(self, split):
        """Draws a split."""
        labels = np.arange({"train": 40, "test": 12}[split], dtype=np.int32) % 2
        images = np.random.default_rng(len(labels)).integers(0, 60, (len(labels), 16, 16, 3))
        images[labels == 0, :: 16 // self._stripes] = 255
        images[labels == 1, :, :: 16 // self._stripes] = 255
        return Split(images.astype(np.uint8), labels, split)
'''


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("digits", "DigitsSource"),
        ("cifar10", "TfdsSource"),
        ("cifar10:3.0.2", "TfdsSource"),
        ("mnist_corrupted/fog", "TfdsSource"),
        ("./nowhere", "FolderSource"),
        ("~/images", "FolderSource"),
        ("/", "FolderSource"),
    ],
)
def test_a_name_belongs_to_one_source(name, source):
    assert registry.source_of(name).__name__ == source


def test_a_folder_of_any_name_is_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    class_folders(tmp_path / "photos")
    assert registry.source_of("photos").__name__ == "FolderSource"
    class_folders(tmp_path / "digits")
    assert registry.source_of("digits").__name__ == "DigitsSource"


def test_the_sources_need_no_tensorflow():
    code = "import sys; from fsgan_tf.data import registry; registry.source_classes()"
    result = commands.python("-c", f"{code}; print('tensorflow' in sys.modules)")
    assert result.stdout == "False\n", result.stderr


@pytest.mark.parametrize(
    ("dataset", "option", "told"),
    [
        ("digits", {"data_dir": "x"}, "data_dir is not read for digits, only for a TFDS name"),
        ("digits", {"image_sise": 8}, "image_sise is not read for digits, only for no data"),
        ("digits", {"channels": 2}, "channels is 2; it must be 1"),
        ("digits", {"image_size": (4, 32)}, "must have sides of at least 8"),
    ],
)
def test_what_a_source_does_not_read_is_refused(dataset, option, told):
    with pytest.raises(UserError, match=told):
        loading.load(dataset, **option)


def test_a_flag_of_another_source_is_refused_by_name():
    values = training_flags.training_flags()
    values(["train", "--data_dir=x"])
    with pytest.raises(UserError, match="--data_dir is not read by --dataset=digits, only by tfds"):
        training_flags.configuration(values)


def test_digits_of_one_channel_and_two_sides():
    colour = loading.load_split("digits", "test", image_size=(12, 20))[0]
    grey = loading.load_split("digits", "test", image_size=(12, 20), channels=1)[0]
    assert grey.image_shape == (12, 20, 1)
    assert (grey.images == colour.images[..., :1]).all()


@pytest.mark.slow
def test_a_file_of_ones_own_is_used_by_the_command(tmp_path, capsys):
    folder = tmp_path / "fsgan_tf" / "data" / "sources"
    folder.mkdir(parents=True)
    (folder / "stripes.py").write_text(textwrap.dedent(SOURCE))
    run = tmp_path / "run"
    arguments = ["--dataset=stripes", "--stripes=4", f"--run_dir={run}", "--method=standard"]
    arguments += ["--epochs=1", "--batch_size=6", "--eval_examples=10", f"--architecture={SMALL}"]
    with on_path(tmp_path, sources):
        assert commands.call(train, *arguments) == 0
    told = capsys.readouterr().out
    assert "standard on stripes: 36 training and 4 validation images" in told
    assert "--stripes=4\n" in (run / "flags.txt").read_text()
    results = json.loads((run / "evaluation" / "results.json").read_text())
    assert (results["dataset"], results["split"], results["num_examples"]) == (
        "stripes",
        "test",
        10,
    )
    path = {"PYTHONPATH": f"{commands.ROOT}:{tmp_path}"}
    told = commands.python("-m", "fsgan_tf.train", "--help", env=path).stdout
    assert "--stripes: Number of stripes." in told


def test_a_folder_that_has_a_data_sets_name_is_told_from_it(tmp_path, monkeypatch):
    (tmp_path / "cifar10").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UserError, match=r"cifar10 is a folder here.*give \./cifar10 for the folder"
    ):
        registry.open_source("cifar10", {"data_dir": "."})
