import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from fsgan_tf.networks.classifiers import wide_resnet
from fsgan_tf.networks.fused_normalization import (
    with_batch_statistics,
    with_fused_normalization,
)

IMAGES = np.random.default_rng(0).uniform(size=(6, 8, 8, 3)).astype(np.float32)


@pytest.fixture
def network():
    """Gains and biases are not all ones and zeros."""
    keras.utils.set_random_seed(0)
    network = wide_resnet.build(
        wide_resnet.Settings(classifier_depth=10, classifier_width=1),
        num_classes=5,
        image_shape=(8, 8, 3),
    )
    random = np.random.default_rng(1)
    for weight in network.weights:
        weight.assign(weight + 0.3 * random.uniform(size=weight.shape))
    return network


def _step(model):
    with tf.GradientTape() as tape:
        outputs = model(IMAGES, training=True)
        loss = tf.reduce_mean(outputs**2)
    return outputs.numpy(), tape.gradient(loss, model.trainable_variables)


def test_it_shares_every_variable_in_order(network):
    view = with_fused_normalization(network)
    for own, shared in zip(network.weights, view.weights, strict=True):
        assert own is shared
    for own, shared in zip(network.trainable_variables, view.trainable_variables, strict=True):
        assert own is shared


def test_a_training_pass_and_its_gradient_are_keras(network):
    view = with_fused_normalization(network)
    outputs, gradients = _step(network)
    fused_outputs, fused_gradients = _step(view)
    np.testing.assert_allclose(fused_outputs, outputs, rtol=1e-4, atol=1e-6)
    for ours, keras_own in zip(fused_gradients, gradients, strict=True):
        atol = 1e-4 * np.abs(keras_own).max()
        np.testing.assert_allclose(ours, keras_own, rtol=1e-3, atol=atol)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("affine", [False, True])
def test_moving_averages_take_the_batchs_mean_and_unbiased_variance(compiled, affine):
    inputs = keras.Input((8, 8, 3))
    layer = layers.BatchNormalization(momentum=0.7, center=affine, scale=affine)
    view = with_fused_normalization(keras.Model(inputs, layer(inputs)))
    run = tf.function(lambda images: view(images, training=True), jit_compile=compiled)
    outputs = run(tf.constant(IMAGES))
    mean, variance = IMAGES.mean((0, 1, 2)), IMAGES.var((0, 1, 2), ddof=1)
    np.testing.assert_allclose(layer.moving_mean, 0.3 * mean, rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance, 0.7 + 0.3 * variance, rtol=1e-5)
    expected = (IMAGES - mean) / np.sqrt(IMAGES.var((0, 1, 2)) + layer.epsilon)
    np.testing.assert_allclose(outputs, expected, rtol=1e-3, atol=1e-5)


def test_epsilon_is_the_layers_however_small():
    inputs = keras.Input((8, 8, 3))
    layer = layers.BatchNormalization(epsilon=1e-10)
    view = with_fused_normalization(keras.Model(inputs, layer(inputs)))
    variance = np.var(1e-4 * IMAGES, (0, 1, 2))
    assert variance.max() < 1e-9
    outputs = view(1e-4 * IMAGES, training=True).numpy()
    expected = np.sqrt(variance / (variance + 1e-10))
    np.testing.assert_allclose(outputs.std((0, 1, 2)), expected, rtol=1e-3)


@pytest.mark.parametrize("compiled", [False, True])
def test_inference_and_its_gradients_are_keras_and_keep_no_statistics(network, compiled):
    before = [weight.numpy() for weight in network.weights]

    def gradients(model):
        images = tf.constant(IMAGES)
        with tf.GradientTape() as tape:
            tape.watch(images)
            loss = tf.reduce_mean(model(images, training=False) ** 2)
        return loss, tape.gradient(loss, [images, *model.trainable_variables])

    loss, expected = gradients(network)
    view = with_fused_normalization(network)
    ours, found = tf.function(lambda: gradients(view), jit_compile=compiled)()
    assert float(ours) == pytest.approx(float(loss), rel=1e-4)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4 * np.abs(other).max())
    for weight, value in zip(network.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)


def test_hidden_activations_keep_their_precision():
    network = wide_resnet.build(
        wide_resnet.Settings(classifier_depth=10, classifier_width=1),
        num_classes=5,
        image_shape=(8, 8, 3),
        dtype="mixed_bfloat16",
    )
    view = with_fused_normalization(network)
    normalized = view.get_layer("group1_block1_pre_bn")(
        tf.cast(IMAGES, "bfloat16")[..., :1] * tf.ones([16], "bfloat16"), training=True
    )
    assert normalized.dtype == tf.bfloat16
    assert view(IMAGES, training=False).dtype == tf.float32
    assert all(weight.dtype == "float32" for weight in network.weights)


class _Halved(layers.BatchNormalization):
    """A class with a `call` of its own."""

    def call(self, inputs, training=None, mask=None):
        return 0.5 * super().call(inputs, training=training, mask=mask)


# What the fused operation does not do, with images that it could take.
NOT_FUSED = {
    "a class of its own": _Halved,
    "synchronized": lambda: layers.BatchNormalization(synchronized=True),
    "renorm": lambda: layers.BatchNormalization(renorm=True),
}


@pytest.fixture(params=NOT_FUSED.values(), ids=NOT_FUSED)
def not_fused(request):
    try:
        return request.param()
    except (TypeError, ValueError):
        pytest.skip("Keras has it from 3.13 on")


def test_a_normalization_with_settings_of_its_own_is_called_as_it_is(not_fused):
    inputs = keras.Input((8, 8, 3))
    network = keras.Model(inputs, not_fused(inputs))
    assert with_fused_normalization(network).layers[-1] is not_fused
    before = [weight.numpy() for weight in network.weights]
    found = with_batch_statistics(network)(IMAGES, training=True)
    for weight, value in zip(network.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)
    np.testing.assert_array_equal(found, network(IMAGES, training=True))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.normalization = layers.BatchNormalization()

    def call(self, images, training=False):
        return self.normalization(images, training=training)


class _Block(layers.Layer):
    """A layer of one's own in a functional model."""

    def __init__(self):
        super().__init__()
        self.normalization = layers.BatchNormalization()

    def build(self, shape):
        self.normalization.build(shape)

    def call(self, images, training=False):
        return self.normalization(images, training=training)


def _subclassed():
    network = Subclassed()
    network(IMAGES)
    return network


def _with_a_block():
    inputs = keras.Input((8, 8, 3))
    return keras.Model(inputs, _Block()(inputs))


@pytest.mark.parametrize("replicas", [False, True], ids=["one", "two replicas"])
@pytest.mark.parametrize("make", [_subclassed, _with_a_block])
def test_by_batch_a_class_that_calls_its_own_layers_keeps_no_statistics(
    make, replicas, mirrored_strategy
):
    """In a graph, whose operations run in an order of its own."""
    strategy = mirrored_strategy if replicas else tf.distribute.get_strategy()
    with strategy.scope():
        network = make()
    view = with_batch_statistics(network)
    before = [weight.numpy() for weight in network.weights]

    @tf.function(autograph=False)
    def passes(model):
        return strategy.run(lambda: model(IMAGES, training=True))

    found = strategy.experimental_local_results(passes(view))[0]
    for weight, value in zip(network.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)
    expected = strategy.experimental_local_results(passes(network))[0]
    np.testing.assert_array_equal(found, expected)
    assert any(np.any(w.numpy() != v) for w, v in zip(network.weights, before, strict=True))


def test_what_has_no_fused_operation_stays_keras():
    """Gains in another type than float32, vectors, and other axes than the last."""
    for inputs, layer in (
        (keras.Input((8, 8, 3), dtype="float64"), layers.BatchNormalization(dtype="float64")),
        (keras.Input((8, 8, 3)), layers.BatchNormalization(dtype="float16")),
        (keras.Input((5,)), layers.BatchNormalization()),
        (keras.Input((3, 8, 8)), layers.BatchNormalization(axis=1)),
    ):
        view = with_fused_normalization(keras.Model(inputs, layer(inputs)))
        assert view.layers[-1] is layer


def test_the_network_saves_without_it(network, tmp_path):
    with_fused_normalization(network)
    network.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras", safe_mode=True)
    np.testing.assert_array_equal(loaded(IMAGES), network(IMAGES))
    assert {type(layer).__module__.split(".")[0] for layer in loaded.layers} == {"keras"}


@pytest.mark.parametrize("compiled", [False, True])
def test_by_batch_it_is_the_training_pass_and_its_gradients_and_keeps_no_statistics(
    network, compiled
):
    before = [weight.numpy() for weight in network.weights]
    view = with_batch_statistics(network)
    images = tf.constant(IMAGES)

    def gradients(model):
        with tf.GradientTape() as tape:
            tape.watch(images)
            loss = tf.reduce_mean(model(images, training=True) ** 2)
        return loss, tape.gradient(loss, [images, *model.trainable_variables])

    loss, found = tf.function(lambda: gradients(view), jit_compile=compiled)()
    for weight, value in zip(network.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)
    expected_loss, expected = gradients(network)
    assert float(loss) == pytest.approx(float(expected_loss), rel=1e-4)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4 * np.abs(other).max())


@pytest.mark.parametrize(
    ("shape", "dtype", "options"),
    [
        ((8, 8, 3), "float64", {}),
        ((5,), "float32", {"center": False}),
        ((3, 8, 8), "float32", {"axis": 1, "scale": False}),
    ],
)
def test_by_batch_what_has_no_fused_operation_keeps_no_statistics_either(shape, dtype, options):
    inputs = keras.Input(shape, dtype=dtype)
    layer = layers.BatchNormalization(dtype=dtype, **options)
    network = keras.Model(inputs, layer(inputs))
    view = with_batch_statistics(network)
    x = np.random.default_rng(0).normal(2, 3, (6, *shape)).astype(dtype)
    before = [weight.numpy() for weight in network.weights]
    by_batch, by_averages = view(x, training=True), view(x, training=False)
    for weight, value in zip(network.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)
    assert by_batch.dtype == dtype
    np.testing.assert_allclose(by_averages, network(x, training=False), rtol=1e-6)
    np.testing.assert_allclose(by_batch, network(x, training=True), rtol=1e-4, atol=1e-5)


def _with_frozen(frozen: bool) -> keras.Model:
    keras.utils.set_random_seed(0)
    normalization = layers.BatchNormalization()
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.Conv2D(4, 3), normalization, layers.Flatten()]
    )
    normalization.trainable = not frozen
    return model


@pytest.mark.parametrize("view", [with_fused_normalization, with_batch_statistics])
@pytest.mark.parametrize("nested", [False, True])
def test_a_frozen_layer_keeps_and_uses_its_moving_averages(view, nested):
    network = _with_frozen(True)
    model = keras.Sequential([keras.Input((8, 8, 3)), network]) if nested else network
    before = [weight.numpy() for weight in model.weights]
    expected = model(IMAGES, training=False)
    np.testing.assert_allclose(view(model)(IMAGES, training=True), expected, rtol=1e-4, atol=1e-5)
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)


def test_layers_of_nested_models_are_replaced_too():
    model = keras.Sequential([keras.Input((8, 8, 3)), _with_frozen(False)])
    before = [weight.numpy() for weight in model.weights]
    expected = with_batch_statistics(_with_frozen(False))(IMAGES, training=True)
    found = with_batch_statistics(model)(IMAGES, training=True)
    np.testing.assert_array_equal(found, expected)
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)
    fused = with_fused_normalization(model)
    assert [id(weight) for weight in fused.weights] == [id(weight) for weight in model.weights]


class _Functional(keras.Model):
    def call(self, images, training=None):
        return super().call(100 * images, training=training)


class _Sequential(keras.Sequential):
    def call(self, images, training=None):
        return super().call(100 * images, training=training)


def test_a_class_that_decides_how_its_layers_are_called_is_left_as_it_is():
    inputs = keras.Input((8, 8, 3))
    outputs = layers.Flatten()(layers.BatchNormalization()(inputs))
    for model in (
        _Functional(inputs, outputs),
        _Sequential([keras.Input((8, 8, 3)), layers.BatchNormalization(), layers.Flatten()]),
    ):
        for view in (with_fused_normalization, with_batch_statistics):
            np.testing.assert_array_equal(view(model)(IMAGES), model(IMAGES))
            outer = keras.Sequential([keras.Input((8, 8, 3)), model])
            np.testing.assert_array_equal(view(outer)(IMAGES), model(IMAGES))
