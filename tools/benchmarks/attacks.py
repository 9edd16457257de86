"""Timings of attacks: ours beside other libraries', and how they grow."""

import dataclasses
import functools
import importlib
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.timing import Section
from fsgan_tf.errors import UserError

if TYPE_CHECKING:
    import keras

_BATCH_SIZE = 128
_MANY_CLASSES = 100


@dataclasses.dataclass(frozen=True)
class Task:
    """What is attacked.

    Attributes:
      run_dir: a trained run.
      data_dir: folder of TFDS data; the run's own where None.
      num_examples: the first N test images.
      steps: of PGD.
      restarts: of PGD.
      rounds: timings of each.
    """

    run_dir: str
    data_dir: str | None
    num_examples: int
    steps: int
    restarts: int
    rounds: int


@dataclasses.dataclass(frozen=True)
class _Examples:
    """The classifier and what it is attacked on: float32 images in [0, 1], int32 labels."""

    model: "keras.Model"
    images: np.ndarray
    labels: np.ndarray
    epsilon: float
    num_classes: int


# An attacker returns the share of the examples that withstood it.
_Attacker = Callable[[], float]


def pgd(task: Task) -> Section:
    """PGD with restarts: ours, CleverHans as shipped, Foolbox, ART."""
    examples = _load(task)
    step_size = examples.epsilon / 4
    peers = {
        "CleverHans": lambda: _cleverhans(task, examples, step_size),
        "Foolbox": lambda: _foolbox(task, examples, step_size),
        "ART": lambda: _art_pgd(task, examples, step_size),
    }
    title = f"PGD-{task.steps}, {task.restarts} restarts"
    return _compare(title, task, _ours(examples, [f"pgd{task.steps}"], task.restarts), peers)


def strong(task: Task) -> Section:
    """The strong suite beside ART's AutoAttack."""
    examples = _load(task)
    names = ["apgd_ce", "apgd_t", "fab_t", "square"]
    peers = {"ART's AutoAttack": lambda: _art_auto_attack(examples)}
    return _compare("The strong suite", task, _ours(examples, names, 1), peers)


def growth(task: Task) -> Section:
    """Seconds of PGD against the number of images, and of a network of 100 classes."""
    from fsgan_tf.networks.classifiers import wide_resnet

    examples = _load(task)
    rows, timings = [], {}
    sizes = sorted({max(1, task.num_examples // part) for part in (4, 2, 1)})
    for size in sizes:
        some = dataclasses.replace(
            examples, images=examples.images[:size], labels=examples.labels[:size]
        )
        seconds, _ = _timed(_ours(some, [f"pgd{task.steps}"], 1))
        rows.append([f"{size} images", f"{seconds:.1f}"])
        timings[f"{size} images"] = seconds
    for classes in (examples.num_classes, _MANY_CLASSES):
        model = wide_resnet.build(
            wide_resnet.Settings(classifier_depth=10, classifier_width=2),
            num_classes=classes,
            image_shape=examples.images.shape[1:],
        )
        # Nothing it attacks is fooled by chance alone: the labels are its own answers.
        labels = np.asarray(model(examples.images[:_BATCH_SIZE], training=False)).argmax(axis=1)
        one = _Examples(
            model,
            examples.images[:_BATCH_SIZE],
            labels.astype(np.int32),
            1e-6,
            classes,
        )
        for suite in (["apgd_ce"], ["apgd_t"]):
            seconds, _ = _timed(_ours(one, suite, 1))
            rows.append([f"{suite[0]}, {classes} classes", f"{seconds:.1f}"])
            timings[f"{suite[0]}, {classes} classes"] = seconds
    return Section("Growth of attacks", ("what", "seconds"), rows, [], timings)


def _compare(
    title: str, task: Task, ours: _Attacker, peers: dict[str, Callable[[], _Attacker]]
) -> Section:
    attackers: dict[str, _Attacker] = {"ours": ours}
    notes = []
    for name, make in peers.items():
        try:
            attackers[name] = make()
        except ImportError as error:
            notes.append(
                f"{name} is not installed ({error.name}): pip install -r requirements-peers.txt"
            )
    seconds: dict[str, list[float]] = {name: [] for name in attackers}
    accuracies: dict[str, float] = {}
    for _ in range(task.rounds):
        for name, attack in attackers.items():
            print(f"{title}: {name}", file=sys.stderr, flush=True)
            taken, accuracies[name] = _timed(attack)
            seconds[name].append(taken)
    medians = {name: float(np.median(values)) for name, values in seconds.items()}
    rows = [
        [
            name,
            f"{medians[name]:.1f}",
            f"{medians[name] / medians['ours']:.1f}",
            f"{accuracies[name]:.1%}",
        ]
        for name in attackers
    ]
    return Section(
        f"{title}, {task.num_examples} images",
        ("code", "seconds", "times ours", "robust accuracy"),
        rows,
        [*notes, "Compiling is included: a user waits for it too."],
        {"seconds": seconds, "accuracies": accuracies},
    )


def _timed(attack: _Attacker) -> tuple[float, float]:
    begin = time.perf_counter()
    accuracy = attack()
    return time.perf_counter() - begin, accuracy


def _load(task: Task) -> _Examples:
    from fsgan_tf.data import loading
    from fsgan_tf.runs.restored import restore_classifier

    restored = restore_classifier(task.run_dir)
    options = restored.configuration.data_options()
    if task.data_dir:
        options["data_dir"] = task.data_dir
    test, _ = loading.load_split(restored.configuration.data.dataset, "test", **options)
    if len(test) < task.num_examples:
        raise UserError(f"--num_examples={task.num_examples}: there are {len(test)} test images")
    examples = test.first(task.num_examples)
    images = examples.images.astype(np.float32) / np.float32(255)
    return _Examples(
        restored.model,
        images,
        examples.labels,
        restored.configuration.training.epsilon,
        len(restored.class_names),
    )


def _ours(examples: _Examples, names: list[str], restarts: int) -> _Attacker:
    from fsgan_tf.attacks.registry import by_names
    from fsgan_tf.evaluation.engine import Evaluator
    from fsgan_tf.threat_model import ThreatModel

    def run() -> float:
        evaluator = Evaluator(
            examples.model, ThreatModel(examples.epsilon), min(_BATCH_SIZE, len(examples.images))
        )
        attacks = by_names(names, examples.epsilon, restarts=restarts)
        return evaluator.attack(examples.images, examples.labels, attacks).worst_case_accuracy

    return run


def _cleverhans(task: Task, examples: _Examples, step_size: float) -> _Attacker:
    import tensorflow as tf
    from cleverhans.tf2.attacks.projected_gradient_descent import projected_gradient_descent

    # No function: CleverHans' tf.function has AutoGraph read it, which warns where it cannot.
    logits = functools.partial(examples.model, training=False)

    def run() -> float:
        robust = np.ones(len(examples.labels), bool)
        for _ in range(task.restarts):
            for rows in _batches(len(robust)):
                labels = tf.constant(examples.labels[rows])
                adversarial = projected_gradient_descent(
                    logits,
                    tf.constant(examples.images[rows]),
                    examples.epsilon,
                    step_size,
                    task.steps,
                    np.inf,
                    clip_min=0.0,
                    clip_max=1.0,
                    y=labels,
                    rand_init=True,
                    sanity_checks=False,
                )
                robust[rows] &= _answers(examples, adversarial) == examples.labels[rows]
        return float(np.mean(robust))

    return run


def _foolbox(task: Task, examples: _Examples, step_size: float) -> _Attacker:
    import tensorflow as tf

    foolbox = importlib.import_module("foolbox")
    attack = foolbox.attacks.LinfPGD(
        abs_stepsize=step_size, steps=task.steps, random_start=True
    ).repeat(task.restarts)

    def run() -> float:
        model = foolbox.TensorFlowModel(examples.model, bounds=(0, 1))
        robust = np.ones(len(examples.labels), bool)
        for rows in _batches(len(robust)):
            images = tf.constant(examples.images[rows])
            # Foolbox 3.3.4 fails on other integers under NumPy 2.
            labels = tf.constant(examples.labels[rows], tf.int64)
            _, _, success = attack(model, images, labels, epsilons=examples.epsilon)
            robust[rows] = ~success.numpy()
        return float(np.mean(robust))

    return run


def _art_pgd(task: Task, examples: _Examples, step_size: float) -> _Attacker:
    evasion = importlib.import_module("art.attacks.evasion")

    def run() -> float:
        attack = evasion.ProjectedGradientDescentTensorFlowV2(
            _art_classifier(examples),
            eps=examples.epsilon,
            eps_step=step_size,
            max_iter=task.steps,
            num_random_init=task.restarts,
            batch_size=_BATCH_SIZE,
            verbose=False,
        )
        adversarial = attack.generate(examples.images, examples.labels)
        return float(np.mean(_answers(examples, adversarial) == examples.labels))

    return run


def _art_auto_attack(examples: _Examples) -> _Attacker:
    """As shipped: APGD on two losses and Square, 5 restarts each, and DeepFool; no targets."""
    evasion = importlib.import_module("art.attacks.evasion")
    importlib.import_module("multiprocess")  # AutoAttack imports it when it runs.

    def run() -> float:
        attack = evasion.AutoAttack(
            _art_classifier(examples), eps=examples.epsilon, batch_size=_BATCH_SIZE
        )
        adversarial = attack.generate(examples.images, examples.labels)
        return float(np.mean(_answers(examples, adversarial) == examples.labels))

    return run


def _art_classifier(examples: _Examples) -> Any:
    import keras

    estimators = importlib.import_module("art.estimators.classification")
    return estimators.TensorFlowV2Classifier(
        examples.model,
        nb_classes=examples.num_classes,
        input_shape=examples.images.shape[1:],
        loss_object=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        clip_values=(0, 1),
    )


def _batches(count: int) -> list[np.ndarray]:
    return [
        np.arange(first, min(first + _BATCH_SIZE, count)) for first in range(0, count, _BATCH_SIZE)
    ]


def _answers(examples: _Examples, images: Any) -> np.ndarray:
    logits = [
        np.asarray(examples.model(np.asarray(images)[rows], training=False))
        for rows in _batches(len(images))
    ]
    return np.concatenate(logits).argmax(axis=1)
