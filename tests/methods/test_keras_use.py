"""The methods as a Keras user trains with them: any classifier, any data set, Keras' callbacks."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from fsgan_tf import methods
from fsgan_tf.errors import UserError
from fsgan_tf.methods import FSGAN, PGDAT, Standard
from tests.commands import ROOT
from tests.small_training import one_iteration

# Keras says so of every data set that it is not told to leave as it is.
pytestmark = pytest.mark.filterwarnings("ignore:.shuffle=True. was passed")
SHAPE, CLASSES = (10, 14, 3), 4
EPSILON = 8 / 255


def _small(*middle: layers.Layer, shape=SHAPE, dtype=None, input_dtype=None) -> keras.Sequential:
    return keras.Sequential(
        [
            keras.Input(shape, dtype=input_dtype),
            layers.Conv2D(4, 3, strides=2, dtype=dtype),
            *middle,
            layers.ReLU(dtype=dtype),
            layers.GlobalAveragePooling2D(dtype=dtype),
            layers.Dense(CLASSES, dtype=dtype),
        ]
    )


def _functional() -> keras.Model:
    inputs = keras.Input(SHAPE)
    x = layers.Conv2D(4, 3, strides=2)(inputs)
    x = layers.Dropout(0.5)(layers.BatchNormalization()(x))
    return keras.Model(inputs, layers.Dense(CLASSES)(layers.Flatten()(x)))


class Subclassed(keras.Model):
    """As many people write them."""

    def __init__(self, answer=lambda logits: logits):
        super().__init__()
        self.answer = answer
        self.features = layers.Conv2D(4, 3)
        self.normalization = layers.BatchNormalization()
        self.logits = layers.Dense(CLASSES)

    def call(self, images, training=False):
        x = self.normalization(self.features(images), training=training)
        return self.answer(self.logits(tf.reduce_mean(x, axis=[1, 2])))


def _subclassed(**options) -> keras.Model:
    classifier = Subclassed(**options)
    classifier(tf.zeros([1, *SHAPE]))
    return classifier


CLASSIFIERS = {
    "functional with batch normalisation and dropout": _functional,
    "subclassed": _subclassed,
    "group normalisation": lambda: _small(layers.GroupNormalization(2)),
    "layer normalisation": lambda: _small(layers.LayerNormalization()),
    "mixed precision": lambda: _small(layers.BatchNormalization(), dtype="mixed_bfloat16"),
}


@pytest.fixture(autouse=True)
def _seed():
    keras.utils.set_random_seed(0)


def _arrays(count: int = 12, shape=SHAPE) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.random((count, *shape), np.float32), random.integers(0, CLASSES, count)


def _batches() -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(_arrays()).batch(6)


@pytest.mark.parametrize("make", CLASSIFIERS.values(), ids=CLASSIFIERS)
def test_any_classifier_trains_with_fs_gan(make):
    classifier = make()
    method = FSGAN(
        classifier, epsilon=EPSILON, generator_width=4, latent_dim=2, attack_iterations=1
    )
    before = [weight.numpy() for weight in classifier.trainable_variables]
    history = method.fit(_batches(), epochs=2, validation_data=_batches(), verbose=0)
    assert np.isfinite([history.history[name][-1] for name in ("loss", "generator_ot")]).all()
    assert len(history.history["val_accuracy"]) == 2
    for weight, value in zip(classifier.trainable_variables, before, strict=True):
        assert np.any(weight.numpy() != value), weight.path


@pytest.mark.parametrize(
    "change",
    [lambda x, y: (x * 255, y), lambda x, y: (x * np.nan, y), lambda x, y: (x, y - 1)],
    ids=["0 to 255", "NaN", "a label of no class"],
)
def test_data_that_would_be_judged_wrongly_is_refused(change):
    images, labels = _arrays()
    method = Standard(_small(), epsilon=EPSILON)
    with pytest.raises(ValueError, match="beyond"):
        method.evaluate(*change(images, labels), batch_size=6, verbose=0)
    method.evaluate(images, labels, batch_size=6, verbose=0)


def test_replicas_evaluate_every_example_once(mirrored_strategy):
    """Eleven examples, of which one replica has six."""
    images, labels = _arrays(11)
    with mirrored_strategy.scope():
        classifier = _small()
        method = Standard(classifier, epsilon=EPSILON)
    loss, accuracy = method.evaluate(images, labels, batch_size=8, verbose=0)
    logits = classifier.predict(images, verbose=0)
    expected = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(labels, logits)
    assert loss == pytest.approx(float(expected), rel=1e-5)
    assert accuracy == pytest.approx(np.mean(logits.argmax(1) == labels))


def test_steps_by_hand_are_refused_with_what_to_call():
    method = Standard(_small(), epsilon=EPSILON)
    with pytest.raises(UserError, match="call fit"):
        method.train_on_batch(*_arrays(6))
    with pytest.raises(UserError, match="call evaluate"):
        method.test_on_batch(*_arrays(6))


def test_every_method_trains_on_the_same_small_classifier():
    """Its logits are of half precision, as under a mixed policy whose last layer is left to it."""
    assert [getattr(methods, methods.get(name).__name__) for name in methods.names()] == [
        methods.get(name) for name in methods.names()
    ]
    for name in methods.names():
        settings = one_iteration(name)
        if hasattr(methods.declared(name).settings(), "generator_width"):
            settings["generator_width"] = 4
        classifier = _small(layers.BatchNormalization(), dtype="mixed_bfloat16")
        method = methods.get(name)(classifier, epsilon=EPSILON, **settings)
        method.compile(run_eagerly=True)  # Quicker than a trace.
        # Arrays, whose images are numbered for the method that remembers each.
        history = method.fit(*_arrays(6), batch_size=6, verbose=0)
        assert np.isfinite(history.history["loss"]).all(), name


@pytest.mark.parametrize(
    "data",
    [
        _batches,
        lambda: _batches().map(lambda x, y: {"image": x, "label": y}),
        lambda: _batches().map(lambda x, y: (x, tf.cast(y, tf.uint8)[:, tf.newaxis])),
        lambda: _batches().map(lambda x, y: (tf.cast(x, tf.float64), y)),
    ],
    ids=["tuples of int64", "dictionaries", "columns of uint8", "float64"],
)
def test_data_sets_as_people_have_them_train_alike(data):
    weights = []
    for batches in (_batches(), data()):
        keras.utils.set_random_seed(0)
        classifier = _small()
        PGDAT(classifier, epsilon=EPSILON, attack_iterations=2).fit(batches, verbose=0)
        weights.append(classifier.get_weights())
    for ours, theirs in zip(*weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_arrays_train_and_evaluate_as_with_any_keras_model():
    images, labels = _arrays()
    classifier = _small(layers.BatchNormalization())
    method = Standard(classifier, epsilon=EPSILON)
    method.fit(images, labels, batch_size=6, epochs=1, verbose=0, validation_data=(images, labels))
    loss, accuracy = method.evaluate(images, labels, batch_size=5, verbose=0)
    logits = classifier.predict(images, verbose=0)
    expected = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(labels, logits)
    assert loss == pytest.approx(float(expected), rel=1e-5)
    assert accuracy == pytest.approx(np.mean(logits.argmax(1) == labels))
    again = method.evaluate(images, labels, batch_size=5, verbose=0)
    np.testing.assert_allclose(again, [loss, accuracy], rtol=1e-6)
    # Of some of them, as if nothing had been evaluated before.
    some = method.evaluate(images[:3], labels[:3], batch_size=3, verbose=0)
    expected = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(labels[:3], logits[:3])
    assert some[0] == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x, y: (x * 255, y), "divide those of 0 to 255 by 255"),
        (lambda x, y: (2 * x - 1, y), r"pixels lie in \[-"),
        (lambda x, y: (x * np.nan, y), "pixels lie in"),
        (lambda x, y: (tf.cast(x * 255, tf.uint8), y), "images are uint8.*/ 255"),
        (lambda x, y: (x, y + 1), "labels must be 0 to 3"),
        (lambda x, y: (x, tf.one_hot(y, CLASSES)), "tf.argmax"),
        (lambda x, y: x, "(images, labels)"),
    ],
)
def test_data_that_would_train_wrongly_is_refused_with_what_to_do(change, words):
    method = Standard(_small(), epsilon=EPSILON)
    with pytest.raises(ValueError, match=words):
        method.fit(_batches().map(change), verbose=0)


def _state(method) -> list[np.ndarray]:
    """Weights and moving averages, and what the optimizers keep."""
    kept = [
        *method.variables,
        *(v for o in method.optimizers_by_network.values() for v in o.variables),
    ]
    return [variable.numpy() for variable in kept]


@pytest.mark.parametrize("spoilt", [0, -1], ids=["first replica", "last replica"])
@pytest.mark.parametrize("value", [255.0, np.nan])
def test_a_refused_first_batch_trains_nothing(mirrored_strategy, value, spoilt):
    images, labels = _arrays(6)
    images[spoilt, 0, 0, 0] = value
    with mirrored_strategy.scope():
        method = Standard(_small(layers.BatchNormalization()), epsilon=EPSILON)
    before = _state(method)
    with pytest.raises(ValueError, match="pixels lie in"):
        method.fit(images, labels, batch_size=6, shuffle=False, verbose=0)
    for found, expected in zip(_state(method), before, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_batches_of_all_sizes_share_one_trace_of_the_step():
    method, traces = Standard(_small(), epsilon=EPSILON), []
    step = method.train_step

    def traced(data):
        traces.append(data)
        return step(data)

    method.train_step = traced
    method.fit(*_arrays(11), batch_size=6, epochs=2, verbose=0)
    assert len(traces) == 1


@pytest.mark.parametrize("optimizer", ["adam", {"class_name": "SGD", "config": {}}, None])
def test_compile_takes_effect(optimizer):
    method = FSGAN(_small(), epsilon=EPSILON, generator_width=4, attack_iterations=1)
    # Quicker than a trace.
    method.compile(
        optimizer=optimizer, run_eagerly=True, generator_optimizer=keras.optimizers.RMSprop(0.5)
    )
    expected = {"adam": "Adam", None: "SGD"}.get(optimizer if optimizer in ("adam", None) else "")
    assert type(method.classifier_optimizer).__name__ == (expected or "SGD")
    assert method.optimizer is method.classifier_optimizer
    assert float(method.generator_optimizer.learning_rate) == 0.5
    method.fit(_batches(), verbose=0)
    assert int(method.classifier_optimizer.iterations) == 2
    assert int(method.generator_optimizer.iterations) == 2


@pytest.mark.parametrize(
    ("settings", "optimizers", "lost"),
    [
        ({"weight_decay": 1e-3, "momentum": 0.5}, {"optimizer": "sgd"}, "momentum, weight_decay "),
        ({"weight_decay_on": "kernels"}, {"optimizer": "sgd", "generator_optimizer": "sgd"}, "_on"),
        (
            {"optimizer": "adam", "classifier_learning_rate": 1e-3},
            {"optimizer": "sgd"},
            "rate, opt",
        ),
        ({"generator_weight_decay": 1e-3}, {"generator_optimizer": "sgd"}, "generator_weight_dec"),
    ],
)
def test_settings_that_an_optimizer_replaces_are_refused(settings, optimizers, lost):
    method = FSGAN(_small(), epsilon=EPSILON, generator_width=4, **settings)
    with pytest.raises(ValueError, match=f"{lost}.*leave the setting out"):
        method.compile(**optimizers)


def test_settings_of_the_optimizers_that_are_not_given_stay():
    own = {"generator_learning_rate": 0.02, "weight_decay_on": "kernels"}
    method = FSGAN(_small(), epsilon=EPSILON, generator_width=4, **own)
    method.compile("adam")
    assert float(method.generator_optimizer.learning_rate) == pytest.approx(0.02)


@pytest.mark.parametrize("given", [False, True])
def test_averages_that_optimizers_keep_become_the_weights(given):
    def averaging():
        return keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5)

    settings = {"epsilon": EPSILON, "generator_width": 4, "attack_iterations": 1}
    method = FSGAN(_small(), **settings)
    if given:
        method = FSGAN(_small(), generator=method.networks["generator"], **settings)
    method.compile(averaging(), generator_optimizer=averaging(), run_eagerly=True)
    ends = []
    at_the_end = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: ends.append(method.generator_displacement())
    )
    method.fit(_batches(), verbose=0, callbacks=[at_the_end])
    for network, optimizer in method.optimizers_by_network.items():
        weights = method.networks[network].trainable_variables
        averages = optimizer._model_variables_moving_average
        for weight, average in zip(weights, averages, strict=True):
            np.testing.assert_array_equal(weight, average)
    # The average of two steps is behind the second.
    assert 0 < method.generator_displacement() < ends[0]


def test_a_compile_that_cannot_take_effect_is_refused():
    method = PGDAT(_small(), epsilon=EPSILON)
    with pytest.raises(TypeError, match="no loss"):
        method.compile("adam", loss="mse")
    with pytest.raises(TypeError, match="no generator_optimizer"):
        method.compile(generator_optimizer="adam")
    used = keras.optimizers.SGD()
    used.build(_small().trainable_variables)
    with pytest.raises(ValueError, match="other variables"):
        method.compile(used)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: PGDAT(_small(), epsilon=EPSILON, attack_iterations=0), "attack_iterations is 0"),
        (lambda: PGDAT(_small()), "epsilon=8/255"),
        (lambda: PGDAT(_small(layers.Activation("relu")), epsilon=0.0), "epsilon"),
        (lambda: PGDAT(keras.Sequential([layers.Dense(3)]), epsilon=EPSILON), "no weights"),
        (
            lambda: PGDAT(
                keras.Sequential([keras.Input(SHAPE), *_small().layers, layers.Softmax()]),
                epsilon=EPSILON,
            ),
            "logits",
        ),
        (lambda: FSGAN(_small(shape=(None, None, 3)), epsilon=EPSILON), "height, width"),
    ],
)
def test_what_cannot_be_trained_is_refused_when_the_method_is_made(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_a_setting_of_another_method_is_refused():
    with pytest.raises(TypeError, match="PGDAT has no latent_dim, .*threat_model=.*attack_iter"):
        PGDAT(_small(), epsilon=EPSILON, latent_dim=3, norm="l2")


def test_keras_callbacks_work_and_save_the_classifier(tmp_path):
    images, labels = _arrays()
    classifier = _functional()
    method = PGDAT(classifier, epsilon=EPSILON, attack_iterations=1)
    rates = []
    method.fit(
        _batches(),
        epochs=3,
        validation_data=_batches(),
        verbose=0,
        callbacks=[
            keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", save_best_only=True),
            keras.callbacks.ModelCheckpoint(tmp_path / "last.weights.h5", save_weights_only=True),
            keras.callbacks.BackupAndRestore(tmp_path / "backup"),
            keras.callbacks.EarlyStopping(patience=5, restore_best_weights=True),
            keras.callbacks.TensorBoard(tmp_path / "logs"),
            keras.callbacks.LearningRateScheduler(lambda epoch: 0.1 / (epoch + 1)),
            keras.callbacks.LambdaCallback(
                on_epoch_end=lambda epoch, logs: rates.append(float(method.optimizer.learning_rate))
            ),
        ],
    )
    assert rates == pytest.approx([0.1, 0.05, 0.1 / 3])
    assert any((tmp_path / "logs").rglob("events*"))
    best = keras.models.load_model(tmp_path / "best.keras")
    assert [tuple(w.shape) for w in best.weights] == [tuple(w.shape) for w in classifier.weights]
    classifier.save(tmp_path / "classifier.keras")
    again = keras.models.load_model(tmp_path / "classifier.keras")
    np.testing.assert_allclose(
        again.predict(images, verbose=0), classifier.predict(images, verbose=0), rtol=1e-5
    )
    assert len(labels) == len(images)


@pytest.mark.parametrize("monitor", ["val_accuracy", "accuracy_on_adversarial"])
def test_callbacks_know_that_a_higher_accuracy_is_better(monitor):
    method = PGDAT(_small(), epsilon=EPSILON, attack_iterations=1)
    method.compile(run_eagerly=True)
    watching = keras.callbacks.EarlyStopping(monitor=monitor)
    method.fit(*_arrays(), validation_data=_arrays(), verbose=0, callbacks=[watching])
    assert watching._is_improvement(0.5, 0.4)
    assert not watching._is_improvement(0.4, 0.5)


def test_the_means_of_an_epoch_start_anew_unless_it_goes_on():
    images, labels = _arrays()
    method = Standard(_small(), epsilon=EPSILON)
    method.fit(images, labels, batch_size=6, verbose=0)
    assert float(method.means["loss"].count) == 2
    method.continues_epoch = True
    method.fit(images, labels, batch_size=6, epochs=1, verbose=0)
    assert float(method.means["loss"].count) == 4
    method.fit(images, labels, batch_size=6, epochs=1, verbose=0)
    assert float(method.means["loss"].count) == 2


@pytest.mark.parametrize("shape", [(10, 14, 3), (9, 7, 1), (28, 28, 1)])
def test_generators_take_images_of_any_size(shape):
    images = tf.constant(_arrays(4, shape)[0])
    for name in ("fs_gan", "l2l", "l2l_da", "generated_step"):
        settings = {"generator_width": 4, **one_iteration(name)}
        method = methods.get(name)(_small(shape=shape), epsilon=EPSILON, **settings)
        adversarial = method.perturb(images, tf.constant([0, 1, 2, 3]), tf.constant([1, 2]))
        assert adversarial.shape == images.shape
        assert method.training_ball.is_feasible(adversarial, images).numpy().all()


def test_a_generator_can_be_given():
    classifier = _small()
    given = FSGAN(classifier, epsilon=EPSILON, generator_width=4).networks["generator"]
    method = FSGAN(classifier, epsilon=EPSILON, generator=given, attack_iterations=1)
    assert method.networks["generator"] is given
    method.fit(_batches(), verbose=0)


def test_the_readmes_lines_of_python_run(tmp_path, monkeypatch):
    text = (ROOT / "README.md").read_text()
    (code,) = re.findall(r"## From Python\n\n```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names = {"classifier": _small(), "train": _batches(), "validation": _batches()}
    exec(code.replace("epochs=30", "epochs=1"), names)
    assert (tmp_path / "robust.keras").exists()


def _two_outputs() -> keras.Model:
    base = _small()
    return keras.Model(base.inputs, [base.outputs[0], base.outputs[0]])


def _returning(change) -> keras.Model:
    base = _small()
    return keras.Model(base.inputs, change(base.outputs[0]))


def _two_inputs() -> keras.Model:
    images = [keras.Input(SHAPE), keras.Input(SHAPE)]
    return keras.Model(images, _small()(layers.Add()(images)))


def _frozen() -> keras.Model:
    classifier = _small()
    classifier.trainable = False
    return classifier


def _penalised(**regularizers: str) -> keras.Model:
    return keras.Sequential(
        [keras.Input(SHAPE), layers.Flatten(), layers.Dense(CLASSES, **regularizers)]
    )


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: keras.Sequential([keras.Input(SHAPE), _small(), layers.Softmax()]), "softmax"),
        (lambda: keras.Sequential([keras.Input(SHAPE), _small(), _head()]), "ends in softmax"),
        (_two_outputs, "returns a list.*outputs.0"),
        (lambda: _returning(lambda logits: {"logits": logits}), "returns a dict"),
        (lambda: keras.Sequential([keras.Input(SHAPE), layers.Dense(CLASSES)]), "returns shape"),
        (_two_inputs, "has 2 inputs"),
        (lambda: _small(shape=SHAPE, input_dtype="uint8"), r"takes uint8.*Rescaling\(255\)"),
        (_frozen, "layers are frozen"),
        (lambda: "model.keras", "is a str; give a built Keras model"),
        (lambda: tf.nn.relu, "is a function; give"),
        (lambda: keras.Sequential([_small(), layers.Dense(1)]), "returns one score"),
        (lambda: _penalised(kernel_regularizer="l2"), "losses of its own"),
        (lambda: _penalised(activity_regularizer="l2"), "losses of its own"),
    ],
)
def test_a_classifier_that_would_train_as_something_else_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        Standard(make(), epsilon=EPSILON)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: _subclassed(answer=tf.nn.softmax), "ends in softmax; its last layer must return"),
        (lambda: _returning(layers.Lambda(tf.nn.softmax)), "ends in softmax"),
        (lambda: _returning(lambda x: layers.Identity()(layers.Softmax()(x))), "ends in softmax"),
        (lambda: _subclassed(answer=lambda logits: {"logits": logits}), "returns a dict"),
        (lambda: _subclassed(answer=lambda logits: logits[:, tf.newaxis]), "returns shape"),
    ],
)
def test_answers_that_are_no_logits_are_refused_before_a_step(make, words):
    method = Standard(make(), epsilon=EPSILON)
    before = _state(method)
    with pytest.raises(ValueError, match=words):
        method.fit(_batches(), verbose=0)
    for found, expected in zip(_state(method), before, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_logits_close_to_probabilities_are_trained_on():
    def close(logits):
        return tf.nn.softmax(logits) + tf.constant([0.0, 0.0, 0.0, 0.1], logits.dtype)

    Standard(_subclassed(answer=close), epsilon=EPSILON).fit(_batches(), verbose=0)


def test_a_subclassed_classifier_of_a_dict_is_refused_by_fs_gan_too():
    with pytest.raises(ValueError, match="returns a dict"):
        FSGAN(_subclassed(answer=lambda logits: {"logits": logits}), epsilon=EPSILON)


def test_a_batch_that_leaves_a_replica_without_images_is_refused(mirrored_strategy):
    with mirrored_strategy.scope():
        method = Standard(_small(), epsilon=EPSILON)
    with pytest.raises(ValueError, match="a batch of 1 .* 2 replicas.*drop_remainder=True"):
        method.fit(*_arrays(7), batch_size=6, verbose=0)


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_exporting_a_method_exports_what_it_saves(ema_decay, tmp_path):
    images, _ = _arrays(2)
    method = Standard(_small(), epsilon=EPSILON, ema_decay=ema_decay)
    method.export(str(tmp_path / "exported"), verbose=False)
    exported = tf.saved_model.load(str(tmp_path / "exported"))
    np.testing.assert_allclose(exported.serve(images), method(images), rtol=1e-5)


def _head() -> keras.Sequential:
    return keras.Sequential([layers.Dense(CLASSES, activation="softmax")])


def test_weights_of_examples_are_refused_wherever_they_are():
    method = methods.FGSMPGI(_small(), epsilon=EPSILON)
    images, labels = _arrays()
    for option in ({"sample_weight": np.zeros(12)}, {"class_weight": {0: 2.0}}):
        with pytest.raises(ValueError, match="weights are not supported"):
            method.fit(images, labels, verbose=0, **option)
    weighted = _batches().map(lambda x, y: ({"image": x, "label": y}, tf.zeros_like(y)))
    with pytest.raises(ValueError, match="sample weights"):
        Standard(_small(), epsilon=EPSILON).fit(weighted, verbose=0)


def test_labels_of_no_class_make_the_loss_nan():
    """Beyond the first batch, whose labels are looked at."""
    images, labels = _arrays()
    labels[-1] = CLASSES
    history = Standard(_small(), epsilon=EPSILON).fit(
        images, labels, batch_size=6, shuffle=False, verbose=0
    )
    assert np.isnan(history.history["loss"][-1])


def test_an_optimizer_that_accumulates_is_refused():
    optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=4)
    with pytest.raises(ValueError, match="gradient_accumulation_steps is not supported"):
        Standard(_small(), epsilon=EPSILON).compile(optimizer=optimizer)
