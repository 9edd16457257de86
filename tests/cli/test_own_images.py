"""A folder of one's own, from the command to the exported classifier: docs/own_images.md."""

import json
import re
from pathlib import Path

import keras
import numpy as np
import pytest

from fsgan_tf import evaluate, export, predict, train
from fsgan_tf.data.split import StreamedSplit
from tests.commands import ROOT, call
from tests.images import png
from tests.small_training import SMALL

PAGE = ROOT / "docs" / "own_images.md"
TINY = ["--image_size=16", "--epochs=2", "--batch_size=8", "--precision=float32"]
TINY += [f"--architecture={SMALL}", "--generator_width=4", "--attack_iterations=1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Twenty images each of two classes that differ in colour."""
    path = tmp_path_factory.mktemp("photographs")
    draws = np.random.default_rng(0)
    for channel, name in enumerate(("apple", "leaf")):
        (path / name).mkdir()
        for index in range(20):
            pixels = draws.integers(0, 60, (20, 24, 3), np.uint8)
            pixels[..., channel] += 180
            (path / name / f"{index}.png").write_bytes(png(pixels))
    return path


@pytest.mark.slow
def test_the_command_trains_measures_and_exports(folder, tmp_path, capsys):
    config, run = ROOT / "configs" / "own_images.flags", tmp_path / "run"
    given = [f"--flagfile={config}", f"--dataset={folder}", f"--run_dir={run}", *TINY]
    assert call(train, *given) == 0
    told = capsys.readouterr()
    assert ": 29 training and 3 validation images" in told.out
    results = json.loads((run / "evaluation" / "results.json").read_text())
    assert results["threat_model"]["epsilon"] == 8 / 255
    assert results["num_examples"] == 8
    assert (run / "evaluation" / "report.html").is_file()
    assert call(evaluate, f"--run_dir={run}", "--attacks=fgsm", "--checks=none") == 0
    assert call(export, f"--run_dir={run}", f"--export_dir={tmp_path / 'exported'}") == 0
    capsys.readouterr()
    assert call(predict, f"--saved_model={tmp_path / 'exported'}", folder / "leaf" / "0.png") == 0
    assert re.search("apple|leaf", capsys.readouterr().out)


def test_without_a_flag_file_what_is_done_by_default_is_said(folder, tmp_path, capsys):
    given = [f"--dataset={folder}", f"--run_dir={tmp_path / 'run'}", "--dry_run", *TINY]
    assert call(train, *given) == 0
    told = capsys.readouterr()
    assert "--epsilon=8/255" in told.out
    assert "--epsilon=8/255" in told.err


def test_nothing_is_written_into_the_folder_of_images(folder, tmp_path, capsys):
    before = sorted(folder.rglob("*"))
    assert call(train, f"--dataset={folder}", f"--run_dir={folder / 'run'}", *TINY) == 2
    assert "lies in the folder of images" in capsys.readouterr().err
    layers = [keras.Input((32, 32, 3)), keras.layers.Flatten(), keras.layers.Dense(2)]
    keras.Sequential(layers).save(tmp_path / "model.keras")
    given = [f"--dataset={folder}", "--epsilon=8/255", f"--output_dir={folder / 'report'}"]
    assert call(evaluate, f"--keras_model={tmp_path / 'model.keras'}", *given) == 2
    assert "lies in the folder of images" in capsys.readouterr().err
    assert sorted(folder.rglob("*")) == before


def test_the_page_and_what_leads_to_it_name_files_that_are_there():
    page = PAGE.read_text()
    for name in re.findall(r"configs/\S+\.flags", page):
        assert (ROOT / name).is_file()
    for file in ("README.md", "WORKSPACE.md", "docs/own_images.md"):
        assert "own_images.flags" in (ROOT / file).read_text()
    assert "own_images.md" in (ROOT / "mkdocs.yml").read_text()


def test_no_more_images_are_decoded_than_are_evaluated(folder, tmp_path, monkeypatch):
    read = []
    read_all = StreamedSplit._read_all

    def counted(split):
        read.append(len(split))
        return read_all(split)

    monkeypatch.setattr(StreamedSplit, "_read_all", counted)
    model = keras.Sequential(
        [keras.Input((16, 16, 3)), keras.layers.Flatten(), keras.layers.Dense(2)]
    )
    model.save(tmp_path / "m.keras")
    given = [f"--keras_model={tmp_path / 'm.keras'}", "--output=logits", f"--dataset={folder}"]
    given += ["--memory_limit=1e-6", "--num_examples=4", "--epsilon=0.03", "--attacks=fgsm"]
    given += ["--image_size=16", "--checks=none", f"--output_dir={tmp_path / 'report'}"]
    assert call(evaluate, *given) == 0
    assert read == [4]
