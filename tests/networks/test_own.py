"""Networks that users bring: what fits is built, what does not is told in one line."""

import sys

import keras
import numpy as np
import pytest

from fsgan_tf.errors import UserError
from fsgan_tf.networks import classifiers
from fsgan_tf.networks.own import build
from fsgan_tf.settings import Settings

SHAPE, CLASSES = (8, 8, 3), 4


def network(num_classes, image_shape, dtype):
    """As a user writes it."""
    return keras.Sequential(
        [
            keras.Input(image_shape),
            keras.layers.Conv2D(4, 3, dtype=dtype),
            keras.layers.Flatten(),
            keras.layers.Dense(num_classes, dtype="float32"),
        ]
    )


def subclassed(**arguments):
    class Own(keras.Model):
        def call(self, images):
            return images

    return Own()


def failing(**arguments):
    raise RuntimeError("of no use")


def leaving(**arguments):
    sys.exit(0)


def broken(num_classes, image_shape, dtype):
    model = network(num_classes, image_shape, dtype)
    model.set_weights([np.full_like(weight, np.nan) for weight in model.get_weights()])
    return model


def _build(name, **options):
    return build(name, **{"num_classes": CLASSES, "image_shape": SHAPE, **options})


def test_a_function_is_called_with_what_it_needs():
    model = _build(f"{__name__}:network", dtype="mixed_bfloat16")
    assert model.output_shape == (None, CLASSES)
    assert model.layers[0].compute_dtype == "bfloat16"


def test_a_file_starts_from_its_weights(tmp_path):
    given, file = network(CLASSES, SHAPE, "float32"), str(tmp_path / "own.keras")
    given.save(file)
    model = classifiers.build(file, Settings(), num_classes=CLASSES, image_shape=SHAPE)
    for ours, theirs in zip(model.get_weights(), given.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere.keras", "there is no such file"),
        ("no_such_module:build", "ModuleNotFoundError"),
        (f"{__name__}:missing", "AttributeError"),
        (f"{__name__}:failing", r"RuntimeError: of no use\); it is called with num_classes"),
        (f"{__name__}:leaving", "failed .SystemExit: 0"),
        (f"{__name__}:broken", "broken has weights that are NaN or infinite"),
        (f"{__name__}:subclassed", "must be a functional or sequential Keras model"),
        ("a b:c", "no such architecture"),
    ],
)
def test_what_cannot_be_built_is_told_in_one_line(name, words):
    with pytest.raises(UserError, match=words) as told:
        _build(name)
    assert "\n" not in str(told.value)


def test_a_file_for_other_images_or_with_code_is_refused(tmp_path):
    file = str(tmp_path / "own.keras")
    network(CLASSES, (9, 9, 3), "float32").save(file)
    with pytest.raises(UserError, match=r"takes \(None, 9, 9, 3\).* need \(None, 8, 8, 3\)"):
        _build(file)
    code = keras.Sequential([keras.Input(SHAPE), keras.layers.Lambda(lambda x: x)])
    code.save(file)
    with pytest.raises(UserError, match="Lambda"):
        _build(file)


def test_other_names_are_refused():
    assert classifiers.fault("preact_resnet18") is None
    assert "wide_resnet, or a FILE.keras, or module:function" in classifiers.fault("resnet")
