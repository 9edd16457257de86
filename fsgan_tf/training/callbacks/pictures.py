"""Pictures of what a method trains on."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from fsgan_tf.reporting.example_pictures import magnified
from fsgan_tf.training.callbacks.examples import as_tensors
from fsgan_tf.training.callbacks.made_once import MadeOnce
from fsgan_tf.training.tensorboard_log import TensorBoardLog

_SHOWN = 8
_ENLARGEMENT = 3
# TensorBoard sorts by name: pictures come after the curves of the evaluation.
_TAG = "pictures/clean_adversarial_perturbation"
_CAPTION = (
    "Held-out images; the same as the method's own adversary changes them; and the change, "
    "magnified: grey is none, black and white are the whole of epsilon, in l2 the largest change."
)


class Pictures(MadeOnce):
    """Writes an epoch's pictures to TensorBoard: clean, adversarial, and the difference magnified.

    The adversarial images are the method's own, of the classifier and the generator as they are.
    """

    def __init__(
        self, log: TensorBoardLog, images: np.ndarray, labels: np.ndarray, *, seed: int = 0
    ):
        """Takes the event files to write to and the held-out images of one batch.

        Args:
          log: the event files.
          images: `[b, h, w, c]`, uint8 in [0, 255] or float32 in [0, 1]; of a batch as the method
            trains with, the first eight are shown.
          labels: whole numbers `[b]`.
          seed: of the method's random draws.
        """
        super().__init__()
        self._log = log
        self._images, self._labels = as_tensors(images, labels)
        self._seed = seed

    def make(self) -> Any:
        """The trace of the method's adversary."""
        return tf.function(self.model.perturb, autograph=False)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes the pictures.

        Raises:
          OSError: they cannot be written.
        """
        del epoch, logs
        step = int(self.model.optimizer.iterations.numpy())
        self._log.write("pictures", step, self._draw)

    def _draw(self) -> None:
        images = self._images
        adversarial = self.made(images, self._labels, tf.constant([self._seed, 0]))
        changes = tf.stack(
            [magnified(x, self.model.threat_model) for x in (adversarial - images).numpy()]
        )
        strips = [_strip(x[:_SHOWN]) for x in (images, adversarial, changes)]
        tf.summary.image(_TAG, tf.concat(strips, axis=0)[tf.newaxis], description=_CAPTION)


def _strip(images: tf.Tensor) -> tf.Tensor:
    """Images `[n, h, w, c]` side by side, enlarged: `[h', n * w', c]`."""
    large = tf.repeat(tf.repeat(images, _ENLARGEMENT, axis=1), _ENLARGEMENT, axis=2)
    return tf.clip_by_value(tf.concat(tf.unstack(large), axis=1), 0, 1)
