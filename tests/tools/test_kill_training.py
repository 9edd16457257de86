"""A training that is killed ends as one that is not: the tool's proof, in small."""

import shutil

import pytest
from tensorflow.python.framework.config import disable_op_determinism

from tests.small_training import SMALL
from tools import kill_training

TINY = [
    "--method=standard", "--train_examples=64", "--batch_size=16", "--epochs=2",
    "--eval_examples=8", "--precision=float32", "--deterministic", f"--architecture={SMALL}",
]  # fmt: skip


def _moments():
    """In the write of a checkpoint, then soon after training has begun again."""
    yield kill_training.Moment(kill_training._in_checkpoint_write, 0.0)
    yield kill_training.Moment(kill_training._in_training, 0.5)


@pytest.fixture
def determinism():
    yield
    disable_op_determinism()


@pytest.mark.slow
def test_a_killed_training_is_the_training_and_differences_are_found(
    processes, determinism, tmp_path
):
    """What is killed are processes; what is not runs in this one, which is the quicker."""
    reference, killed = tmp_path / "reference", tmp_path / "killed"
    kill_training.train(reference, TINY)
    kills = kill_training.kill_until_done(killed, TINY, _moments(), limit=2)
    assert len(kills) == 2
    assert [module for module, *_ in processes] == ["fsgan_tf.train"] * 2
    assert kill_training.differences(reference, killed) == []

    doubled = next((killed / "tensorboard").glob("*.epoch"))
    shutil.copy(doubled, doubled.with_name("events.out.tfevents.0000000001.epoch"))
    metrics = killed / "metrics.jsonl"
    metrics.write_text(metrics.read_text().replace('"step": 4', '"step": 5'))
    (killed / "checkpoints" / "epoch_0001_step_000000.npz").unlink()
    assert kill_training.differences(reference, killed) == [
        "checkpoints",
        "metrics.jsonl",
        "TensorBoard",
    ]
