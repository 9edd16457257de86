"""What a training says when it starts."""

import pytest

from fsgan_tf.runs.settings import TrainingSettings
from fsgan_tf.training.start import without_drops


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
