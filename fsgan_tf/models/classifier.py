"""A classifier of any origin, as a function of images in [0, 1] to logits."""

import dataclasses
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

from fsgan_tf.models.preprocessing import AS_IS, Preprocessing
from fsgan_tf.results.findings import Check

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from fsgan_tf.runs.configuration import TrainingConfiguration

LogitsFn = Callable[["tf.Tensor"], "tf.Tensor"]


@dataclasses.dataclass(frozen=True)
class Classifier:
    """A loaded classifier, and what it says of itself.

    Whatever the model takes and returns, an attack sees pixels in [0, 1] and logits, so that
    epsilon is in pixel units.

    Attributes:
      model_fn: float32 `[b, h, w, c]` images as the model takes them, for any b, to `[b, k]`
        logits; or a Keras model that does this.
      image_shape: `(h, w, c)` of its images, None for a dimension that may be any; `(n,)` where it
        takes the n values of an image in a row.
      num_classes: k; None if it does not say.
      preprocessing: makes what `model_fn` takes of pixels in [0, 1].
      weights_sha256: hash of its weights, where it comes from a run.
      files_sha256: hash of its files' contents, where it comes from files.
      configuration: what it was trained with, where it comes from a run.
      class_names: k names in the order of the logits; None if it does not say.
      notes: a sentence on each thing that was adapted, for the user to read.
      upper_bound: a check that warns why a robust accuracy measured through its logits may be too
        high; None where attacks see all that they need.
      differentiable: whether gradients flow through it; without them only attacks that need none
        mean anything.
    """

    model_fn: "keras.Model | LogitsFn"
    image_shape: tuple[int | None, ...]
    num_classes: int | None
    preprocessing: Preprocessing = AS_IS
    weights_sha256: str | None = None
    files_sha256: str | None = None
    configuration: "TrainingConfiguration | None" = None
    class_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    upper_bound: Check | None = None
    differentiable: bool = True

    @property
    def sha256(self) -> str:
        """What tells it from others: the hash of its weights or, where there is none, of its files.

        It is `classifier_sha256` in results.json.
        """
        return self.weights_sha256 or self.files_sha256 or ""

    @functools.cached_property
    def logits_fn(self) -> "keras.Model | LogitsFn":
        """float32 `[b, h, w, c]` images in [0, 1] to `[b, k]` logits, or a Keras model."""
        if self.preprocessing == AS_IS:
            return self.model_fn
        prepare, model_fn = self.preprocessing, self.model_fn

        def logits_fn(images: "tf.Tensor") -> "tf.Tensor":
            return model_fn(prepare(images))

        return logits_fn

    def with_preprocessing(self, preprocessing: Preprocessing) -> "Classifier":
        """The same model, given other pixels."""
        return dataclasses.replace(self, preprocessing=preprocessing)
