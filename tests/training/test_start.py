"""What a training says when it starts."""

from types import SimpleNamespace

import pytest

from fsgan_tf.errors import UserError
from fsgan_tf.runs.checkpoints import Progress
from fsgan_tf.runs.directory import RunDirectory
from fsgan_tf.runs.settings import TrainingSettings
from fsgan_tf.training.start import _require_fit, without_drops


@pytest.mark.parametrize(
    ("epochs", "drops", "factor", "words"),
    [
        (2, (10, 13), 0.1, " (the learning rate never drops: --lr_decay_epochs=10,13)"),
        (10, (10, 13), 0.1, " (the learning rate never drops: --lr_decay_epochs=10,13)"),
        (11, (10, 13), 0.1, ""),
        (2, (), 0.1, ""),
        (2, (10, 13), 1.0, ""),
    ],
)
def test_drops_that_a_training_never_reaches_are_named(epochs, drops, factor, words):
    settings = TrainingSettings(epochs=epochs, lr_decay_epochs=drops, lr_decay_factor=factor)
    assert without_drops(settings) == words


@pytest.mark.parametrize(
    ("progress", "words"),
    [
        (Progress(0, 2, ("a", "b"), (8, 8, 1)), None),
        (Progress(0, 3, ("a", "b"), (8, 8, 1)), "an epoch that has 3 steps here; resume it with"),
        (Progress(0, 0, ("a", "b"), (8, 8, 1), replicas=1), None),
        (Progress(0, 0, ("a", "b"), (8, 8, 1), replicas=2), "on 2 devices and there are 1 here"),
        (Progress(0, 0, ("a", "b", "c"), (8, 8, 1)), "of the classes a, b, c; x has"),
        (Progress(0, 0, ("a", "b"), (8, 8, 3)), "give another --run_dir"),
    ],
)
def test_a_training_goes_on_where_its_data_and_its_steps_are_those_it_began_with(progress, words):
    data = SimpleNamespace(name="x", class_names=("a", "b"), image_shape=(8, 8, 1))
    training = SimpleNamespace(run=RunDirectory("runs/a"), dataset=data, steps_per_epoch=3)
    training.strategy = SimpleNamespace(num_replicas_in_sync=1)
    if words is None:
        _require_fit(training, progress)
        return
    with pytest.raises(UserError, match=words):
        _require_fit(training, progress)
