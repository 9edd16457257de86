"""Measures the robust accuracy of a classifier: a run's, a SavedModel's or a Keras file's."""

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from fsgan_tf import classifiers, cli, quiet, settings
from fsgan_tf.errors import RunError, UserError

if TYPE_CHECKING:

    from fsgan_tf.attacks.attack import Attack
    from fsgan_tf.attacks.result import Result
    from fsgan_tf.data import Split
    from fsgan_tf.report import Manifest
    from fsgan_tf.threat_model import ThreatModel


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
    model_flag = classifiers.model_flag(flag_values)
    path = flag_values[model_flag].value
    if model_flag != "run_dir" and not flag_values.output_dir:
        raise UserError(f"--{model_flag} needs --output_dir, a folder for the results")

    quiet.start_tensorflow()
    import tensorflow as tf

    from fsgan_tf import report
    from fsgan_tf.run_dir import RunDirectory, make_folder
    from fsgan_tf.threat_model import ThreatModel

    classifier = classifiers.from_flags(flag_values)
    dataset = _setting(flag_values, classifier, "dataset", model_flag)
    threat_model = ThreatModel(_setting(flag_values, classifier, "epsilon", model_flag))
    attacks = _attacks(flag_values, threat_model.epsilon)
    split, class_names = _examples(flag_values, classifier, dataset)
    classifiers.require_fit(classifier, path, dataset, split.images.shape[1:], len(class_names))
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
    flag_values: flags.FlagValues, classifier: classifiers.Classifier, dataset: str
) -> "tuple[Split, tuple[str, ...]]":
    from fsgan_tf import data

    where = {name: _setting(flag_values, classifier, name) for name in ("data_dir", "image_size")}
    if flag_values.split == "test":
        return data.load_test(dataset, **where)
    held_out = _setting(flag_values, classifier, "validation_examples", "split=validation")
    loaded = data.load(dataset, validation_examples=held_out, **where)
    return loaded.validation, loaded.class_names


def _setting(
    flag_values: flags.FlagValues,
    classifier: classifiers.Classifier,
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


if __name__ == "__main__":
    sys.exit(cli.run(main, settings.evaluation_flags(), description=__doc__ or ""))
