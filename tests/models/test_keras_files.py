"""Classifiers from Keras files."""

import io
import json
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf.errors import UserError
from fsgan_tf.models.keras_files import keras_classifier, load_keras_model
from fsgan_tf.models.preprocessing import Preprocessing


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


def _load(model, path, **options):
    model.save(path)
    return load_keras_model(str(path), **options)


@pytest.mark.parametrize("ending", ["h5", "hdf5"])
def test_hdf5_files_of_plain_layers(ending, tmp_path, native, pixels):
    classifier = _load(native, tmp_path / f"m.{ending}")
    np.testing.assert_array_equal(classifier.logits_fn(pixels), native(pixels))


def test_hdf5_files_of_weights_alone(tmp_path, native):
    native.save_weights(tmp_path / "m.weights.h5")
    with pytest.raises(UserError, match="holds weights alone"):
        load_keras_model(str(tmp_path / "m.weights.h5"))


@pytest.mark.parametrize("ending", ["keras", "h5"])
def test_a_metric_of_the_users_own_is_not_looked_at(ending, tmp_path, native, pixels):
    @keras.saving.register_keras_serializable("mine")
    class Accuracy(keras.metrics.Mean):
        pass

    model = keras.models.clone_model(native)
    model.set_weights(native.get_weights())
    model.compile(loss="mse", metrics=[Accuracy()])
    path = tmp_path / f"m.{ending}"
    model.save(path)
    keras.saving.get_custom_objects().clear()
    classifier = load_keras_model(str(path))
    np.testing.assert_array_equal(classifier.logits_fn(pixels), native(pixels))


def test_a_subclassed_model_is_to_be_exported(tmp_path, pixels):
    class Net(keras.Model):
        def __init__(self, **options):
            super().__init__(**options)
            self.head = keras.layers.Dense(5)

        def call(self, images):
            return self.head(keras.ops.reshape(images, [-1, 48]))

    net = Net()
    net(pixels)
    net.save(tmp_path / "m.keras")
    with pytest.raises(UserError) as refusal:
        load_keras_model(str(tmp_path / "m.keras"))
    assert "a model of the class Net" in str(refusal.value)
    assert "model.export(DIR)" in str(refusal.value)


def _of_keras_2(path: Path) -> None:
    """As Keras 2.15 writes a Sequential model, with what Keras 3 does not read."""
    config = {
        "class_name": "Sequential",
        "module": "keras.src.engine.sequential",
        "registered_name": "Sequential",
        "config": {
            "name": "sequential",
            "layers": [
                {
                    "class_name": "Dense",
                    "module": "keras.src.layers.core.dense",
                    "registered_name": "Dense",
                    "config": {"name": "d", "units": 3, "groups": 1, "long": "x" * 5000},
                }
            ],
        },
    }
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "2.15.0"}))
        archive.writestr("config.json", json.dumps(config))
        with io.BytesIO() as weights:
            h5py.File(weights, "w").close()
            archive.writestr("model.weights.h5", weights.getvalue())


def test_a_file_of_keras_2_says_what_made_it_and_how_to_convert_it(tmp_path):
    _of_keras_2(tmp_path / "m.keras")
    with pytest.raises(UserError) as refusal:
        load_keras_model(str(tmp_path / "m.keras"))
    message = str(refusal.value)
    assert "was made by Keras 2.15.0" in message
    assert "model.export(DIR)" in message
    assert len(message) < 400


def test_a_failure_of_keras_is_one_short_line(tmp_path, native, monkeypatch):
    def fail(*_, **__):
        raise ValueError("bad\nconfig " + "x" * 5000)

    native.save(tmp_path / "m.keras")
    monkeypatch.setattr(keras.models, "load_model", fail)
    with pytest.raises(UserError, match="cannot be loaded as a Keras model: bad config x") as error:
        load_keras_model(str(tmp_path / "m.keras"))
    assert len(str(error.value)) < 500


def _same_gradient(classifier, model, pixels):
    """That of the first logit, through both."""
    gradients = []
    for logits_fn in (classifier.logits_fn, model):
        with tf.GradientTape() as tape:
            images = tf.constant(pixels)
            tape.watch(images)
            logits = logits_fn(images)[:, 0]
        gradients.append(tape.gradient(logits, images))
    np.testing.assert_allclose(*gradients, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["batch", "uint8", "channels_first", "rank_3", "rank_2"])
def test_what_it_takes_is_made_of_images(kind, tmp_path, native, pixels):
    grey = kind == "rank_3"
    head = native.layers[-1]
    shapes = {
        "batch": (4, 4, 3),
        "uint8": (4, 4, 3),
        "channels_first": (3, 4, 4),
        "rank_3": (4, 4),
        "rank_2": (48,),
    }
    images = keras.Input(
        shapes[kind],
        batch_size=5 if kind == "batch" else None,
        dtype="uint8" if kind == "uint8" else None,
    )
    x = images
    if kind == "uint8":
        x = keras.layers.Rescaling(1 / 255)(keras.ops.cast(x, "float32"))
    if kind == "channels_first":
        x = keras.layers.Permute((2, 3, 1))(x)
    if grey:
        x = keras.layers.Concatenate()([keras.layers.Reshape((4, 4, 1))(x)] * 3)
    model = keras.Model(images, head(keras.layers.Flatten()(x)))
    classifier = _load(model, tmp_path / "m.keras")
    shown = pixels[..., :1] if grey else pixels

    assert classifier.image_shape == {"rank_3": (4, 4, 1), "rank_2": (48,)}.get(kind, (4, 4, 3))
    assert classifier.differentiable
    assert bool(classifier.notes) == (kind != "batch")
    expected = lambda x: native(tf.repeat(x, 3, axis=-1) if grey else x)  # noqa: E731
    np.testing.assert_allclose(classifier.logits_fn(shown), expected(shown), atol=1e-5)
    for count in (1, 7):
        assert classifier.logits_fn(shown[:count]).shape == (count, 5)
    _same_gradient(classifier, expected, shown)
    if kind == "uint8":
        assert str(classifier.preprocessing) == "--input_range=0,255"
        assert "takes uint8" in classifier.notes[0]


def test_a_batch_that_layers_fix_is_padded_and_cut(tmp_path, native, pixels):
    images = keras.Input((4, 4, 3), batch_size=5)
    rows = keras.ops.reshape(images, (5, 48))
    model = keras.Model(images, native.layers[-1](rows))
    classifier = _load(model, tmp_path / "m.keras")
    assert "takes 5 images at a time" in classifier.notes[0]
    for count in (1, 5, 12):
        answered = classifier.logits_fn(pixels[:count])
        np.testing.assert_allclose(answered, native(pixels[:count]), atol=1e-5)
    _same_gradient(classifier, native, pixels)


def test_a_sequential_model_whose_batch_an_early_call_fixed(tmp_path, native, pixels):
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(5)])
    model.build((7, 4, 4, 3))
    model.layers[-1].set_weights(native.layers[-1].get_weights())
    classifier = _load(model, tmp_path / "m.keras")
    np.testing.assert_allclose(classifier.logits_fn(pixels), native(pixels), atol=1e-5)


def test_one_of_several_outputs_by_name(tmp_path, native, pixels):
    images = keras.Input((4, 4, 3))
    scores = native.layers[-1](keras.layers.Flatten()(images))
    other = keras.layers.Dense(2, name="embedding")(scores)
    model = keras.Model(images, {"scores": scores, "embedding": other})
    classifier = _load(model, tmp_path / "m.keras", output_name="scores")
    np.testing.assert_allclose(classifier.logits_fn(pixels), native(pixels), atol=1e-5)
    listed = keras.Model(images, [scores, other])
    classifier = _load(listed, tmp_path / "l.keras", output_name=native.layers[-1].name)
    assert classifier.num_classes == 5
    with pytest.raises(UserError, match="no output logits; its outputs are dense.*, embedding"):
        load_keras_model(str(tmp_path / "l.keras"), output_name="logits")


@pytest.mark.parametrize("activation", [None, "sigmoid"])
def test_one_output_is_a_binary_classifier(activation, tmp_path, pixels):
    dense = keras.layers.Dense(1, activation=activation)
    model = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Flatten(), dense])
    classifier = _load(model, tmp_path / "m.keras")
    z = pixels.reshape(len(pixels), -1) @ dense.kernel.numpy() + dense.bias.numpy()
    expected = np.concatenate([np.zeros_like(z), z], axis=1)
    np.testing.assert_allclose(classifier.logits_fn(pixels), expected, atol=1e-5)
    assert classifier.num_classes == 2
    assert any("binary classifier" in note for note in classifier.notes)


def test_a_model_in_memory_is_read_as_its_file_is(tmp_path, native, pixels):
    scaled = keras.layers.Rescaling(1 / 255)(images := keras.Input((4, 4, 3)))
    model = keras.Model(images, keras.layers.Softmax()(native(scaled)))
    classifier = keras_classifier(model, preprocessing=Preprocessing("0,255"))
    np.testing.assert_allclose(classifier.logits_fn(pixels), native(pixels), atol=1e-5)
    assert classifier.sha256 == ""
