"""Measures the robust accuracy of a classifier: a run's, a SavedModel's or a Keras file's."""

import contextlib
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from fsgan_tf import files
from fsgan_tf.cli import evaluation_flags, quiet, runner
from fsgan_tf.errors import RunError, UserError, VerdictError
from fsgan_tf.evaluation.configuration import EvaluationConfiguration
from fsgan_tf.models.named_model import OPTIONS
from fsgan_tf.reporting.settings import ReportSettings

if TYPE_CHECKING:
    from fsgan_tf.evaluation.result import Result
    from fsgan_tf.evaluation.subject import Subject
    from fsgan_tf.reporting.manifest import Manifest

_FILES = ("results.json", "report.md", "report.html")


def main(flag_values: flags.FlagValues, words: list[str]) -> None:
    """Evaluates the classifier that the flags name; see `--help`.

    Args:
      flag_values: as made by `evaluation_flags.evaluation_flags`.
      words: further results of --compare; else none are taken.

    Raises:
      UserError: flags, model or data do not fit.
      RunError: the batch does not fit in memory, or the results cannot be written.
      VerdictError: `--fail_on` refuses the verdict.
    """
    asked = evaluation_flags.configuration(flag_values)
    if asked.report.compare is not None:
        _compare(asked.report.compare, words, asked.report)
        return
    runner.refuse_words(words)
    if asked.named.flag != "run_dir" and not (asked.report.output_dir or asked.evaluation.dry_run):
        raise UserError(f"--{asked.named.flag} needs --output_dir, a folder for the results")

    quiet.start_tensorflow()
    from fsgan_tf.evaluation import estimate, run_and_diagnose, subject
    from fsgan_tf.evaluation.recorded import recorded

    loaded = subject.load(asked)
    evaluated = (loaded.copies, loaded.examples.images, loaded.examples.labels, loaded.request)
    if asked.evaluation.dry_run:
        print(f"{asked.named.path} on {loaded.examples.name} of {loaded.asked.data.dataset}")
        print(estimate.estimate(*evaluated, differentiable=loaded.classifier.differentiable))
        return
    manifest, folder = _manifest(loaded), loaded.output_dir
    also = _further_forms(loaded, manifest)
    with (
        _memory_told_of(asked.evaluation.batch_size),
        recorded(folder, loaded.request, manifest, model_options=_model_options(asked)) as record,
    ):
        bound = loaded.classifier.upper_bound
        known = [bound] if bound else []
        result = run_and_diagnose.measure(
            *evaluated, known=known, state=record.state, progress=True
        )
        record.write(result, also.values())
    _tell(result, folder, [*_FILES, *also])
    _require_verdict(result, asked.report.fail_on)


def _manifest(subject: "Subject") -> "Manifest":
    from fsgan_tf.reporting.report import Manifest

    asked = subject.asked
    return Manifest(
        model=asked.named.path,
        dataset=str(asked.data.dataset),
        split=subject.examples.name,
        dataset_sha256=subject.dataset_sha256,
        class_names=subject.class_names,
        classifier_sha256=subject.classifier.sha256,
        command=shlex.join(["python", "-m", "fsgan_tf.evaluate", *sys.argv[1:]]),
        sources=tuple(map(str, subject.request.sources)),
        suite="" if asked.evaluation.attacks else asked.evaluation.suite,
    )


def _model_options(asked: EvaluationConfiguration) -> dict[str, Any]:
    """What decides a classifier's answers beside its files."""
    options = {name: getattr(asked.model, name) for name in OPTIONS}
    return {**options, "deterministic": asked.evaluation.deterministic}


@contextlib.contextmanager
def _memory_told_of(batch_size: int) -> Iterator[None]:
    """Turns TensorFlow's lack of memory into one line."""
    import tensorflow as tf

    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        raise RunError(f"out of memory; give a smaller --batch_size than {batch_size}") from error


def _tell(result: "Result", folder: Path, names: Sequence[str]) -> None:
    """Prints what was found, and where it is written."""
    from fsgan_tf.reporting import earlier

    print(result)
    print("written:", *(folder / name for name in names))
    if (folder / earlier.FOLDER).is_dir():
        print("earlier results are kept in", folder / earlier.FOLDER)


def _further_forms(
    subject: "Subject", manifest: "Manifest"
) -> "dict[str, Callable[[Result], object]]":
    """The files that are asked for beside the report, by name, and what writes each."""
    from fsgan_tf.evaluation import saved_examples
    from fsgan_tf.reporting import robustbench

    folder, asked = subject.output_dir, subject.asked.report
    forms: dict[str, Callable[[Result], object]] = {}
    if asked.save_examples:
        forms[saved_examples.FILE_NAME] = lambda result: saved_examples.save(
            folder / saved_examples.FILE_NAME,
            result,
            dataset_sha256=manifest.dataset_sha256,
            classifier_sha256=manifest.classifier_sha256,
        )
    if asked.format == "robustbench":
        forms[robustbench.FILE_NAME] = lambda result: robustbench.write(folder, result, manifest)
    return forms


def _compare(paths: Sequence[str], more: Sequence[str], asked: ReportSettings) -> None:
    """Prints several results side by side, and writes them to a folder where one is given."""
    if asked.fail_on:
        raise UserError("--fail_on judges one evaluation; leave it out of a --compare")
    from fsgan_tf.reporting import comparison, comparison_page

    entries = comparison.read([*paths, *more])
    print(comparison.as_text(entries))
    if asked.output_dir:
        folder = Path(asked.output_dir)
        with files.told_in_one_line(folder, "make room, or give another --output_dir"):
            print("written:", *comparison_page.write(folder, entries))


def _require_verdict(result: "Result", fail_on: str | None) -> None:
    """Raises VerdictError where `--fail_on` refuses the result."""
    from fsgan_tf.results import summary

    refused = {"fail": {summary.NO_FIGURE}, "warn": {summary.NO_FIGURE, summary.UPPER_BOUND}}
    if fail_on and result.verdict in refused[fail_on]:
        raise VerdictError(f"the verdict is '{result.verdict}', which --fail_on={fail_on} refuses")


def run() -> int:
    """Runs the command of the process's own command line, and returns its exit code."""
    return runner.run(
        main, evaluation_flags.evaluation_flags(), description=__doc__ or "", takes_words=True
    )


if __name__ == "__main__":
    sys.exit(run())
