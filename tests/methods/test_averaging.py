"""The average of the classifier's weights: its formula, its place in a step, its checkpoints."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf import methods
from fsgan_tf.methods.parts.averaging import WeightAverage, copy_of
from fsgan_tf.runs.checkpoints import Checkpoints, Progress
from tests.small_training import IMAGE_SHAPE, NUM_CLASSES, build_quick, dataset, fit, one_iteration

DECAY = 0.75


def _weights(model):
    return [weight.numpy() for weight in model.weights]


def _normalizing(names=True) -> keras.Model:
    return keras.Sequential(
        [
            keras.Input(IMAGE_SHAPE),
            keras.layers.Conv2D(4, 3),
            keras.layers.BatchNormalization(),
            keras.layers.Flatten(),
            keras.layers.Dense(NUM_CLASSES),
        ]
    )


def test_the_average_is_the_formula_statistics_included_and_its_first_update_copies():
    network, random = _normalizing(), np.random.default_rng(0)
    average = WeightAverage(network, DECAY)
    expected = None
    for _ in range(3):
        values = [random.random(weight.shape, np.float32) for weight in network.weights]
        network.set_weights(values)
        average.update(network)
        expected = (
            values
            if expected is None
            else [DECAY * e + (1 - DECAY) * v for e, v in zip(expected, values, strict=True)]
        )
    assert "moving_mean" in [weight.name for weight in average.network.weights]
    for found, value in zip(_weights(average.network), expected, strict=True):
        np.testing.assert_allclose(found, value, rtol=1e-6)
    assert average.updates == 3


class _WeightsOfSteps(keras.callbacks.Callback):
    """Of the classifier that trains, after each step."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(_weights(self.model.networks["classifier"]))


@pytest.mark.parametrize("name", methods.names())
def test_every_method_averages_after_each_step_and_trains_as_without(name):
    fewer = one_iteration(name)
    averaged, without = build_quick(name, ema_decay=DECAY, **fewer), build_quick(name, **fewer)
    for method in (averaged, without):
        method.run_eagerly = True  # Quicker than a trace, and to the last bit.
    noted = _WeightsOfSteps()
    averaged.fit(dataset(3), shuffle=False, verbose=0, callbacks=[noted])
    first, *later = noted.seen
    expected = first
    for new in later:
        expected = [DECAY * e + (1 - DECAY) * v for e, v in zip(expected, new, strict=True)]
    assert len(later) == 2
    for found, value in zip(_weights(averaged.average.network), expected, strict=True):
        np.testing.assert_allclose(found, value, rtol=1e-5, atol=1e-7)
    fit(without, dataset(3), 3)
    for ours, theirs in zip(new, _weights(without.networks["classifier"]), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_averages_are_float32_in_mixed_precision(precision):
    method = build_quick("standard", ema_decay=DECAY, precision=precision)
    fit(method, dataset(1), 1)
    first = _weights(method.networks["classifier"])
    fit(method, dataset(1), 1)
    second = _weights(method.networks["classifier"])
    for found, one, two in zip(_weights(method.average.network), first, second, strict=True):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, DECAY * one + (1 - DECAY) * two, rtol=1e-5, atol=1e-7)


def test_replicas_have_one_average(mirrored_strategy):
    with mirrored_strategy.scope():
        method = methods.PGDAT(_normalizing(), epsilon=0.1, ema_decay=DECAY)
    batches = dataset(2).batch(1).unbatch()
    weights = []
    for _ in range(2):
        method.fit(batches, steps_per_epoch=1, verbose=0, shuffle=False)
        weights.append(_weights(method.networks["classifier"]))
    for found, one, two in zip(_weights(method.average.network), *weights, strict=True):
        np.testing.assert_allclose(found, DECAY * one + (1 - DECAY) * two, rtol=1e-5, atol=1e-7)
    for variable in method.average.network.weights:
        first, second = mirrored_strategy.experimental_local_results(variable.value)
        np.testing.assert_array_equal(first, second)


def test_what_is_evaluated_and_saved_in_python_is_the_average(tmp_path):
    classifier = _normalizing()
    method = methods.Standard(classifier, epsilon=0.1, ema_decay=0.999)
    method.fit(dataset(4), epochs=2, verbose=0, shuffle=False)
    images = tf.random.stateless_uniform([4, *IMAGE_SHAPE], [0, 0])
    average = method.average.network(images, training=False)
    assert np.abs(average - classifier(images, training=False)).max() > 1e-3
    np.testing.assert_allclose(method(images), average, rtol=1e-4, atol=1e-5)
    method.save(tmp_path / "classifier.keras")
    saved = keras.saving.load_model(tmp_path / "classifier.keras")
    np.testing.assert_array_equal(saved(images), average)
    method.save_weights(tmp_path / "all.weights.h5")
    other = methods.Standard(_normalizing(), epsilon=0.1, ema_decay=0.999)
    other.load_weights(tmp_path / "all.weights.h5")
    assert other.average.updates == 8
    np.testing.assert_allclose(other(images), average, rtol=1e-4, atol=1e-5)


def test_a_checkpoint_holds_the_average_and_one_without_it_loads(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    progress = Progress(1, 0, tuple("abcde"), IMAGE_SHAPE)
    without = build_quick("standard")
    checkpoints.save(without, progress)
    assert checkpoints.restore(build_quick("standard")) == progress
    method, other = (build_quick("standard", ema_decay=DECAY) for _ in range(2))
    fit(method, dataset(2), 2)
    checkpoints.save(method, progress)
    checkpoints.restore(other)
    for batches in (dataset(3).skip(2), dataset(3).skip(2)):
        fit(method, batches, 1)
        fit(other, batches, 1)
    for found, value in zip(
        _weights(other.average.network), _weights(method.average.network), strict=True
    ):
        np.testing.assert_array_equal(found, value)


class _Uncopied(keras.Model):
    def __init__(self, units):
        super().__init__()
        self.dense = keras.layers.Dense(units)
        self.ops = lambda x: x

    def call(self, images):
        return self.dense(keras.ops.reshape(images, (-1, 4)))

    def get_config(self):
        raise NotImplementedError("no config")


def test_a_classifier_that_cannot_be_copied_is_refused_in_one_line():
    classifier = _Uncopied(3)
    classifier(tf.zeros([1, 2, 2, 1]))
    with pytest.raises(ValueError, match="needs a copy of the classifier.*or ema_decay=0"):
        methods.Standard(classifier, epsilon=0.1, ema_decay=DECAY)


def test_an_adapted_normalisation_normalises_in_the_average():
    images = np.random.default_rng(0).random((16, 8, 8, 3)).astype(np.float32)
    normalization = keras.layers.Normalization()
    normalization.adapt(0.01 * images + 0.9)
    classifier = keras.Sequential(
        [keras.Input((8, 8, 3)), normalization, keras.layers.Flatten(), keras.layers.Dense(2)]
    )
    copied = copy_of(classifier)
    np.testing.assert_allclose(copied(images), classifier(images), rtol=1e-5)
