"""What a method needs to know of a classifier that it did not make."""

import keras
import tensorflow as tf

from fsgan_tf.networks import heads


def require_trainable(classifier: keras.Model) -> None:
    """Raises `ValueError` unless a method can train the classifier as it is.

    It must have weights, one output of logits as far as can be seen, and no losses of its own.
    """
    if not classifier.built or not classifier.trainable_variables:
        raise ValueError(
            "the classifier has no weights to train yet; call it once on a batch, or give it a "
            "keras.Input"
        )
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


def _require_one_output_of_logits(classifier: keras.Model) -> None:
    outputs = getattr(classifier, "outputs", None)
    if outputs is None:
        _refuse_probabilities(_last_activation(classifier))
        return
    if len(outputs) != 1:
        raise ValueError(
            f"the classifier has {len(outputs)} outputs; give one of logits alone, such as "
            "keras.Model(classifier.inputs, classifier.outputs[0])"
        )
    _refuse_probabilities(heads.without_probabilities(outputs[0])[1])
    if outputs[0].shape[-1] == 1:
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
        return classifier(image, training=False).shape[-1]


def hidden_dtype(classifier: keras.Model) -> str:
    """Dtype policy of the classifier's hidden layers: the mixed one where a layer has it."""
    policies = [layer.dtype_policy for layer in classifier._flatten_layers()]
    mixed = [p.name for p in policies if p.compute_dtype != p.variable_dtype]
    return mixed[0] if mixed else "float32"
