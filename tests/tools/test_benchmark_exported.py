"""Exported steps: what is written, and that it says how to run it. Running takes JAX."""

import importlib.util
import json

import numpy as np
import pytest
from benchmarks import exported_step, training
from benchmarks.exported_step import Parameter

from fsgan_tf.training.build import build_method
from tests.commands import call
from tools import benchmark_exported

TINY = "--classifier_depth=10 --classifier_width=1 --batch_size=4"


def _command(*arguments: str) -> int:
    return call(benchmark_exported, *arguments)


@pytest.mark.slow
def test_an_exported_step_names_its_inputs_and_the_losses_of_tensorflow(tmp_path):
    words = ("export", str(tmp_path), "--methods=feature_scatter", "--precisions=float32")
    assert _command(*words, f"--training_flags={TINY}", "--reference_steps=3") == 0
    folder = tmp_path / "feature_scatter_float32"
    assert (folder / "step.stablehlo").read_bytes().startswith(b"ML\xefR")
    described = json.loads((folder / "step.json").read_text())
    # WRN-10-1, layer by layer: 12,501,632 multiply-adds an image and pass, six passes.
    assert described["gigaflops"] == pytest.approx(2 * 6 * 12_501_632 / 1e9)
    parameters = [Parameter(**one) for one in described["parameters"]]
    images, labels, counter, stem = parameters[:4]
    assert (images.shape, images.dtype) == ([4, 32, 32, 3], "float32")
    assert (labels.shape, labels.dtype) == ([4], "int32")
    assert (counter.dtype, counter.draw(2)) == ("int64", 0)
    assert stem.shape == [3, 3, 3, 16]
    # Weights and their momentum, batch statistics, the batch.
    sizes = 2 * 77_850 + 480 + 4 * (32 * 32 * 3 + 1)
    assert sum(np.prod(one.shape) for one in parameters if one.shape) == sizes
    losses = described["losses"]
    assert len(losses) == 3
    assert np.isfinite(losses).all()
    # Of new weights about log(10), and moving.
    assert losses[0] == pytest.approx(np.log(10), rel=0.2)
    assert len(set(losses)) == 3


def test_the_reference_steps_start_at_the_drawn_values(tmp_path):
    (values,) = training.parse(["standard"], f"{TINY} --precision=float32").values()
    method = build_method(values, 10, (32, 32, 3))
    exported_step.export(method, values, 0, tmp_path)
    images, labels, stem = json.loads((tmp_path / "step.json").read_text())["parameters"][:3]
    assert (images["shape"], labels["shape"]) == ([4, 32, 32, 3], [4])
    kernel = method.classifier.get_layer("stem").kernel
    np.testing.assert_array_equal(kernel, Parameter(**stem).draw(2))


@pytest.mark.parametrize("uniform", [False, True])
def test_drawn_values_are_the_same_everywhere(uniform):
    parameter = Parameter((1000,), "float32", "uniform" if uniform else "normal", (2, 3))
    values = parameter.draw(7)
    np.testing.assert_array_equal(values, parameter.draw(7))
    assert not np.array_equal(values, parameter.draw(8))
    assert values.dtype == np.float32
    mean, deviation = (2.5, 12**-0.5) if uniform else (2, 3)
    assert values.mean() == pytest.approx(mean, abs=4 * deviation / 1000**0.5)
    assert values.std() == pytest.approx(deviation, rel=0.15)


@pytest.mark.parametrize("words", [(), ("export",), ("run",), ("fly", "away")])
def test_what_to_do_must_be_said(capsys, words):
    assert _command(*words) == 2
    assert "export|run FOLDER" in capsys.readouterr().err


def test_a_folder_without_exported_steps_is_named(capsys, tmp_path):
    assert _command("run", str(tmp_path)) == 2
    assert str(tmp_path) in capsys.readouterr().err


@pytest.mark.skipif(importlib.util.find_spec("jax") is not None, reason="JAX is here")
def test_without_jax_one_line_says_so(capsys, tmp_path):
    (tmp_path / "step").mkdir()
    (tmp_path / "step" / "step.json").write_text("{}")
    assert _command("run", str(tmp_path)) == 2
    assert "JAX is not installed" in capsys.readouterr().err
