"""What follows the last epoch: the export and the test."""

from __future__ import annotations

import shlex
import sys
from typing import Any

from fsgan_tf.attacks.registry import suite
from fsgan_tf.attacks.suites import SUITES
from fsgan_tf.data.split import Split
from fsgan_tf.errors import UserError
from fsgan_tf.evaluation.recorded import recorded
from fsgan_tf.evaluation.request import Request
from fsgan_tf.evaluation.run_and_diagnose import measure
from fsgan_tf.models import saving
from fsgan_tf.reporting import report, results_file
from fsgan_tf.runs.directory import RunDirectory
from fsgan_tf.runs.restored import RestoredClassifier, restore_classifier
from fsgan_tf.threat_model import ThreatModel
from fsgan_tf.training import not_robust
from fsgan_tf.training.setup import Training
from fsgan_tf.training.tensorboard_log import TensorBoardLog, write_scalars


def finish(training: Training) -> None:
    """Exports the classifier in float32 and attacks it on the test set, once."""
    _export_and_attack(training)
    row = _kept_row(training.run.metrics.read())
    held_out = len(training.dataset.validation)
    if row and (told := not_robust.warning(training.method, training.configuration, row, held_out)):
        print(f"warning: {told}", file=sys.stderr, flush=True)


def _kept_row(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The figures of the epoch whose classifier is exported."""
    if not rows:
        return None
    kept = rows[-1].get("best_epoch", rows[-1]["epoch"])
    # None where a damaged row was taken out by hand.
    return next((row for row in rows if row["epoch"] == kept), None)


def _export_and_attack(training: Training) -> None:
    run, eval_examples = training.run, training.settings.eval_examples
    restored = restore_classifier(run.path)
    if training.settings.keep == "best":
        print(f"kept: the classifier of epoch {restored.progress.epoch}, the best under PGD-10")
    if saving.is_export_of(restored.model, restored.class_names, run.saved_model):
        print(f"already exported: {run.saved_model}")
    else:
        saving.save_classifier(restored.model, restored.class_names, run.saved_model)
        print(f"exported: {run.saved_model}", flush=True)
    if not eval_examples:
        if _evaluates_another(run, restored):
            print(f"note: {run.evaluation} holds the figures of an earlier classifier of this run")
        return
    # Read only now: no step of the training saw it.
    test = training.dataset.test.first(eval_examples)
    if is_evaluated(run, restored, test):
        print(f"already evaluated: {run.evaluation}")
        write_test_figures(run)
    else:
        _attack(training, restored, test)


def _evaluates_another(run: RunDirectory, restored: RestoredClassifier) -> bool:
    """Whether there is an evaluation, and of other weights than the run's classifier has now."""
    try:
        found = results_file.read(run.evaluation / "results.json")
    except UserError:  # Or there is none.
        return False
    return found.get("classifier_sha256") != restored.weights_sha256


def _attack(training: Training, restored: RestoredClassifier, test: Split) -> None:
    run, settings = training.run, training.settings
    request = Request(
        ThreatModel(settings.epsilon, norm=settings.norm),
        tuple(suite("quick", settings.epsilon, norm=settings.norm)),
        seed=settings.seed,
        standalone=True,
    )
    manifest = report.Manifest(
        model=str(run.path),
        dataset=training.configuration.data.dataset,
        split=test.name,
        dataset_sha256=test.sha256(),
        class_names=restored.class_names,
        classifier_sha256=restored.weights_sha256,
        command=shlex.join(["python", "-m", "fsgan_tf.train", *sys.argv[1:]]),
        suite="quick",
    )
    with recorded(run.evaluation, request, manifest, model_options={}) as record:
        result = measure(
            restored.model, test.images, test.labels, request, state=record.state, progress=True
        )
        record.write(result)
    write_test_figures(run)
    print(result)
    print(f"written: {run.evaluation}\nwatch: {watch_command(run)}")


def watch_command(run: RunDirectory) -> str:
    """The command that shows this run and those beside it, quoted for a shell."""
    return shlex.join(["tensorboard", f"--logdir={run.path.parent}"])


def is_evaluated(run: RunDirectory, restored: RestoredClassifier, test: Split) -> bool:
    """Whether results.json is of this classifier, radius and data set, by attacks no weaker.

    Args:
      run: whose `evaluation` folder is looked at.
      restored: its classifier.
      test: images that are to be attacked; results of more of them will do.
    """
    try:
        found = results_file.read(run.evaluation / "results.json")
    except UserError:  # Or there is none.
        return False
    configuration = restored.configuration
    wanted = {
        "classifier_sha256": restored.weights_sha256,
        "dataset": configuration.data.dataset,
        "split": test.name,
        "threat_model": {
            "norm": configuration.training.norm,
            "epsilon": configuration.training.epsilon,
        },
    }
    names = {attack["name"] for attack in found["attacks"]}
    return (
        all(found.get(name) == value for name, value in wanted.items())
        and found["num_examples"] >= len(test)
        and (found["num_examples"] > len(test) or found.get("dataset_sha256") == test.sha256())
        and any(names >= set(SUITES[name].attacks) for name in ("quick", "strong", "strongest"))
    )


def write_test_figures(run: RunDirectory) -> None:
    """Copies the evaluation's accuracies to TensorBoard, at the last step, unless they are there.

    Args:
      run: its training has ended and `evaluation/results.json` is written.
    """
    rows, log = run.metrics.read(), TensorBoardLog(run.tensorboard)
    file = run.evaluation / "results.json"
    step = rows[-1]["step"] if rows else 0
    if log.has("test", step) or not file.is_file():
        return
    results = results_file.read(file)
    scalars = {f"test/{name}": results[name] for name in ("clean_accuracy", "worst_case_accuracy")}
    scalars |= {f"test/{attack['name']}": attack["accuracy"] for attack in results["attacks"]}
    log.write("test", step, lambda: write_scalars(scalars))
