"""What a training says when it ends."""

import pytest

from fsgan_tf.runs.directory import RunDirectory
from fsgan_tf.training.finish import watch_command


@pytest.mark.parametrize(
    ("path", "command"),
    [
        ("runs/a", "tensorboard --logdir=runs"),
        ("my runs/a", "tensorboard '--logdir=my runs'"),
        ("$(x)/a", "tensorboard '--logdir=$(x)'"),
    ],
)
def test_the_command_to_watch_a_run_can_be_pasted_into_a_shell(path, command):
    assert watch_command(RunDirectory(path)) == command
