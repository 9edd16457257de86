"""A training ends at the first step that reports NaN or infinity."""

import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf.errors import NonFiniteError
from fsgan_tf.training.callbacks.finite_reports import FiniteReports
from tests.small_training import build


@pytest.fixture
def reports():
    reports = FiniteReports()
    reports.set_model(build("standard"))
    reports.on_train_begin()
    return reports


def test_the_step_that_reports_nan_is_named_with_its_parts(reports):
    reports.on_train_batch_end(0, {"loss": tf.constant(0.5)})
    reports.on_train_batch_end(1, {"loss": tf.constant(np.nan), "accuracy": tf.constant(0.25)})
    with pytest.raises(NonFiniteError, match=r"step 2 reports .*loss nan, accuracy 0.25"):
        reports.on_train_batch_end(2, {"loss": tf.constant(np.nan)})


def test_the_last_step_of_an_epoch_is_checked(reports):
    reports.on_train_batch_end(0, {"loss": tf.constant(np.inf)})
    with pytest.raises(NonFiniteError, match="step 1 "):
        reports.on_epoch_end(0)
