"""What is evaluated: a classifier and its sources, loaded, and images that they fit."""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from fsgan_tf import devices, files
from fsgan_tf.attacks.parts.attacked_classifier import AttackedClassifier
from fsgan_tf.attacks.parts.source import TransferSource
from fsgan_tf.data import loading as data_loading
from fsgan_tf.data.split import Split
from fsgan_tf.errors import UserError
from fsgan_tf.evaluation import saved_examples
from fsgan_tf.evaluation.configuration import EvaluationConfiguration
from fsgan_tf.evaluation.request import Request, requested
from fsgan_tf.models import clean_accuracy, fit, loading
from fsgan_tf.models.classifier import Classifier
from fsgan_tf.runs.configuration import TrainingConfiguration
from fsgan_tf.runs.directory import RunDirectory


@dataclasses.dataclass(frozen=True)
class Subject:
    """A classifier, and all that an evaluation of it needs.

    Attributes:
      asked: what the evaluation is asked to do, with what the run says filled in.
      classifier: the classifier.
      copies: of it, one for each device.
      examples: the images to evaluate on.
      dataset_sha256: hash of them.
      class_names: of their classes, in the order of the labels.
      request: how to attack.
    """

    asked: EvaluationConfiguration
    classifier: Classifier
    copies: tuple[AttackedClassifier, ...]
    examples: Split
    dataset_sha256: str
    class_names: tuple[str, ...]
    request: Request

    @property
    def output_dir(self) -> Path:
        """Where the results go: where they are asked for, or else into the run."""
        return Path(self.asked.report.output_dir or RunDirectory(self.asked.named.path).evaluation)


def load(asked: EvaluationConfiguration) -> Subject:
    """Loads a classifier, its sources and the images, and checks that they fit each other.

    Raises:
      UserError: something cannot be loaded, or does not fit the rest.
    """
    named = asked.named
    placed = devices.replica_devices(asked.evaluation.strategy)
    if asked.evaluation.deterministic:
        devices.make_deterministic()
    classifier, copies = _copies(lambda: loading.load_named(named), placed)
    asked = asked.resolved(classifier.configuration)
    dataset = str(asked.data.dataset)
    if asked.report.output_dir:
        files.require_outside(asked.report.output_dir, dataset, "output_dir")
    sources, loaded = _sources(asked.evaluation.source, placed)
    request = requested(asked, sources)
    fit.require_gradients(classifier, named.path, request.attacks)
    split, class_names = _examples(asked, classifier)
    paths = [source.path for source in sources]
    for one, path in zip([classifier, *loaded], [named.path, *paths], strict=True):
        fit.require_fit(one, path, dataset, split.image_shape, class_names)
    examples = split.first(asked.data.num_examples)
    where = [*(f"--source={path}" for path in paths), named.path]
    for one, told in zip([*loaded, classifier], where, strict=True):
        _require_trained_pixels(asked, one, told, examples)
    _require_expected_accuracy(asked, classifier, examples)
    sha256 = examples.sha256()
    if asked.evaluation.verify_examples:
        saved = saved_examples.load(
            asked.evaluation.verify_examples,
            split.image_shape,
            sha256,
            request.threat_model.norm,
        )
        request = request.with_attack(saved)
    return Subject(asked, classifier, copies, examples, sha256, class_names, request)


def _copies(
    load: Callable[[], Classifier], devices: Sequence[str]
) -> tuple[Classifier, tuple[AttackedClassifier, ...]]:
    """Loads a classifier once on each device, or where TensorFlow likes if none is named."""
    if not devices:
        classifier = load()
        copy = AttackedClassifier(classifier.logits_fn, differentiable=classifier.differentiable)
        return classifier, (copy,)
    loaded = []
    for device in devices:
        with tf.device(device):
            loaded.append(load())
    return loaded[0], tuple(
        AttackedClassifier(classifier.logits_fn, device, differentiable=classifier.differentiable)
        for classifier, device in zip(loaded, devices, strict=True)
    )


def _sources(
    paths: Sequence[str], devices: Sequence[str]
) -> tuple[list[TransferSource], list[Classifier]]:
    """Loads the classifiers of `--source`, whatever their kind.

    Each is called like its folder, or by its path where others are called so too.
    """
    paths = list(dict.fromkeys(paths))
    names = [Path(path).resolve().name for path in paths]
    sources, loaded = [], []
    for path, name in zip(paths, names, strict=True):
        classifier, copies = _copies(functools.partial(loading.load, path), devices)
        configuration = classifier.configuration
        sources.append(
            TransferSource(
                name=path if names.count(name) > 1 else name,
                copies=copies,
                path=path,
                sha256=classifier.sha256,
                method=configuration.training.method if configuration else None,
                seed=configuration.training.seed if configuration else None,
            )
        )
        loaded.append(classifier)
    return sources, loaded


def _examples(
    asked: EvaluationConfiguration, classifier: Classifier
) -> tuple[Split, tuple[str, ...]]:
    data, trained = asked.data, classifier.configuration
    options: dict[str, Any] = {
        "image_size": data.image_size,
        "channels": data.channels,
        "memory_limit": data.memory_limit,
        **asked.source,
    }
    if data.split == "validation":
        options["validation_examples"] = _held_out(asked, trained)
    dataset = str(data.dataset)
    return data_loading.load_split(
        dataset,
        data.split,
        trained_on=trained is not None and _same_data(trained.data.dataset, dataset),
        class_names=data.class_names,
        known_names=classifier.class_names or (),
        **options,
    )


def _held_out(asked: EvaluationConfiguration, trained: TrainingConfiguration | None) -> int:
    """How many images the training held out; a run may say that it held out none."""
    if asked.data.validation_examples is not None:
        return asked.data.validation_examples
    if trained is not None:
        return trained.data.validation_examples
    raise UserError(
        "--split=validation does not say its validation_examples; give --validation_examples"
    )


def _same_data(first: str, second: str) -> bool:
    # Of TFDS' NAME:VERSION the name alone.
    paths = [Path(name.partition(":")[0]).expanduser().resolve() for name in (first, second)]
    return paths[0] == paths[1]


def _require_trained_pixels(
    asked: EvaluationConfiguration,
    classifier: Classifier,
    where: str,
    examples: Split,
) -> None:
    """Prints what was adapted; stops where other pixels are clearly those of the training."""
    for note in classifier.notes:
        print(f"note: {where}: {note}", file=sys.stderr)
    # Ours, also exported with the names of its classes, normalise inside.
    is_ours = classifier.configuration is not None or classifier.class_names is not None
    if is_ours or asked.model.preprocessing == "as_given":
        return
    pixels, labels = examples.images, examples.labels
    better = clean_accuracy.better_preprocessing(
        classifier, pixels, labels, batch_size=asked.evaluation.batch_size
    )
    if better is None:
        return
    advice = "give those flags, or --preprocessing=as_given to evaluate with yours"
    if where.startswith("--source="):
        advice = (
            "a source takes pixels of [0,1]: put the rest into its file, as keras.layers.Rescaling "
            "does, or give --preprocessing=as_given to attack from it as it is"
        )
    raise UserError(f"{where}: {better}; {advice}")


def _require_expected_accuracy(
    asked: EvaluationConfiguration, classifier: Classifier, examples: Split
) -> None:
    expected = asked.model.expected_clean_accuracy
    if expected is not None:
        clean_accuracy.require_expected(
            classifier,
            examples.images,
            examples.labels,
            expected,
            batch_size=asked.evaluation.batch_size,
        )
