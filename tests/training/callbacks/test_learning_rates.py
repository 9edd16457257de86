"""Learning rates by epoch."""

import pytest

from fsgan_tf.training.callbacks.learning_rates import LearningRates, constant, steps
from tests.small_training import build


def _rates(**schedules):
    """The callback on a method of two networks, and that method's rates."""
    method, rates = build("fs_gan"), LearningRates(schedules)
    rates.set_model(method)

    def at(epoch):
        rates.on_epoch_begin(epoch)
        logs = {}
        rates.on_epoch_end(epoch, logs)
        optimizers = method.optimizers_by_network
        assert logs == {
            f"learning_rate_{name}": float(optimizers[name].learning_rate) for name in schedules
        }
        return logs

    return at


def test_learning_rates_drop_at_their_epochs_whatever_epoch_comes_first():
    at = _rates(classifier=steps(0.1, (60, 90), 0.1), generator=steps(7.8e-3, (60, 90), 0.1))
    for epoch, factor in [(90, 0.01), (59, 1), (60, 0.1), (89, 0.1), (0, 1), (99, 0.01)]:
        rates = at(epoch)
        assert rates["learning_rate_classifier"] == pytest.approx(0.1 * factor)
        assert rates["learning_rate_generator"] == pytest.approx(7.8e-3 * factor)


def test_a_constant_learning_rate_stays():
    rates = _rates(classifier=steps(0.1, (60, 90), 0.1), generator=constant(7.8e-3))(99)
    assert rates["learning_rate_classifier"] == pytest.approx(1e-3)
    assert rates["learning_rate_generator"] == pytest.approx(7.8e-3)
