"""Labels image files with a trained classifier.

    python -m fsgan_tf.predict --saved_model=runs/digits_fs_gan/saved_model IMAGE_OR_FOLDER...
    python -m fsgan_tf.predict --run_dir=runs/digits_fs_gan [--top=3] [--json] IMAGE_OR_FOLDER...

Prints one line for each PNG or JPEG file: its path, its most probable class and the probability of
that class; with --top=K the K most probable ones. A folder stands for every such file in it and
below it.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from fsgan_tf.cli import quiet, runner, settings_flags
from fsgan_tf.errors import RunError, UserError
from fsgan_tf.files import printable
from fsgan_tf.models.settings import PredictionSettings

if TYPE_CHECKING:
    from fsgan_tf.models.prediction import Prediction


def predict_flags() -> settings_flags.SettingsFlags:
    """The flags of this command."""
    return settings_flags.SettingsFlags({"prediction": PredictionSettings})


def main(flag_values: flags.FlagValues, words: list[str]) -> None:
    """Prints a label for each file of `words`."""
    asked = settings_flags.read(PredictionSettings, flag_values)
    if (asked.saved_model is None) == (asked.run_dir is None):
        raise UserError(
            "--saved_model is missing: name the folder of an exported classifier, or a run by "
            "--run_dir, and not both"
        )
    if not words:
        raise UserError("no image given: name one or more PNG or JPEG files, or folders of them")
    # The decoders would log a damaged file without its name; this command names it.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    quiet.start_tensorflow()
    import tensorflow as tf

    from fsgan_tf.models import prediction

    if asked.saved_model:
        classifier = prediction.of_saved_model(Path(asked.saved_model))
    else:
        classifier = prediction.of_run(Path(str(asked.run_dir)))
    files = prediction.image_files(words)
    num_failed = 0
    try:
        for file, result in zip(files, prediction.predict_files(classifier, files), strict=True):
            if isinstance(result, UserError):
                num_failed += 1
                print(f"error: {result}", file=sys.stderr)
            elif asked.json:
                print(_as_json(file, result, asked.top))
            else:
                print(_as_line(file, result, asked.top))
    except tf.errors.OpError as error:
        named = asked.saved_model or asked.run_dir
        raise RunError(f"{named} failed: {error}") from error
    if num_failed:
        raise UserError(f"{num_failed} of {len(files)} files could not be labelled")


def _as_line(path: str, result: Prediction, top: int) -> str:
    pairs = zip(result.class_names[:top], result.probabilities[:top], strict=True)
    return "  ".join(
        [printable(path), *(f"{label}  {probability:.3f}" for label, probability in pairs)]
    )


def _as_json(path: str, result: Prediction, top: int) -> str:
    pairs = zip(result.class_names[:top], result.probabilities[:top], strict=True)
    predictions = [{"class": label, "probability": probability} for label, probability in pairs]
    name = os.fsencode(path).decode(errors="replace")
    text = json.dumps({"image": name, "predictions": predictions}, ensure_ascii=False)
    # JSON itself escapes only some of what steers a terminal.
    return "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in text)


def run() -> int:
    """Runs the command of the process's own command line, and returns its exit code."""
    return runner.run(main, predict_flags(), description=__doc__ or "", takes_words=True)


if __name__ == "__main__":
    sys.exit(run())
