"""What identifies a network's weights."""

import hashlib
import re

import numpy as np

from fsgan_tf.networks.keras_settings import keras


def weights_sha256(model: keras.Model) -> str:
    """SHA-256 of a model's weights in order, in hexadecimal; their file does not count."""
    digest = hashlib.sha256()
    for array in model.get_weights():
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def stable_paths(model: keras.Model) -> dict[str, keras.Variable]:
    """A model's variables by their paths, the same whenever the model is built.

    Keras names layers that have no name of their own after their class and counts them over the
    whole process: conv2d_7 in one, conv2d in the next. Here they are counted within the model.
    """
    automatic = {_snake_case(type(layer).__name__) for layer in model._flatten_layers()}
    counted: dict[str, str] = {}
    counts: dict[str, int] = {}

    def stable(part: str) -> str:
        match = re.fullmatch(r"(.*?)(_\d+)?", part)
        kind = match[1] if match else part
        if kind not in automatic:
            return part
        if part not in counted:
            number = counts.get(kind, 0)
            counted[part] = f"{kind}_{number}" if number else kind
            counts[kind] = number + 1
        return counted[part]

    found: dict[str, keras.Variable] = {}
    repeats: dict[str, int] = {}
    for variable in model.variables:
        *layers, weight = variable.path.split("/")
        path = "/".join([*map(stable, layers), weight])
        # Layers of two models within it may have the same name.
        repeats[path] = repeats.get(path, 0) + 1
        found[path if repeats[path] == 1 else f"{path}#{repeats[path]}"] = variable
    return found


def _snake_case(name: str) -> str:
    """As Keras makes a layer's name of its class's."""
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
