"""The tool; with PyTorch and FEATURE_SCATTER_REFERENCE=FOLDER, also the comparison (slow)."""

import sys

import numpy as np
import pytest

from fsgan_tf.methods.parts import losses, optimal_transport
from fsgan_tf.networks.classifiers import wide_resnet
from tests import authors_code
from tests.commands import call
from tools import compare_feature_scatter as tool

needs_reference = authors_code.needs("Feature-Scatter")


def test_a_folder_without_the_authors_code_is_told_in_one_line(tmp_path, capsys):
    for arguments in ((), (f"--reference={tmp_path}",)):
        assert call(tool, *arguments) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert "git clone" in error


def test_missing_pytorch_is_told_in_one_line(tmp_path, capsys, monkeypatch):
    (tmp_path / "attack_methods.py").touch()
    monkeypatch.setitem(sys.modules, "torch", None)
    assert call(tool, f"--reference={tmp_path}") == 2
    assert capsys.readouterr().err.endswith("`pip install -r requirements-peers.txt`\n")


@pytest.mark.parametrize("width", [1, 2])
def test_every_variable_has_its_own_name_in_the_reference(width):
    classifier = wide_resnet.build(
        wide_resnet.Settings(classifier_depth=16, classifier_width=width),
        num_classes=10,
        image_shape=(32, 32, 3),
    )
    names = [tool.reference_name(variable.path) for variable in classifier.weights]
    assert len(set(names)) == len(names)
    assert "block2.layer.1.bn2.running_var" in names
    assert ("block1.layer.0.convShortcut.weight" in names) == (width == 2)


def test_layouts_go_there_and_back():
    kernel = np.arange(3 * 3 * 2 * 5).reshape(3, 3, 2, 5)
    theirs = tool.outputs_first(kernel)
    assert theirs[4, 1, 0, 2] == kernel[0, 2, 1, 4]
    np.testing.assert_array_equal(tool._outputs_last(theirs), kernel)
    images = np.arange(2 * 4 * 4 * 3).reshape(2, 4, 4, 3)
    np.testing.assert_array_equal(tool.channels_last(tool.channels_first(images)), images)


def test_pixels_and_noise_add_exactly_in_either_range():
    batch = tool._batch(20, seed=3)
    assert np.abs(batch.noise).max() == pytest.approx(1 / 32, rel=1e-2)
    start = batch.images + batch.noise
    np.testing.assert_array_equal(start, np.float64(batch.images) + batch.noise)
    theirs = (2 * batch.images - 1) + 2 * batch.noise
    np.testing.assert_array_equal(theirs, 2 * np.float64(start) - 1)


def test_flipped_pixels_are_told_from_rounding():
    theirs = np.zeros(10)
    ours = np.array([1 / 16, 1e-7, *np.zeros(8)])
    assert tool.flipped_share(ours, theirs) == 0.1
    assert tool.unflipped_distance(ours, theirs) == pytest.approx(1e-7)


SMALL = ("--classifier_depth=10", "--classifier_width=1", "--batch_size=16")


@pytest.mark.slow
@needs_reference
def test_our_step_is_theirs(capsys):
    assert call(tool, f"--reference={authors_code.FEATURE_SCATTER}", *SMALL) == 0
    assert capsys.readouterr().out.count("\n|") == 2 + len(tool._QUANTITIES)


@pytest.mark.slow
@needs_reference
@pytest.mark.parametrize(
    ("module", "name", "wrong", "told"),
    [
        (
            losses,
            "smoothed_targets",
            # Keras' label smoothing: 0.55 on the true class.
            lambda right: lambda labels, k, d: right(labels, k, d * (k - 1) / k),
            "smoothed labels",
        ),
        (
            optimal_transport,
            "sinkhorn_plan",
            # The plan held constant.
            lambda right: lambda *arguments: optimal_transport.tf.stop_gradient(right(*arguments)),
            "its gradient by the start",
        ),
        (
            tool,
            "SGD",
            lambda right: {**right, "weight_decay": 0.0},
            "gradient by the weights, plus L2",
        ),
    ],
)
def test_a_wrong_constant_is_beyond_tolerance(module, name, wrong, told, monkeypatch, capsys):
    monkeypatch.setattr(module, name, wrong(getattr(module, name)))
    assert call(tool, f"--reference={authors_code.FEATURE_SCATTER}", *SMALL) == 1
    assert told in capsys.readouterr().err
