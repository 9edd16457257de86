"""Classifiers of any origin, as functions of images in [0, 1] to logits.

Whatever a model takes and returns, an attack sees pixels in [0, 1] and logits, so that epsilon is
in pixel units. Every `load_` function reads its files anew and puts the variables on the device of
the surrounding `tf.device`: for a copy on each device, load once under each.
"""

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from fsgan_tf.errors import UserError
from fsgan_tf.models import untrusted

if TYPE_CHECKING:
    import tensorflow as tf

_RANGES = {"0,1": (0.0, 1.0), "0,255": (0.0, 255.0), "-1,1": (-1.0, 1.0)}
# The logarithm of less than this, and its gradient's factor 1/p, would come near float32's limits.
_LEAST_PROBABILITY = 1e-30


@dataclasses.dataclass(frozen=True)
class Classifier:
    """A loaded classifier, and what it says of itself.

    Attributes:
      logits_fn: float32 `[b, h, w, c]` images in [0, 1] to `[b, k]` logits, or a Keras model.
      image_shape: `(h, w, c)`; None for a dimension that may be any.
      num_classes: width of its output; None if it does not say.
      sha256: hash of its weights or files.
      settings: the flags it was trained with, where it comes from a run.
      class_names: k names in the order of the logits; None if it does not say.
    """

    logits_fn: Any
    image_shape: tuple[int | None, ...]
    num_classes: int | None
    sha256: str
    settings: flags.FlagValues | None = None
    class_names: tuple[str, ...] | None = None


def model_flag(flag_values: flags.FlagValues) -> str:
    """Which of `--run_dir`, `--saved_model` and `--keras_model` is given.

    Raises:
      UserError: none is, or several are.
    """
    given = [name for name in _LOADERS if flag_values[name].value]
    if len(given) != 1:
        raise UserError(
            "name one classifier: give exactly one of --run_dir, --saved_model and --keras_model"
        )
    return given[0]


def from_flags(flag_values: flags.FlagValues) -> Classifier:
    """Loads the classifier that the flags of `settings.evaluation_flags` name.

    Raises:
      UserError: a flag does not go with that kind of classifier, or it cannot be loaded.
    """
    name = model_flag(flag_values)
    load, options = _LOADERS[name]
    given = {option: flag_values[option].value for option in _LOADERS["saved_model"][1]}
    given = {option: value for option, value in given.items() if value is not None}
    for option in given:
        if option not in options:
            raise UserError(f"--{option} does not go with --{name}; leave it out")
    return load(flag_values[name].value, **given)


def load(path: str) -> Classifier:
    """A classifier by what its path holds: a `.keras` file, a SavedModel or a run directory.

    Raises:
      UserError: it holds none of them, or it cannot be loaded.
    """
    if Path(path).is_file():
        return load_keras_model(path)
    if (Path(path) / "saved_model.pb").is_file():
        return load_saved_model(path)
    return load_run(path)


def load_run(path: str) -> Classifier:
    """The newest classifier of a run directory; see `runs.restored.restore_classifier`."""
    from fsgan_tf.runs.restored import restore_classifier

    restored = restore_classifier(path)
    return Classifier(
        restored.model,
        tuple(restored.model.input_shape[1:]),
        len(restored.class_names),
        restored.weights_sha256,
        restored.settings,
        restored.class_names,
    )


def load_keras_model(path: str, *, input_range: str = "0,1", output: str = "logits") -> Classifier:
    """A classifier from a `.keras` file; code within it is not run.

    Args:
      path: the file.
      input_range: pixels that the model takes: `0,1`, `0,255` or `-1,1`.
      output: what it returns: `logits` or `probabilities`.

    Returns:
      The classifier. Logits made of probabilities are their logarithms.

    Raises:
      UserError: the file cannot be loaded, or its model is no classifier of images.
    """
    import keras

    untrusted.check_keras_archive(path)
    try:
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises many kinds, all about what is in the file.
        raise UserError(f"{path} cannot be loaded as a Keras model: {error}") from error
    images = _only(path, "input", getattr(model, "inputs", None))
    answer = _only(path, "output", getattr(model, "outputs", None))
    _require_images(path, images.name, tuple(images.shape), images.dtype)
    _require_scores(path, answer.name, tuple(answer.shape), answer.dtype)

    # Either may stand in a dict of one.
    plain = keras.Model(images, answer)

    def call(pixels: "tf.Tensor") -> "tf.Tensor":
        return plain(pixels, training=False)

    return Classifier(
        _adapted(call, input_range, output),
        tuple(images.shape[1:]),
        answer.shape[-1],
        _sha256([Path(path)]),
    )


def load_saved_model(
    path: str,
    *,
    signature: str = "serving_default",
    input_name: str | None = None,
    input_range: str = "0,1",
    output: str = "logits",
    output_name: str | None = None,
) -> Classifier:
    """A classifier from a SavedModel's folder.

    Args:
      path: the folder.
      signature: the signature's name.
      input_name: name of its input; by default its only one.
      input_range: pixels that the model takes: `0,1`, `0,255` or `-1,1`.
      output: what it returns: `logits` or `probabilities`.
      output_name: name of the output to take; by default the one named as `output` says, else the
        only one of another name.

    Returns:
      The classifier. Logits made of probabilities are their logarithms.

    Raises:
      UserError: the folder cannot be loaded, or its signature is no classifier of images.
    """
    import tensorflow as tf

    untrusted.check_saved_model(path)
    try:
        loaded = tf.saved_model.load(path)
    except Exception as error:  # Whatever TensorFlow raises is about what is in the folder.
        raise UserError(f"{path} cannot be loaded as a SavedModel: {error}") from error
    function = loaded.signatures.get(signature)
    if function is None:
        raise UserError(
            f"{path} has no signature {signature}; its signatures are "
            f"{_listed(loaded.signatures)} (--signature)"
        )
    inputs, outputs = function.structured_input_signature[1], function.structured_outputs
    input_name = _input_name(path, list(inputs), input_name)
    images = inputs[input_name]
    _require_images(path, input_name, _shape(images), images.dtype.name)
    output_name = _output_name(path, list(outputs), output, output_name)
    answer = outputs[output_name]
    _require_scores(path, output_name, _shape(answer), answer.dtype.name)

    def call(pixels: "tf.Tensor") -> "tf.Tensor":
        # Through `loaded`: a signature alone does not keep its variables alive.
        return loaded.signatures[signature](**{input_name: pixels})[output_name]

    files = sorted(file for file in Path(path).rglob("*") if file.is_file())
    num_classes = (_shape(answer) or (None,))[-1]
    class_names = _class_names(Path(path))
    return Classifier(
        _adapted(call, input_range, output),
        (_shape(images) or (None,) * 4)[1:],
        num_classes,
        _sha256(files),
        class_names=class_names if len(class_names) == num_classes else None,
    )


def require_fit(
    classifier: Classifier,
    source: str,
    dataset: str,
    image_shape: tuple[int, ...],
    class_names: tuple[str, ...],
) -> None:
    """Checks a classifier against the data: by what it says of itself, then by calling it.

    Args:
      classifier: the classifier.
      source: where it is from, for the message.
      dataset: the data set's name, for the message.
      image_shape: `(h, w, c)` of its images.
      class_names: of its classes, in order.

    Raises:
      UserError: they do not fit.
    """
    image_shape, num_classes = tuple(image_shape), len(class_names)
    if not all(
        expected in (None, actual)
        for expected, actual in zip(classifier.image_shape, image_shape, strict=True)
    ):
        raise UserError(
            f"{source} takes images of shape {classifier.image_shape}; {dataset} has images of "
            f"shape {image_shape} ({_shape_advice(classifier.image_shape, image_shape)})"
        )
    if classifier.num_classes not in (None, num_classes):
        raise UserError(
            f"{source} has {classifier.num_classes} classes; {dataset} has {num_classes} classes "
            "(see --dataset)"
        )
    known = classifier.class_names or class_names
    if known != class_names:
        label = next(i for i in range(num_classes) if known[i] != class_names[i])
        raise UserError(
            f"class {label} is {known[label]!r} to {source} and {class_names[label]!r} in "
            f"{dataset}; give the data set of the classes it was trained for"
        )
    answered = _answer_shape(classifier, source, image_shape)
    if answered != (2, num_classes):
        raise UserError(
            f"{source} answers 2 images of {dataset} by scores of shape {answered}; it must be "
            f"(2, {num_classes})"
        )


def _adapted(
    call: Callable[["tf.Tensor"], "tf.Tensor"], input_range: str, output: str
) -> Callable[["tf.Tensor"], "tf.Tensor"]:
    """`call` as a function of images in [0, 1] to logits."""
    import tensorflow as tf

    lower, upper = _RANGES[input_range]

    def logits_fn(images: "tf.Tensor") -> "tf.Tensor":
        scores = call(images * (upper - lower) + lower)
        if output == "logits":
            return scores
        return tf.math.log(tf.maximum(tf.cast(scores, tf.float32), _LEAST_PROBABILITY))

    return logits_fn


def _only(path: str, kind: str, tensors: Any) -> Any:
    """A Keras model's one input or output."""
    if not tensors or len(tensors) != 1:
        names = _listed(tensor.name for tensor in tensors or ())
        raise UserError(f"{path} must have one {kind}; it has {names}")
    return tensors[0]


def _input_name(path: str, names: list[str], asked: str | None) -> str:
    if asked is not None and asked not in names:
        raise UserError(f"{path} has no input {asked}; its inputs are {_listed(names)}")
    if len(names) != 1:
        raise UserError(f"{path} must take images alone; its inputs are {_listed(names)}")
    return names[0]


def _output_name(path: str, names: list[str], output: str, asked: str | None) -> str:
    if asked is not None and asked not in names:
        raise UserError(f"{path} has no output {asked}; its outputs are {_listed(names)}")
    unnamed = [name for name in names if name not in ("logits", "probabilities")]
    candidates = [asked] if asked else [output] if output in names else unnamed
    if len(candidates) != 1:
        raise UserError(
            f"{path} does not say which output holds its {output}; its outputs are "
            f"{_listed(names)} (--output, --output_name)"
        )
    return candidates[0]


def _require_images(path: str, name: str, shape: tuple[int | None, ...] | None, dtype: str) -> None:
    if dtype != "float32":
        raise UserError(
            f"{path} takes {dtype} ({name}); it must take float32 images, through which gradients "
            "flow"
        )
    if shape is not None and not (len(shape) == 4 and shape[0] is None):
        raise UserError(
            f"{path} takes {shape} ({name}); it must take images (None, height, width, channels)"
        )


def _require_scores(path: str, name: str, shape: tuple[int | None, ...] | None, dtype: str) -> None:
    if "float" not in dtype or (shape is not None and len(shape) != 2):
        raise UserError(
            f"{path} returns {dtype} {shape} ({name}); it must return floating-point logits or "
            "probabilities (None, classes)"
        )


def _answer_shape(
    classifier: Classifier, source: str, image_shape: tuple[int, ...]
) -> tuple[int, ...]:
    import tensorflow as tf

    try:
        return tuple(classifier.logits_fn(tf.zeros([2, *image_shape])).shape)
    except Exception as error:  # Any kind, about what the model does to such images.
        raise UserError(f"{source} fails on images of shape {image_shape}: {error}") from error


def _shape_advice(expected: tuple[int | None, ...], actual: tuple[int, ...]) -> str:
    if expected[-1] in (None, actual[-1]):
        return "see --image_size"
    if expected[0] in (1, 3):
        return "channels must come last"
    return "the channels differ; see --dataset"


def _shape(spec: "tf.TensorSpec") -> tuple[int | None, ...] | None:
    """None where the rank is not known."""
    return None if spec.shape.rank is None else tuple(spec.shape)


def _class_names(saved_model: Path) -> tuple[str, ...]:
    """The lines of the file that `fsgan_tf.export` writes; none where there is no such file."""
    from fsgan_tf.export import CLASS_NAMES_FILE

    file = saved_model / CLASS_NAMES_FILE
    if not file.is_file():
        return ()
    return tuple(file.read_text(encoding="utf-8", errors="replace").splitlines())


def _listed(names: Any) -> str:
    return ", ".join(sorted(names)) or "none"


def _sha256(files: list[Path]) -> str:
    """Hash of the files' contents, in order."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


_MODEL_OPTIONS = ("input_range", "output")
_LOADERS: dict[str, tuple[Callable[..., Classifier], tuple[str, ...]]] = {
    "run_dir": (load_run, ()),
    "saved_model": (
        load_saved_model,
        ("signature", "input_name", "output_name", *_MODEL_OPTIONS),
    ),
    "keras_model": (load_keras_model, _MODEL_OPTIONS),
}
