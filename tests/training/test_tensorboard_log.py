"""Event files: whole, in order, and taken back."""

import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fsgan_tf.training.tensorboard_log import TensorBoardLog


def _log(folder, *steps) -> TensorBoardLog:
    log = TensorBoardLog(folder)
    for step in steps:
        log.write("epoch", step, lambda step=step: tf.summary.scalar("loss", float(step)))
    return log


def _points(folder) -> list[tuple[int, float]]:
    events = EventAccumulator(str(folder)).Reload()
    return [(e.step, float(tf.make_ndarray(e.tensor_proto))) for e in events.Tensors("loss")]


def test_epochs_are_read_in_order_and_later_ones_are_taken_back(tmp_path):
    log = _log(tmp_path, 4, 8, 12)
    assert _points(tmp_path) == [(4, 4.0), (8, 8.0), (12, 12.0)]
    log.keep_until(8)
    assert _points(tmp_path) == [(4, 4.0), (8, 8.0)]
    _log(tmp_path, 8, 12)
    assert _points(tmp_path) == [(4, 4.0), (8, 8.0), (12, 12.0)]


def test_test_figures_are_taken_back_with_every_epoch_that_is_added(tmp_path):
    log = _log(tmp_path, 4)
    log.write("test", 4, lambda: tf.summary.scalar("test", 0.5))
    assert log.has("test", 4)
    log.keep_until(4)
    assert not log.has("test", 4)
    assert _points(tmp_path) == [(4, 4.0)]


def test_files_of_others_stay(tmp_path):
    other = tmp_path / "events.out.tfevents.1700000000.host.123.0.v2"
    other.touch()
    _log(tmp_path, 4).keep_until(0)
    assert list(tmp_path.iterdir()) == [other]


def test_a_failure_leaves_what_was_there(tmp_path):
    log = _log(tmp_path, 4)

    def fails():
        tf.summary.scalar("loss", 5.0)
        raise ValueError

    with pytest.raises(ValueError):
        log.write("epoch", 4, fails)
    assert _points(tmp_path) == [(4, 4.0)]
    _log(tmp_path, 8)
    assert _points(tmp_path) == [(4, 4.0), (8, 8.0)]
