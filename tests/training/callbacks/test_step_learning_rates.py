"""Learning rates by step."""

import math

import numpy as np
import pytest

from fsgan_tf.training.callbacks.step_learning_rates import (
    StepLearningRates,
    constant_rate,
    cosine,
    one_cycle,
)
from tests.small_training import build_small, dataset


def test_one_cycle_is_a_triangle_over_all_steps():
    rates = [one_cycle(0.2, 10)(step) for step in range(12)]
    expected = np.interp(range(12), [0, 5, 10], [0, 0.2, 0])
    np.testing.assert_allclose(rates, expected, atol=1e-12)


def test_cosine_is_torchs_cosine_annealing():
    """Its recursion, as torch.optim.lr_scheduler.CosineAnnealingLR has it, with eta_min 0."""
    expected, total = [0.2], 10
    for step in range(1, total + 1):
        numerator = 1 + math.cos(math.pi * step / total)
        expected.append(expected[-1] * numerator / (1 + math.cos(math.pi * (step - 1) / total)))
    rates = [cosine(0.2, total)(step) for step in range(total + 1)]
    np.testing.assert_allclose(rates, expected, atol=1e-12)
    assert cosine(0.2, total)(total + 3) == pytest.approx(0)


@pytest.mark.parametrize("done_steps", [0, 5])
def test_rates_are_those_of_the_step_whatever_was_done_before(done_steps):
    method, seen = build_small("fs_gan", attack_iterations=1), []
    method.run_eagerly = True  # Quicker than a trace.

    class Rates(StepLearningRates):
        def on_train_batch_end(self, batch, logs=None):
            optimizers = self.model.optimizers_by_network
            seen.append([float(optimizers[n].learning_rate) for n in ("classifier", "generator")])

    schedules = {"classifier": cosine(0.1, 20), "generator": constant_rate(0.01)}
    rates = Rates(schedules, done_steps)
    history = method.fit(dataset(2), epochs=2, callbacks=[rates], shuffle=False, verbose=0).history
    expected = [cosine(0.1, 20)(step) for step in range(done_steps, done_steps + 4)]
    np.testing.assert_allclose(seen, [[rate, 0.01] for rate in expected], rtol=1e-6)
    np.testing.assert_allclose(history["learning_rate_classifier"], expected[1::2], rtol=1e-6)
