"""Measures the robust accuracy of a classifier: a run's, a SavedModel's or a Keras file's."""

import dataclasses
import hashlib
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from fsgan_tf import cli, quiet, settings
from fsgan_tf.errors import RunError, UserError

if TYPE_CHECKING:
    import tensorflow as tf

    from fsgan_tf.attacks.attack import Attack
    from fsgan_tf.attacks.result import Result
    from fsgan_tf.data import Split
    from fsgan_tf.report import Manifest
    from fsgan_tf.threat_model import ThreatModel

_MODEL_FLAGS = ("run_dir", "saved_model", "keras_model")


@dataclasses.dataclass(frozen=True)
class _Classifier:
    """A loaded classifier, and what it says of itself.

    Attributes:
      logits_fn: float32 images in [0, 1] to logits, or a Keras model.
      image_shape: `(h, w, c)`; None for a dimension that may be any.
      num_classes: width of its output; None if it does not say.
      sha256: hash of its weights or files.
      settings: the flags it was trained with, where it comes from a run.
    """

    logits_fn: Any
    image_shape: tuple[int | None, ...]
    num_classes: int | None
    sha256: str
    settings: flags.FlagValues | None = None


def main(flag_values: flags.FlagValues, words: list[str]) -> None:
    """Evaluates the classifier that the flags name; see `--help`.

    Args:
      flag_values: as made by `settings.evaluation_flags`.
      words: none are taken.

    Raises:
      UserError: flags, model or data do not fit.
      RunError: the batch does not fit in memory.
    """
    del words
    model_flag = _model_flag(flag_values)
    path = flag_values[model_flag].value
    if model_flag != "run_dir" and not flag_values.output_dir:
        raise UserError(f"--{model_flag} needs --output_dir, a folder for the results")

    quiet.start_tensorflow()
    import tensorflow as tf

    from fsgan_tf import report
    from fsgan_tf.run_dir import RunDirectory, make_folder
    from fsgan_tf.threat_model import ThreatModel

    classifier = _LOADERS[model_flag](path)
    dataset = _setting(flag_values, classifier, "dataset", model_flag)
    threat_model = ThreatModel(_setting(flag_values, classifier, "epsilon", model_flag))
    attacks = _attacks(flag_values, threat_model.epsilon)
    split, class_names = _examples(flag_values, classifier, dataset)
    _require_fit(classifier, path, dataset, split.images.shape[1:], len(class_names))
    output_dir = Path(flag_values.output_dir or RunDirectory(path).evaluation)
    # Before the attacks, so that hours of them do not end in a refusal.
    make_folder(output_dir, "output_dir")
    try:
        result = evaluate_classifier(
            classifier.logits_fn,
            split.first(flag_values.num_examples or len(split)),
            threat_model=threat_model,
            attacks=attacks,
            batch_size=flag_values.batch_size,
            seed=flag_values.seed,
            standalone=flag_values.standalone,
            output_dir=output_dir,
            manifest=report.Manifest(
                model=path,
                dataset=dataset,
                split=flag_values.split,
                classifier_sha256=classifier.sha256,
                command=shlex.join(["python", "-m", "fsgan_tf.evaluate", *sys.argv[1:]]),
            ),
            progress=True,
        )
    except tf.errors.ResourceExhaustedError as error:
        raise RunError(
            f"out of memory; give a smaller --batch_size than {flag_values.batch_size}"
        ) from error
    print(report.as_table(result))
    names = ("results.json", "report.md", "report.html")
    print("written:", *(output_dir / name for name in names))


def evaluate_classifier(
    logits_fn: Any,
    split: "Split",
    *,
    threat_model: "ThreatModel",
    attacks: "Sequence[Attack]",
    batch_size: int,
    seed: int,
    standalone: bool,
    output_dir: str | os.PathLike[str],
    manifest: "Manifest",
    progress: bool = False,
) -> "Result":
    """Attacks a classifier, checks the figures and writes results.json and the reports.

    Args:
      logits_fn: float32 `[b, h, w, c]` images in [0, 1] to `[b, k]` logits, or a Keras model.
      split: uint8 images and labels.
      threat_model: what a perturbation may be.
      attacks: from `fsgan_tf.attacks.suite` or `by_names`.
      batch_size: images attacked together.
      seed: of the random starts.
      standalone: run every attack on every cleanly classified image.
      output_dir: where the files go.
      manifest: what is evaluated, for the report.
      progress: show a progress bar.

    Returns:
      The result.
    """
    from fsgan_tf import attacks as attack_package
    from fsgan_tf import report

    result = attack_package.evaluate(
        logits_fn,
        split.images,
        split.labels,
        threat_model,
        attacks,
        batch_size=batch_size,
        seed=seed,
        standalone=standalone,
        progress=progress,
    )
    report.write(output_dir, result, manifest)
    return result


def _examples(
    flag_values: flags.FlagValues, classifier: _Classifier, dataset: str
) -> "tuple[Split, tuple[str, ...]]":
    from fsgan_tf import data

    where = {name: _setting(flag_values, classifier, name) for name in ("data_dir", "image_size")}
    if flag_values.split == "test":
        return data.load_test(dataset, **where)
    held_out = _setting(flag_values, classifier, "validation_examples", "split=validation")
    loaded = data.load(dataset, validation_examples=held_out, **where)
    return loaded.validation, loaded.class_names


def _model_flag(flag_values: flags.FlagValues) -> str:
    given = [name for name in _MODEL_FLAGS if flag_values[name].value]
    if len(given) != 1:
        raise UserError(
            "name one classifier: give exactly one of --run_dir, --saved_model and --keras_model"
        )
    return given[0]


def _setting(
    flag_values: flags.FlagValues,
    classifier: _Classifier,
    name: str,
    required_with: str | None = None,
) -> Any:
    """The flag if given, else the value the run was trained with."""
    value = flag_values[name].value
    if value is None and classifier.settings is not None:
        value = classifier.settings[name].value
    if value is None and required_with:
        raise UserError(f"--{required_with} does not say its {name}; give --{name}")
    return value


def _attacks(flag_values: flags.FlagValues, epsilon: float) -> "list[Attack]":
    from fsgan_tf.attacks import by_names, suite

    restarts, step_size = flag_values.restarts, flag_values.step_size
    if flag_values.attacks is not None:
        return by_names(flag_values.attacks, epsilon, restarts=restarts or 1, step_size=step_size)
    return suite(flag_values.suite, epsilon, restarts=restarts, step_size=step_size)


def _load_run(path: str) -> _Classifier:
    from fsgan_tf.run_dir import restore_classifier

    restored = restore_classifier(path)
    return _Classifier(
        restored.model,
        tuple(restored.model.input_shape[1:]),
        len(restored.class_names),
        restored.sha256,
        restored.settings,
    )


def _load_keras(path: str) -> _Classifier:
    import keras

    if not Path(path).is_file():
        raise UserError(f"--keras_model={path} is not a file; give a .keras file")
    try:
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises many kinds, all about what is in the file.
        raise UserError(f"{path} cannot be loaded as a Keras model: {error}") from error
    input_shape, output_shape = model.input_shape, model.output_shape
    if not (_is_batch(input_shape, rank=4) and _is_batch(output_shape, rank=2)):
        raise UserError(
            f"{path} takes {input_shape} and returns {output_shape}; it must take images "
            "(None, height, width, channels) and return logits (None, classes)"
        )
    return _Classifier(model, input_shape[1:], output_shape[1], _sha256([Path(path)]))


def _load_saved_model(path: str) -> _Classifier:
    import tensorflow as tf

    if not (Path(path) / "saved_model.pb").is_file():
        raise UserError(f"--saved_model={path} holds no saved_model.pb; give a SavedModel's folder")
    try:
        loaded = tf.saved_model.load(path)
    except Exception as error:  # Whatever TensorFlow raises is about what is in the folder.
        raise UserError(f"{path} cannot be loaded as a SavedModel: {error}") from error
    signature = loaded.signatures.get("serving_default")
    inputs = signature.structured_input_signature[1] if signature else {}
    outputs = signature.structured_outputs if signature else {}
    shapes = [tuple(spec.shape) for spec in inputs.values() if spec.dtype == tf.float32]
    if len(inputs) != 1 or not shapes or "logits" not in outputs or not _is_batch(shapes[0], 4):
        raise UserError(
            f"{path} needs a signature serving_default of one float32 input (None, height, width, "
            f"channels) with an output named logits; it has inputs {inputs} and outputs "
            f"{sorted(outputs)}"
        )
    (input_name,) = inputs

    def logits_fn(images: "tf.Tensor") -> "tf.Tensor":
        # Through `loaded`: a signature alone does not keep its variables alive.
        return loaded.signatures["serving_default"](**{input_name: images})["logits"]

    files = sorted(file for file in Path(path).rglob("*") if file.is_file())
    num_classes = outputs["logits"].shape[-1]
    return _Classifier(logits_fn, shapes[0][1:], num_classes, _sha256(files))


def _is_batch(shape: Any, rank: int) -> bool:
    """Whether a shape is of that rank and takes any number of examples."""
    return isinstance(shape, tuple) and len(shape) == rank and shape[0] is None


_LOADERS: dict[str, Callable[[str], _Classifier]] = {
    "run_dir": _load_run,
    "saved_model": _load_saved_model,
    "keras_model": _load_keras,
}


def _require_fit(
    classifier: _Classifier,
    path: str,
    dataset: str,
    image_shape: tuple[int, ...],
    num_classes: int,
) -> None:
    fits = all(
        expected in (None, actual)
        for expected, actual in zip(classifier.image_shape, image_shape, strict=True)
    )
    if not fits or classifier.num_classes not in (None, num_classes):
        raise UserError(
            f"{path} takes images of shape {classifier.image_shape} and has "
            f"{classifier.num_classes} classes; {dataset} has images of shape "
            f"{tuple(image_shape)} and {num_classes} classes (see --dataset and --image_size)"
        )


def _sha256(files: list[Path]) -> str:
    """Hash of the files' contents, in order."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(cli.run(main, settings.evaluation_flags(), description=__doc__ or ""))
