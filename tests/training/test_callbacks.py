"""Learning rates by epoch, and stopping on request."""

import os
import signal

import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf.errors import NonFiniteError
from fsgan_tf.training.callbacks import FiniteReports, LearningRates, StopRequest
from tests.small_training import build


def test_learning_rates_drop_at_their_epochs_whatever_epoch_comes_first():
    method = build("fs_gan")
    rates = LearningRates(method, {"classifier": 0.1, "generator": 7.8e-3}, (), (60, 90), 0.1)
    for epoch, factor in [(90, 0.01), (59, 1), (60, 0.1), (89, 0.1), (0, 1), (99, 0.01)]:
        rates.on_epoch_begin(epoch)
        assert float(method.classifier_optimizer.learning_rate) == pytest.approx(0.1 * factor)
        assert float(method.generator_optimizer.learning_rate) == pytest.approx(7.8e-3 * factor)


def test_a_constant_learning_rate_stays():
    method = build("fs_gan")
    rates = {"classifier": 0.1, "generator": 7.8e-3}
    LearningRates(method, rates, ("generator",), (60, 90), 0.1).on_epoch_begin(99)
    assert float(method.classifier_optimizer.learning_rate) == pytest.approx(1e-3)
    assert float(method.generator_optimizer.learning_rate) == pytest.approx(7.8e-3)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_for_the_step_and_a_second_one_stops_at_once(number, capsys):
    before = signal.getsignal(number)
    with StopRequest() as stop:
        stop.after_step = True
        os.kill(os.getpid(), number)
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before
    assert "once more" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_outside_of_steps_a_signal_stops_at_once(number):
    with StopRequest(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), number)


def test_the_step_that_reports_nan_is_named_with_its_parts():
    reports = FiniteReports(build("standard"))
    reports.on_train_begin()
    reports.on_train_batch_end(0, {"loss": tf.constant(0.5)})
    reports.on_train_batch_end(1, {"loss": tf.constant(np.nan), "accuracy": tf.constant(0.25)})
    with pytest.raises(NonFiniteError, match=r"step 2 reports .*loss nan, accuracy 0.25"):
        reports.on_train_batch_end(2, {"loss": tf.constant(np.nan)})


def test_the_last_step_of_an_epoch_is_checked():
    reports = FiniteReports(build("standard"))
    reports.on_train_begin()
    reports.on_train_batch_end(0, {"loss": tf.constant(np.inf)})
    with pytest.raises(NonFiniteError, match="step 1 "):
        reports.on_epoch_end(0)
