"""Learning rates by epoch, and stopping on request."""

import os
import signal

import pytest

from fsgan_tf.callbacks import LearningRates, StopRequest
from tests.training import build


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
def test_a_signal_is_remembered_and_a_second_one_stops_at_once(number, capsys):
    before = signal.getsignal(number)
    with StopRequest() as stop:
        assert not stop.requested
        os.kill(os.getpid(), number)
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before
    assert "once more" in capsys.readouterr().err
