"""The classifier of a run directory."""

from fsgan_tf.models.classifier import Classifier
from fsgan_tf.runs import restored


def load_run(path: str) -> Classifier:
    """The newest classifier of a run directory; see `runs.restored.restore_classifier`."""
    found = restored.restore_classifier(path)
    return Classifier(
        found.model,
        tuple(found.model.input_shape[1:]),
        len(found.class_names),
        weights_sha256=found.weights_sha256,
        settings=found.settings,
        class_names=found.class_names,
    )
