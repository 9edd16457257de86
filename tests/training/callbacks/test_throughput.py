"""Rates and the bar count images, of a smaller last batch too."""

import pytest

from fsgan_tf.training.callbacks import ProgressBar, Throughput, throughput


def test_an_epochs_last_step_counts_the_images_that_it_has(monkeypatch):
    now = iter([100.0, 104.0])
    monkeypatch.setattr(throughput.time, "monotonic", lambda: next(now))
    callback, logs = Throughput(16, less_at_last=6), {}
    callback.on_epoch_begin(0)
    for batch in range(3):
        callback.on_train_batch_end(batch)
    callback.on_epoch_end(0, logs)
    assert logs == {"images_per_second": (16 + 16 + 10) / 4}


@pytest.mark.parametrize("done_steps", [0, 2, 4])
def test_the_bar_ends_at_its_end(done_steps, monkeypatch):
    bar = ProgressBar(
        2, steps_per_epoch=3, images_per_step=16, images_per_epoch=42, done_steps=done_steps
    )
    counted = [bar._bar.n]
    monkeypatch.setattr(bar._bar, "update", counted.append)
    for step in range(6 - done_steps):
        bar.on_train_batch_end(step)
    assert sum(counted) == bar._bar.total == 84
    bar.close()
