"""The classifier of a run, from its recorded flags and newest checkpoint."""

import numpy as np
import pytest

from fsgan_tf.cli import training_flags
from fsgan_tf.errors import UserError
from fsgan_tf.networks.weights import weights_sha256
from fsgan_tf.runs.checkpoints import Progress
from fsgan_tf.runs.directory import RunDirectory
from fsgan_tf.runs.restored import restore_classifier
from tests.small_training import IMAGE_SHAPE, build

CLASSES = tuple("abcde")


def _run(tmp_path, method, *epochs) -> RunDirectory:
    run = RunDirectory(tmp_path / "run")
    values = training_flags.parse(["--method=standard"])
    run.prepare(values)
    for epoch in epochs:
        run.checkpoints.save(method, Progress(epoch, 0, CLASSES, IMAGE_SHAPE))
    return run


@pytest.mark.parametrize("content", [None, "--no_such_flag=1\n", "--epochs=many\n"])
def test_a_folder_that_is_no_run_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / "flags.txt").write_text(content)
    with pytest.raises(UserError, match=str(tmp_path)):
        restore_classifier(tmp_path)


def test_a_run_without_checkpoint_says_so(tmp_path):
    method = build("standard")
    with pytest.raises(UserError, match="no checkpoint of a step yet"):
        restore_classifier(_run(tmp_path, method).path)
    with pytest.raises(UserError, match="no checkpoint of a step yet"):
        restore_classifier(_run(tmp_path, method, 0).path)


def test_the_restored_classifier_is_the_trained_one_in_float32(tmp_path):
    method = build("standard")
    run = _run(tmp_path, method, 1)
    restored = restore_classifier(run.path)
    images = np.random.default_rng(0).random((4, *IMAGE_SHAPE), np.float32)
    np.testing.assert_array_equal(
        restored.model(images, training=False),
        method.networks["classifier"](images, training=False),
    )
    assert restored.class_names == CLASSES
    assert restored.weights_sha256 == weights_sha256(method.classifier)
