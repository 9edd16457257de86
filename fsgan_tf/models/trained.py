"""The classifier of a run directory, or one that comes with the package."""

from fsgan_tf.models.classifier import Classifier
from fsgan_tf.runs import pretrained, restored


def load_run(path: str) -> Classifier:
    """The newest classifier of a run directory; see `runs.restored.restore_classifier`."""
    return _of(restored.restore_classifier(path))


def load_pretrained(name: str) -> Classifier:
    """A packaged classifier; see `runs.pretrained.restore`."""
    return _of(pretrained.restore(name))


def _of(found: restored.RestoredClassifier) -> Classifier:
    return Classifier(
        found.model,
        tuple(found.model.input_shape[1:]),
        len(found.class_names),
        weights_sha256=found.weights_sha256,
        configuration=found.configuration,
        class_names=found.class_names,
    )
