"""Makes a run's classifier one that comes with the package, with its model card.

    python tools/package_pretrained.py RUN [--name=NAME] [--num_examples=1000] [--data_dir=FOLDER]

Rounds the weights to float16, compares the answers of the rounded classifier with the run's on test
images, attacks the rounded one with the strong suite, and writes NAME.npz, NAME.json (the
evaluation's results) and NAME.md (the card, every figure of it read from the run and from that
evaluation) to fsgan_tf/pretrained. Run again after an interruption, it resumes.
"""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import experiments
import numpy as np
from absl import flags
from experiments import model_card, series_flags

from fsgan_tf.cli import quiet, runner
from fsgan_tf.errors import RunError, UserError
from fsgan_tf.files import write_atomically
from fsgan_tf.reporting import results_file

if TYPE_CHECKING:
    from fsgan_tf.runs.restored import RestoredClassifier

# The least share of equal answers before and after rounding.
_LEAST_AGREEMENT = 0.99
_SAMPLE = 1000


def main(flag_values: flags.FlagValues, words: list[str]) -> None:
    """Packages the classifier of the run that the words name."""
    if len(words) != 1:
        raise UserError("name one run directory: python tools/package_pretrained.py RUN")
    quiet.start_tensorflow()
    from fsgan_tf.runs import pretrained
    from fsgan_tf.runs.restored import restore_classifier

    run_dir = Path(words[0])
    original = restore_classifier(run_dir)
    if not experiments.is_finished(run_dir):
        raise UserError(
            f"{run_dir} is not finished: an epoch or the export of its classifier is missing; end "
            f"it with python -m fsgan_tf.train --run_dir={run_dir}"
        )
    dataset = Path(original.configuration.data.dataset).name
    data = model_card.described(dataset, flag_values.data, flag_values.licence)
    name = flag_values.name or f"{dataset}_{original.configuration.training.method}"
    if Path(name).name != name:
        raise UserError(f"--name={name} must be a plain name, such as {dataset}_robust")
    file = run_dir / "pretrained" / f"{name}.npz"
    file.parent.mkdir(exist_ok=True)
    pretrained.write(original, file)
    packaged = pretrained.restore(str(file))
    agreement = _agreement(original, packaged, flag_values)
    print(f"{file}: {file.stat().st_size / 1e6:.2f} MB; after rounding {agreement}", flush=True)
    results = _evaluated(name, file, packaged.weights_sha256, flag_values)
    card = model_card.page(name, run_dir, packaged, results, data, agreement)
    folder = Path(flag_values.folder or pretrained.FOLDER)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / f"{name}.json", f"{json.dumps(results, indent=2)}\n".encode())
    write_atomically(folder / f"{name}.md", card.encode())
    # Last: with it the classifier is there.
    shutil.copyfile(file, folder / f".{name}.tmp")
    (folder / f".{name}.tmp").replace(folder / f"{name}.npz")
    print(
        f"written: {', '.join(str(folder / name) + ending for ending in ('.npz', '.json', '.md'))}"
    )


def _agreement(
    original: RestoredClassifier, packaged: RestoredClassifier, flag_values: flags.FlagValues
) -> str:
    """Compares the answers before and after rounding, in words.

    Raises:
      RunError: too many differ.
    """
    from fsgan_tf.data import loading

    configuration = original.configuration
    given = {"data_dir": flag_values.data_dir} if flag_values.data_dir else {}
    split, _ = loading.load_split(
        configuration.data.dataset, "test", **configuration.data_options() | given
    )
    images = (split.first(_SAMPLE).images / 255).astype(np.float32)
    answers = [
        np.argmax(one.model.predict(images, batch_size=128, verbose=0), axis=1)
        for one in (original, packaged)
    ]
    equal = int(np.sum(answers[0] == answers[1]))
    if equal < _LEAST_AGREEMENT * len(images):
        raise RunError(
            f"rounded to float16 the classifier answers {len(images) - equal} of {len(images)} "
            "test images otherwise; it cannot be packaged"
        )
    return f"{equal} of {len(images)} test images are answered as before"


def _evaluated(name: str, file: Path, sha256: str, flag_values: flags.FlagValues) -> dict[str, Any]:
    """The results of the rounded weights, with what says where they were measured left out."""
    suite, count = flag_values.suite, flag_values.num_examples
    folder = file.parent / f"{name}_{suite}_{count}_images_{flag_values.checks}_checks"
    arguments = [f"--suite={suite}", "--split=test", f"--num_examples={count}"]
    arguments.append(f"--checks={flag_values.checks}")
    done = folder / "results.json"
    if not done.is_file() or results_file.read(done)["classifier_sha256"] != sha256:
        where = [f"--pretrained={file}", f"--output_dir={folder}", *series_flags.data(flag_values)]
        experiments.run_module("fsgan_tf.evaluate", [*where, *arguments])
    results = results_file.read(done)
    command = [f"--pretrained={name}", *arguments, "--output_dir=evaluation"]
    return {
        **results,
        "model": name,
        "command": shlex.join(["python", "-m", "fsgan_tf.evaluate", *command]),
    }


def _flags() -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_string("name", None, "Its name; DATASET_METHOD by default.", flag_values=values)
    flags.DEFINE_string("suite", "strong", "Attacks that measure it.", flag_values=values)
    flags.DEFINE_integer(
        "num_examples", 1000, "How many test images to attack.", 1, flag_values=values
    )
    series_flags.define_checks(values, default="full")
    flags.DEFINE_string("data_dir", None, "Folder of TFDS data.", flag_values=values)
    flags.DEFINE_string(
        "data",
        None,
        "What the images are, for the card; known of digits, cifar10 and cifar100.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "licence",
        None,
        "Licence of the images, for the card; known of digits, cifar10 and cifar100.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "folder", None, "Where it goes; fsgan_tf/pretrained by default.", flag_values=values
    )
    return values


if __name__ == "__main__":
    sys.exit(runner.run(main, _flags(), description=__doc__ or "", takes_words=True))
