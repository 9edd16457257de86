"""Classifiers from Keras files."""

import keras
import numpy as np
import pytest

from fsgan_tf.errors import UserError
from fsgan_tf.models.keras_files import load_keras_model


def _keras_models():
    images, other = keras.Input((4, 4, 3), name="image"), keras.Input((2,), name="other")
    scores = keras.layers.Dense(5)(keras.layers.Flatten()(images))
    both = keras.layers.Concatenate()([scores, other])
    volumes = keras.Input((4, 4, 4, 3), name="volumes")
    return {
        "one input; it has image, other": keras.Model([images, other], both),
        "which output holds its logits; its outputs are a, b": keras.Model(
            images, {"a": scores, "b": keras.layers.Dense(5)(scores)}
        ),
        "takes (None, 4, 4, 4, 3) (volumes)": keras.Model(
            volumes, keras.layers.Dense(5)(keras.layers.Flatten()(volumes))
        ),
        "must return floating-point": keras.Model(images, keras.layers.Conv2D(5, 3)(images)),
    }


@pytest.mark.parametrize("words", _keras_models())
def test_keras_files_that_are_no_classifier(words, tmp_path):
    path = tmp_path / "model.keras"
    _keras_models()[words].save(path)
    with pytest.raises(UserError) as refusal:
        load_keras_model(str(path))
    assert words in str(refusal.value)


def test_a_dict_of_one_input_and_one_output_is_a_classifier(tmp_path, native, pixels):
    inputs = keras.Input((4, 4, 3), name="image")
    keras.Model({"image": inputs}, {"scores": native(inputs)}).save(tmp_path / "m.keras")
    classifier = load_keras_model(str(tmp_path / "m.keras"))
    np.testing.assert_array_equal(classifier.logits_fn(pixels), native(pixels))
