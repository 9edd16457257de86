"""Which classifier a command takes, and what is done with it. Imports no TensorFlow."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from fsgan_tf import settings
from fsgan_tf.models.preprocessing import CHANNEL_ORDERS, INPUT_RANGES
from fsgan_tf.settings import parse_numbers, setting

OUTPUTS = ("logits", "probabilities")
_A_SHARE = "a share from 0 to 1, such as 0.92"
_RANGES = " or ".join(INPUT_RANGES)


def _numbers(help_text: str) -> tuple[float, ...] | None:
    return setting(
        None, help_text, parse=parse_numbers, noun="numbers separated by commas, such as 0.4,0.5"
    )


def _unless(allowed: Callable[[object], bool], message: str) -> Callable[[object], str | None]:
    return lambda value: None if allowed(value) else message


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSettings(settings.Settings):
    """The classifier to evaluate, what it takes and what it returns."""

    run_dir: str | None = setting(None, "Evaluate the classifier of this run.")
    saved_model: str | None = setting(None, "Evaluate this SavedModel.")
    keras_model: str | None = setting(None, "Evaluate this .keras, .h5 or .hdf5 file.")
    litert_model: str | None = setting(
        None, "Evaluate this LiteRT (.tflite) file, by attacks that need no gradients."
    )
    pretrained: str | None = setting(
        None, "Evaluate this classifier that comes with the package, such as digits_fs_gan."
    )
    input_range: str | None = setting(
        None,
        "Range of the pixels that the model takes, before --mean and --std: 0,1 by default, "
        "0,255 where it takes integers, or -1,1. --epsilon stays on the scale of [0,1].",
        check=_unless(INPUT_RANGES.__contains__, f"must be {_RANGES}"),
    )
    mean: tuple[float, ...] | None = _numbers(
        "Subtract this from the pixels, in units of --input_range: one number, or one for each "
        "channel in the model's order."
    )
    std: tuple[float, ...] | None = _numbers(
        "Divide the pixels by this after --mean: one number, or one for each channel in the "
        "model's order."
    )
    channel_order: str | None = setting(
        None,
        "Order of the colour channels that the model takes; rgb by default.",
        choices=CHANNEL_ORDERS,
    )
    output: str | None = setting(
        None,
        "What the model returns (logits by default). A final softmax or sigmoid of a Keras "
        "file is cut off; elsewhere probabilities are turned into log-probabilities and used "
        "as logits.",
        choices=OUTPUTS,
    )
    signature: str | None = setting(
        None, "Signature of the SavedModel; serving_default by default."
    )
    output_name: str | None = setting(
        None,
        "Output of the model to take; by default the one with the name that --output says, "
        "else the only one with another name.",
    )
    preprocessing: str = setting(
        "checked",
        "checked stops where another --input_range, --mean, --std or --channel_order gives a "
        "clearly better clean accuracy; as_given evaluates with those that are given.",
        choices=("checked", "as_given"),
    )
    expected_clean_accuracy: float | None = setting(
        None,
        "Stop unless the clean accuracy is within two standard errors of this, such as 0.92.",
        check=_unless(lambda share: 0 <= float(str(share)) <= 1, f"must be {_A_SHARE}"),
        noun=_A_SHARE,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportSettings(settings.Settings):
    """What is exported, where to and in which form."""

    run_dir: str | None = setting(None, "Export the classifier of this run.")
    export_dir: str | None = setting(
        None, "Where the export goes; RUN_DIR/saved_model or RUN_DIR/litert by default."
    )
    format: str = setting(
        "saved_model",
        "A SavedModel, or a LiteRT (TFLite) file; litert_float16 has half the size.",
        choices=("saved_model", "litert", "litert_float16"),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictionSettings(settings.Settings):
    """Which classifier labels images, and how the labels are printed."""

    saved_model: str | None = setting(None, "Label the images with this SavedModel.")
    run_dir: str | None = setting(None, "Label the images with the newest classifier of this run.")
    top: int = setting(1, "Print the K most probable classes of an image.", lower=1)
    json: bool = setting(False, "Print one JSON object a line instead of text.")
