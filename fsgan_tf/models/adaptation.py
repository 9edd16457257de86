"""The classifier that a model of a file is, once it is fed with images."""

from pathlib import Path

from fsgan_tf.models import scores
from fsgan_tf.models.classifier import Classifier
from fsgan_tf.models.export_folder import read_class_names
from fsgan_tf.models.inputs import ImageFunction
from fsgan_tf.models.preprocessing import Preprocessing


def classifier_of(
    fed: ImageFunction,
    output: str,
    num_outputs: int | None,
    preprocessing: Preprocessing,
    *,
    files_sha256: str | None,
    names_file: Path | None = None,
    notes: tuple[str, ...] = (),
) -> Classifier:
    """A classifier with logits of at least two classes.

    Args:
      fed: the model as a function of images.
      output: what it returns, `logits` or `probabilities`.
      num_outputs: how many scores it returns for an image; None if not known.
      preprocessing: from pixels in [0, 1] to what it takes.
      files_sha256: hash of its files' contents, if it is from files.
      names_file: where an export has the names of the classes.
      notes: a sentence on each thing that was adapted before it was fed.
    """
    num_classes = scores.num_classes(num_outputs)
    binary = (scores.BINARY_NOTE,) if num_outputs == 1 else ()
    return Classifier(
        scores.as_logits(fed.call, output, num_outputs),
        fed.image_shape,
        num_classes,
        preprocessing,
        files_sha256=files_sha256,
        class_names=read_class_names(names_file, num_classes) if names_file else None,
        notes=(*notes, *binary, *fed.notes),
        upper_bound=scores.upper_bound(output, fed.differentiable),
        differentiable=fed.differentiable,
    )
