"""Writes a trained classifier as a SavedModel that works without this package, or as LiteRT.

    python -m fsgan_tf.export --run_dir=runs/digits_fs_gan [--format=litert]

The SavedModel holds
  - the signature `serving_default`: `image`, float32 `[n, h, w, c]` in [0, 1];
  - the signature `serving_bytes`: `image_bytes`, string `[n]`, each an encoded PNG or JPEG;
  - `class_names()`, string `[K]`, and the same names in `assets/class_names.txt`.
Both signatures return `logits` float32 `[n, K]`, `probabilities` float32 `[n, K]` and `label`
int32 `[n]`, for any n from 1 up. Gradients flow through `serving_default`. A LiteRT file has
`serving_default` alone.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from absl import flags

from fsgan_tf.cli import quiet, runner, settings_flags
from fsgan_tf.errors import UserError
from fsgan_tf.models.settings import ExportSettings


def export_flags() -> settings_flags.SettingsFlags:
    """The flags of this command."""
    return settings_flags.SettingsFlags({"export": ExportSettings})


def main(flag_values: flags.FlagValues, words: list[str]) -> None:
    """Exports the classifier of `--run_dir` to `--export_dir`."""
    del words
    asked = settings_flags.read(ExportSettings, flag_values)
    if asked.run_dir is None:
        raise UserError("--run_dir is missing: name the folder of the run to export")
    quiet.start_tensorflow()
    from fsgan_tf.models import export_folder, litert
    from fsgan_tf.models.saving import save_classifier
    from fsgan_tf.runs.restored import restore_classifier

    run_dir = Path(asked.run_dir)
    classifier = restore_classifier(run_dir)
    if asked.format == "saved_model":
        export_dir = Path(asked.export_dir or run_dir / "saved_model")
        save_classifier(classifier.model, classifier.class_names, export_dir)
        use = f"python -m fsgan_tf.predict --saved_model={export_dir} IMAGE..."
        print(f"{export_dir}: use it with {use}")
        return
    export_dir = Path(asked.export_dir or run_dir / "litert")
    with tempfile.TemporaryDirectory() as folder:
        saved_model = Path(folder, "saved_model")
        save_classifier(classifier.model, classifier.class_names, saved_model)
        float16 = asked.format == "litert_float16"
        litert.convert(saved_model, classifier.class_names, export_dir, float16=float16)
    print(f"{export_dir / export_folder.LITERT_MODEL_FILE}: its signature is serving_default")


def run() -> int:
    """Runs the command of the process's own command line, and returns its exit code."""
    return runner.run(main, export_flags(), description=__doc__ or "")


if __name__ == "__main__":
    sys.exit(run())
