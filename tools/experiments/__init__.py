"""Series of trainings and evaluations, a process each; what is done is not done again.

Importing it imports no TensorFlow.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from experiments import provenance
from fsgan_tf.attacks.suites import SUITES
from fsgan_tf.cli import training_flags
from fsgan_tf.errors import RunError, UserError
from fsgan_tf.reporting import results_file


def train(run_dir: Path, arguments: Sequence[str]) -> None:
    """Trains into `run_dir`, or resumes where it stopped.

    Args:
      run_dir: the run directory.
      arguments: training flags, without `--run_dir`.

    Raises:
      UserError: `run_dir` holds a run of other flags.
      RunError: the training failed.
    """
    from fsgan_tf.runs.directory import RunDirectory

    where = [*arguments, f"--run_dir={run_dir}"]
    values = training_flags.parse([*where])
    run = RunDirectory(run_dir)
    if run.flags_file.is_file() and is_finished(run_dir):
        run.refuse_other_flags(values)
        if run.read_configuration().training.epochs == values.training.epochs:
            return
    unread = values.unread(training_flags.names_in(where))
    run_module(
        "fsgan_tf.train",
        [word for word in where if not set(training_flags.names_in([word])) & set(unread)],
    )


def is_finished(run_dir: Path) -> bool:
    """Whether a training has run to its last epoch and exported its classifier."""
    from fsgan_tf.runs.directory import RunDirectory

    run = RunDirectory(run_dir)
    rows = run.metrics.read()
    epochs = run.read_configuration().training.epochs
    return bool(rows) and rows[-1]["epoch"] == epochs - 1 and run.saved_model.is_dir()


def configuration(data: str, method: str, *, letter: bool = False) -> str:
    """The flag file of a method on a data set: `cifar10`, `cifar100` or `svhn`.

    Args:
      data: stem of the files in configs/.
      method: by name.
      letter: of FS-GAN, the paper's letter instead of what is recommended.
    """
    if method != "fs_gan":
        return f"configs/baselines/{data}_{method}.flags"
    return f"configs/{'paper/' if letter else ''}{data}.flags"


def initialisation(method: str, standard: Path) -> list[str]:
    """What a method starts from: l2l_da from the undefended classifier of its seed.

    Args:
      method: by name.
      standard: that run.
    """
    return [f"--init_from={standard}"] if method == "l2l_da" else []


def evaluate(
    run_dir: Path,
    attacks: Sequence[str],
    arguments: Sequence[str],
    *,
    output_dir: Path,
    suite: str | None = None,
) -> dict[str, Any]:
    """Attacks the classifier of `run_dir`.

    Args:
      run_dir: a finished run.
      attacks: by name, each made on every image.
      arguments: further flags of the evaluation.
      output_dir: where its results go; see `measurement`. Results that are there, of these attacks
        and newer than the classifier, are taken as they are; the data are not looked at.
      suite: name of a suite to run instead, as it is: an attack of it may see only the images that
        those before it left.

    Returns:
      The content of its results.json.

    Raises:
      RunError: the evaluation failed.
    """
    file = output_dir / "results.json"
    if not _holds(file, SUITES[suite].attacks if suite else attacks) or _older(
        file, run_dir / "saved_model"
    ):
        chosen = [f"--suite={suite}"] if suite else [f"--attacks={','.join(attacks)}"]
        where = [f"--run_dir={run_dir}", f"--output_dir={output_dir}"]
        alone = [] if suite else ["--standalone"]
        run_module("fsgan_tf.evaluate", [*where, *chosen, *alone, *arguments])
    return results_file.read(file)


def measurement(run_dir: Path, *made_with: object) -> Path:
    """The folder of one evaluation of a run; what it is made with is in its name.

    So that no other is taken for it.
    """
    return run_dir / "evaluations" / "_".join(str(part) for part in made_with if part)


def run_module(module: str, arguments: Sequence[str]) -> None:
    """Runs `python -m module arguments` to its end.

    Raises:
      UserError: it ended with exit code 2.
      RunError: it ended with another one but 0.
    """
    command = [sys.executable, "-m", module, *arguments]
    code = subprocess.run(command, check=False).returncode
    if code == 130:
        raise KeyboardInterrupt
    if code:
        error = UserError if code == 2 else RunError
        raise error(f"python -m {module} {' '.join(arguments)} ended with exit code {code}")


def require_same_images(results: Iterable[dict[str, Any]]) -> None:
    """Refuses figures of one table that are of different images, as after the data changed.

    Args:
      results: contents of results.json files.

    Raises:
      UserError: they are.
    """
    by_hash = {one["dataset_sha256"]: one for one in results if one.get("dataset_sha256")}
    if len(by_hash) > 1:
        first, second, *_ = by_hash.values()
        raise UserError(
            f"the classifiers {first['model']} and {second['model']} were attacked on different "
            "images; remove the folder `evaluations` of the run that saw the wrong ones and start "
            "again"
        )


def accuracies(results: dict[str, Any]) -> dict[str, float]:
    """Robust accuracy by attack, of a results.json."""
    return {attack["name"]: attack["accuracy"] for attack in results["attacks"]}


def training_minutes(run_dir: Path) -> float:
    """Minutes in training steps, without validation, as metrics.jsonl has them."""
    from fsgan_tf.runs.directory import RunDirectory

    seconds, steps_before = 0.0, 0
    batch_size = RunDirectory(run_dir).read_configuration().training.batch_size
    batch_size *= max((start["replicas"] for start in provenance.starts(run_dir)), default=1)
    for row in RunDirectory(run_dir).metrics.read():
        images = (row["step"] - steps_before) * batch_size
        seconds += images / row["images_per_second"]
        steps_before = row["step"]
    return seconds / 60


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _holds(file: Path, attacks: Sequence[str]) -> bool:
    if not file.is_file():
        return False
    try:
        # A transferred attack is called transfer_pgd20@SOURCE.
        names = {name.partition("@")[0] for name in accuracies(results_file.read(file))}
    except UserError:
        return False
    return set(attacks) <= names


def _older(file: Path, than: Path) -> bool:
    return than.exists() and file.stat().st_mtime < than.stat().st_mtime
