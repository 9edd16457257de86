"""What a method needs to know of a classifier that it did not make."""

from typing import Any

import keras
import tensorflow as tf

from fsgan_tf.networks import heads

_LOGITS_ALONE = (
    "give one that returns logits [b, k] alone, such as "
    "keras.Model(classifier.inputs, classifier.outputs[0])"
)
# Of the sum of probabilities from 1, in half precision.
_TOLERANCE = 5e-3


def require_trainable(classifier: keras.Model) -> None:
    """Raises `ValueError` unless a method can train the classifier as it is.

    It must have weights, take images and return logits as far as can be seen, and have no losses
    of its own.
    """
    if not isinstance(classifier, keras.Model):
        raise ValueError(
            f"the classifier is a {type(classifier).__name__}; give a built Keras model from "
            "images [b, h, w, c] in [0, 1] to logits [b, k]"
        )
    if not classifier.built or not classifier.weights:
        raise ValueError(
            "the classifier has no weights to train yet; call it once on a batch, or give it a "
            "keras.Input"
        )
    if not classifier.trainable_variables:
        raise ValueError(
            "none of the classifier's weights are trained, since its layers are frozen; set "
            "trainable = True on those that shall learn"
        )
    _require_one_input_of_images(classifier)
    _require_one_output_of_logits(classifier)
    penalised = [v.path for v in classifier.trainable_variables if v.regularizer is not None]
    penalised += [
        layer.name
        for layer in classifier._flatten_layers()
        if getattr(layer, "activity_regularizer", None) is not None
    ]
    if penalised or classifier.losses:
        raise ValueError(
            f"the classifier has losses of its own ({', '.join(penalised[:3]) or 'add_loss'}), "
            "which the methods do not see; leave regularizers out and set weight_decay, which the "
            "method's own optimizer applies"
        )


def _require_one_input_of_images(classifier: keras.Model) -> None:
    inputs = getattr(classifier, "inputs", None)
    if inputs is None:
        return
    if len(inputs) != 1:
        raise ValueError(f"the classifier has {len(inputs)} inputs; give one of images alone")
    if not keras.backend.is_float_dtype(inputs[0].dtype):
        raise ValueError(
            f"the classifier takes {inputs[0].dtype}; the methods train on float32 images in "
            "[0, 1]: leave dtype out of its keras.Input, and begin with "
            "keras.layers.Rescaling(255) where it needs 0 to 255"
        )


def _require_one_output_of_logits(classifier: keras.Model) -> None:
    outputs = getattr(classifier, "outputs", None)
    if outputs is None:
        _refuse_probabilities(_last_activation(classifier))
        return
    _require_scores(getattr(classifier, "_outputs_struct", outputs[0]))
    _refuse_probabilities(heads.without_probabilities(outputs[0])[1])


def require_logits(answer: Any) -> None:
    """Raises `ValueError` unless what a classifier answers on some images are logits.

    Of a classifier whose calls Keras does not know this cannot be seen before it is called.
    """
    _require_scores(answer)
    scores = tf.cast(answer, tf.float32)
    sums = tf.reduce_sum(scores, axis=1)
    within = (scores >= 0) & (scores <= 1)
    if tf.reduce_all(within) and tf.reduce_all(tf.abs(sums - 1) < _TOLERANCE):
        _refuse_probabilities("softmax")


def _require_scores(answer: Any) -> None:
    """Raises `ValueError` unless it is one tensor, symbolic or not, of a score for each class."""
    if not isinstance(answer, (tf.Tensor, keras.KerasTensor)):
        raise ValueError(f"the classifier returns a {type(answer).__name__}; {_LOGITS_ALONE}")
    if len(answer.shape) != 2:
        raise ValueError(f"the classifier returns shape {tuple(answer.shape)}; {_LOGITS_ALONE}")
    if answer.shape[1] == 1:
        raise ValueError(
            "the classifier returns one score; give it one for each class, two for two classes"
        )


def _last_activation(classifier: keras.Model) -> str | None:
    """Of a subclassed model, whose calls Keras does not know."""
    last = (classifier.layers or [None])[-1]
    name = getattr(getattr(last, "activation", None), "__name__", None)
    return "softmax" if isinstance(last, keras.layers.Softmax) else name


def _refuse_probabilities(activation: str | None) -> None:
    if activation in ("softmax", "sigmoid"):
        raise ValueError(
            f"the classifier ends in {activation}; its last layer must return logits: "
            "leave that activation out (argmax is the same, and tf.nn.softmax gives probabilities)"
        )


def image_shape_of(classifier: keras.Model) -> tuple[int, int, int]:
    """`(h, w, c)` of the images that a built classifier takes.

    Raises:
      ValueError: it takes images of any size, or does not say.
    """
    try:
        shape = classifier.input_shape
    except (AttributeError, ValueError):  # of a subclassed model
        shape = (classifier.get_build_config() or {}).get("input_shape")
    if not isinstance(shape, (tuple, list)) or len(shape) != 4 or None in shape[1:]:
        raise ValueError(
            f"the classifier's images have the shape {shape}; the method needs their height, width "
            "and channels: give a classifier of one input with these fixed"
        )
    height, width, channels = shape[1:]
    return height, width, channels


def num_classes_of(classifier: keras.Model) -> int:
    """K of a built classifier's logits `[b, K]`."""
    try:
        return classifier.output_shape[-1]
    except (AttributeError, ValueError):  # of a subclassed model
        image = tf.zeros([1, *image_shape_of(classifier)])
        logits = classifier(image, training=False)
        _require_scores(logits)
        return logits.shape[-1]


def hidden_dtype(classifier: keras.Model) -> str:
    """Dtype policy of the classifier's hidden layers: the mixed one where a layer has it."""
    policies = [layer.dtype_policy for layer in classifier._flatten_layers()]
    mixed = [p.name for p in policies if p.compute_dtype != p.variable_dtype]
    return mixed[0] if mixed else "float32"
