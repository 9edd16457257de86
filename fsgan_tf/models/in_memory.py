"""Classifiers in memory, read as those of files are."""

import functools
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from fsgan_tf.errors import UserError
from fsgan_tf.models import scores
from fsgan_tf.models.classifier import Classifier
from fsgan_tf.models.keras_files import keras_classifier
from fsgan_tf.models.preprocessing import Preprocessing, for_input
from fsgan_tf.models.settings import OUTPUTS

Numbers = float | Sequence[float]


def adapted(
    model: Any,
    *,
    input_range: str | None = None,
    mean: Numbers | None = None,
    std: Numbers | None = None,
    channel_order: str | None = None,
    output: str | None = None,
    output_name: str | None = None,
) -> Classifier:
    """A model that takes other pixels than [0, 1], or ends in probabilities.

    Args:
      model: a Keras model, or a function of images as it takes them to `[b, k]` scores. A
        subclassed model is called as a function is, since Keras does not know what it does.
      input_range: as `--input_range`; `0,1` by default, `0,255` where a Keras model takes integers.
      mean: subtracted, in units of `input_range`: one number, or one a channel.
      std: divided by, likewise.
      channel_order: `rgb` (by default) or `bgr`.
      output: `logits` (by default) or `probabilities`. A final softmax or sigmoid of a Keras model
        is cut off all the same.
      output_name: name of the output to take, of a Keras model with several; by default the one
        named as `output` says.

    Raises:
      UserError: an option is none of these, or the model is no classifier of images.
    """
    if output not in (None, *OUTPUTS):
        raise UserError(f"output is {output!r}; it must be one of {', '.join(OUTPUTS)}")
    options: dict[str, Any] = {
        "input_range": input_range,
        "mean": _numbers(mean),
        "std": _numbers(std),
        "channel_order": channel_order,
    }
    given = {name: value for name, value in options.items() if value is not None}
    preprocessing = Preprocessing(**given)
    if getattr(model, "inputs", None):
        return keras_classifier(
            model, preprocessing=preprocessing, output=output, output_name=output_name
        )
    if output_name:
        raise UserError("output_name is for functional Keras models, whose outputs have names")
    if isinstance(model, keras.Model):
        model = functools.partial(model, training=False)
    output = output or "logits"

    def call(images: tf.Tensor) -> tf.Tensor:
        answer = model(images)
        if not tf.is_tensor(answer):
            kind = type(answer).__name__
            raise UserError(f"it returns a {kind}, through which no gradient flows")
        return answer

    return Classifier(
        scores.as_logits(call, output, None),
        (None, None, None),
        None,
        for_input(preprocessing, "float32"),
        upper_bound=scores.upper_bound(output, differentiable=True),
    )


def _numbers(values: Numbers | None) -> tuple[float, ...] | None:
    if values is None:
        return None
    return tuple(np.ravel(values).astype(float).tolist())
