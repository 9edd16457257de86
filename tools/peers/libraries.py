"""The PGD of Foolbox and of ART, on the exported SavedModel."""

import importlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from peers.task import Attack, Task, fooled

if TYPE_CHECKING:
    import tensorflow as tf

_PGD_STEPS = 20
_CONFIDENCE = 50.0


def foolbox(task: Task) -> dict[str, Attack]:
    """Foolbox's PGD of the norm; the margin by overriding its loss, as it provides for."""
    import tensorflow as tf

    library = importlib.import_module("foolbox")
    carlini_wagner = importlib.import_module("foolbox.attacks.carlini_wagner")

    names = {"linf": "LinfPGD", "l2": "L2PGD", "l1": "SparseL1DescentAttack"}
    pgd = getattr(library.attacks, names[task.norm])

    class MarginPGD(pgd):  # type: ignore[misc, valid-type]
        """Climbs minus the margin, with the other class that its own C&W attack takes."""

        def get_loss_fn(self, model: Any, labels: Any) -> Callable[[Any], Any]:
            def loss(images: Any) -> Any:
                logits = model(images)
                rows = range(len(labels))
                others = carlini_wagner.best_other_classes(logits, labels)
                lead = logits[rows, labels] - logits[rows, others]
                return -(lead + _CONFIDENCE).maximum(0).sum()

            return loss

    options = {"abs_stepsize": _step_size(task), "steps": _PGD_STEPS, "random_start": True}
    model = library.TensorFlowModel(
        _saved_logits(task), bounds=(0, 1), device=tf.constant(0.0).device
    )

    def attack(attacker: Any) -> Attack:
        def adversarial(images: np.ndarray, labels: np.ndarray) -> Iterator[np.ndarray]:
            tf.random.set_seed(task.seed)
            for start in range(0, len(labels), task.batch_size):
                rows = slice(start, start + task.batch_size)
                # int64: it compares them with an argmax, and mixing types breaks on NumPy 2.
                pixels, classes = tf.constant(images[rows]), tf.constant(labels[rows], tf.int64)
                _, clipped, _ = attacker(model, pixels, classes, epsilons=task.epsilon)
                yield clipped.numpy()

        return lambda images, labels: fooled(
            task, np.concatenate(list(adversarial(images, labels))), images, labels
        )

    return {
        "pgd20": attack(pgd(**options)),
        "cw20": attack(MarginPGD(**options)),
    }


def art(task: Task) -> dict[str, Attack]:
    """ART's PGD for TensorFlow 2; the margin as the classifier's loss."""
    import keras
    import tensorflow as tf

    evasion = importlib.import_module("art.attacks.evasion")
    estimators = importlib.import_module("art.estimators.classification")
    logits_fn = _saved_logits(task)

    def margin(one_hot: "tf.Tensor", logits: "tf.Tensor") -> "tf.Tensor":
        true = tf.reduce_sum(one_hot * logits, axis=1)
        others = tf.reduce_max(logits - one_hot * 1e6, axis=1)
        return -tf.reduce_sum(tf.nn.relu(true - others + _CONFIDENCE))

    def attack(loss: Any) -> Attack:
        classifier = estimators.TensorFlowV2Classifier(
            lambda images, training: logits_fn(images),
            nb_classes=len(task.restored.class_names),
            input_shape=task.images.shape[1:],
            loss_object=loss,
            clip_values=(0, 1),
        )
        attacker = evasion.ProjectedGradientDescentTensorFlowV2(
            classifier,
            eps=task.epsilon,
            eps_step=task.epsilon / 4,
            max_iter=_PGD_STEPS,
            num_random_init=1,
            batch_size=task.batch_size,
            verbose=False,
        )

        def run(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
            np.random.seed(task.seed)  # noqa: NPY002 (the generator that ART draws from)
            return fooled(task, attacker.generate(images, labels), images, labels)

        return run

    return {
        "pgd20": attack(keras.losses.CategoricalCrossentropy(from_logits=True)),
        "cw20": attack(margin),
    }


def _step_size(task: Task) -> float:
    """Of PGD-20, as ours has it by default."""
    from fsgan_tf.attacks.parts.settings import default_step

    return default_step(task.norm, task.epsilon, _PGD_STEPS)


def _saved_logits(task: Task) -> Callable[["tf.Tensor"], "tf.Tensor"]:
    """The exported SavedModel's, as a user of another library would call it."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(task.saved_model))
    return lambda images: loaded.signatures["serving_default"](image=images)["logits"]
