"""What is refused before anything is built."""

import pytest

from fsgan_tf.errors import UserError
from fsgan_tf.runs.settings import TrainingSettings
from fsgan_tf.training import setup


@pytest.mark.parametrize(("examples", "replicas"), [(40, 1), (64, 2), (41, 1)])
def test_a_smaller_last_batch_of_one_replica_or_none_at_all_is_taken(examples, replicas):
    setup.require_a_batch(TrainingSettings(batch_size=16, last_batch="keep"), examples, replicas)


def test_a_smaller_batch_is_not_shared_among_replicas():
    keeps = TrainingSettings(batch_size=16, last_batch="keep")
    for examples in (40, 36):
        with pytest.raises(UserError, match="to split between 2 replicas.*--last_batch=drop"):
            setup.require_a_batch(keeps, examples, replicas=2)
        setup.require_a_batch(TrainingSettings(batch_size=16), examples, replicas=2)
