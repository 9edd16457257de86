"""Stopping on request."""

import os
import signal

import pytest

from fsgan_tf.training.stop_request import StopRequest


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
    assert "a second signal" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_outside_of_steps_a_signal_stops_at_once(number):
    with StopRequest(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), number)
