"""What a method needs to know of a classifier that it did not make."""

import keras
import tensorflow as tf

_PROBABILITIES = ("softmax", "sigmoid")


def require_logits(classifier: keras.Model) -> None:
    """Raises `ValueError` unless the classifier has weights and, as far as can be seen, logits."""
    if not classifier.built or not classifier.trainable_variables:
        raise ValueError(
            "the classifier has no weights to train yet; call it once on a batch, or give it a "
            "keras.Input"
        )
    layers = getattr(classifier, "layers", None) or [None]
    last = layers[-1]
    activation = getattr(getattr(last, "activation", None), "__name__", "")
    if isinstance(last, keras.layers.Softmax) or activation in _PROBABILITIES:
        raise ValueError(
            f"the classifier ends in {activation or 'softmax'}; its last layer must return logits: "
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
