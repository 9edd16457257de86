"""The majority of several calls, for classifiers whose answers differ from call to call.

An attack chose the images that it ends with by the answers that they got, so those answers prove
nothing. Each is classified again by `CALLS` calls, of which it has to fool most, and then by as
many others; until then attacks go on with its example, so that neither a lucky draw nor a lucky
majority ends them. Both rounds choose among the images of an example. The figures are therefore
those of a third round, which chooses nothing, on the image of each example that fooled most.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from fsgan_tf.attacks.parts.attacked_classifier import AttackedClassifier, is_misclassified

CALLS = 51  # Odd, so that one side has the majority.


class Votes(NamedTuple):
    """What several calls say of b images.

    Attributes:
      wrong: int64 `[b]`, calls that misclassify the image.
      predictions: int32 `[b]`, the class named most often; a wrong one where most calls are wrong.
    """

    wrong: np.ndarray
    predictions: np.ndarray


def votes(
    classifier: AttackedClassifier, images: tf.Tensor, labels: tf.Tensor, calls: int
) -> Votes:
    """Calls the classifier, as it was given, several times.

    Args:
      classifier: what is called.
      images: float32 `[b, h, w, c]`.
      labels: int32 `[b]` true labels.
      calls: how often.
    """
    wrong, named = np.zeros(len(labels), np.int64), []
    for _ in range(calls):
        logits = classifier.given_logits(images)
        wrong += is_misclassified(logits, labels).numpy()
        named.append(tf.argmax(logits, axis=1, output_type=tf.int32).numpy())
    if calls == 1:
        return Votes(wrong, named[0])
    answers, rows = np.stack(named), np.arange(len(labels))
    counts = np.stack([(answers == kind).sum(axis=0) for kind in range(logits.shape[1])], axis=1)
    fooled = 2 * wrong > calls
    counts[rows[fooled], labels.numpy()[fooled]] = -1
    return Votes(wrong, counts.argmax(axis=1).astype(np.int32))
