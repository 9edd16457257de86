import keras
import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf.cli import training_flags
from fsgan_tf.errors import UserError
from fsgan_tf.methods.parts import optimizers
from tests.small_training import build_small

MOMENTUM, L2 = 0.9, 0.05
# Momentum gathers before the rate drops: a velocity that holds the old rate would show.
LEARNING_RATES = [0.1, 0.1, 0.1, 0.01, 0.01, 0.001]


@pytest.fixture
def starts():
    generator = np.random.default_rng(0)
    return [generator.normal(size=(3, 2)), generator.normal(size=(4,))]


@pytest.fixture
def gradients(starts):
    """By step, then by variable."""
    generator = np.random.default_rng(1)
    return [[generator.normal(size=start.shape) for start in starts] for _ in LEARNING_RATES]


def _torch_sgd(start, gradients, learning_rates=LEARNING_RATES, momentum=MOMENTUM, l2=L2):
    """torch.optim.SGD's documented algorithm, in float64, on one variable."""
    variable, buffer = start, None
    for gradient, learning_rate in zip(gradients, learning_rates, strict=True):
        gradient = gradient + l2 * variable
        buffer = gradient if buffer is None else momentum * buffer + gradient
        variable = variable - learning_rate * buffer
    return variable


def _build(starts, kind="sgd", **options):
    variables = [keras.Variable(start, dtype="float32") for start in starts]
    arguments = {"learning_rate": 0.1, "momentum": MOMENTUM, "l2": L2, "name": "test_optimizer"}
    arguments |= {"loss_scaling": False, "l2_on": "all"}
    return optimizers.build(kind, variables, **{**arguments, **options}), variables


@pytest.mark.parametrize("loss_scaling", [False, True])
def test_sgd_is_torchs_through_learning_rate_drops(loss_scaling, starts, gradients):
    optimizer, variables = _build(starts, loss_scaling=loss_scaling)
    for step_gradients, learning_rate in zip(gradients, LEARNING_RATES, strict=True):
        optimizer.learning_rate = learning_rate
        scale = optimizer.scale_loss(tf.constant(1.0))
        assert (scale > 1) == loss_scaling
        optimizer.apply([scale * tf.constant(g, tf.float32) for g in step_gradients], variables)
    for index, (variable, start) in enumerate(zip(variables, starts, strict=True)):
        expected = _torch_sgd(start, [step_gradients[index] for step_gradients in gradients])
        np.testing.assert_allclose(variable, expected, rtol=1e-5, atol=1e-6)
    assert optimizer.iterations == len(LEARNING_RATES)


@pytest.mark.parametrize("loss_scaling", [False, True])
def test_two_replicas_sum_their_gradients_and_add_l2_once(
    loss_scaling, starts, gradients, mirrored_strategy
):
    with mirrored_strategy.scope():
        optimizer, variables = _build(starts, loss_scaling=loss_scaling)

    @tf.function
    def step(step_gradients):
        def replica_step():
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            # A quarter of the gradient on one replica, the rest on the other.
            share = tf.where(replica == 0, 0.25, 0.75)
            scale = optimizer.scale_loss(share)
            optimizer.apply([scale * gradient for gradient in step_gradients], variables)

        mirrored_strategy.run(replica_step)

    for step_gradients in gradients:
        step([tf.constant(gradient, tf.float32) for gradient in step_gradients])
    constant_rate = [0.1] * len(gradients)
    for index, (variable, start) in enumerate(zip(variables, starts, strict=True)):
        own_gradients = [step_gradients[index] for step_gradients in gradients]
        expected = _torch_sgd(start, own_gradients, constant_rate)
        for copy in mirrored_strategy.experimental_local_results(variable.value):
            np.testing.assert_allclose(copy, expected, rtol=1e-5, atol=1e-6)


def test_sgd_comes_back_from_its_config(starts, gradients):
    optimizer, _ = _build(starts, l2=0.3, momentum=0.5)
    copy = optimizers.SGD.from_config(optimizer.get_config())
    variable = keras.Variable(starts[0], dtype="float32")
    for step_gradients in gradients[:2]:
        copy.apply([tf.constant(step_gradients[0], tf.float32)], [variable])
    expected = _torch_sgd(starts[0], [gradients[0][0], gradients[1][0]], [0.1, 0.1], 0.5, 0.3)
    np.testing.assert_allclose(variable, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("kind", "expected"), [("sgd", optimizers.SGD), ("adam", optimizers.Adam)])
def test_build_makes_a_built_optimizer_of_its_kind(kind, expected, starts):
    optimizer, variables = _build(starts, kind, learning_rate=0.25)
    assert type(optimizer) is expected
    assert optimizer.built
    assert optimizer.name == "test_optimizer"
    assert float(optimizer.learning_rate) == 0.25
    before = len(optimizer.variables)
    optimizer.apply([tf.ones_like(variable) for variable in variables], variables)
    assert len(optimizer.variables) == before


def _torch_adam(start, gradients, learning_rates=LEARNING_RATES, l2=L2):
    """torch.optim.Adam's documented algorithm, in float64, on one variable."""
    variable, first, second = start, 0.0, 0.0
    for step, (gradient, learning_rate) in enumerate(
        zip(gradients, learning_rates, strict=True), 1
    ):
        gradient = gradient + l2 * variable
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        deviation = np.sqrt(second / (1 - 0.999**step)) + 1e-8
        variable = variable - learning_rate * first / (1 - 0.9**step) / deviation
    return variable


@pytest.mark.parametrize("l2_on", ["all", "kernels"])
def test_adamw_is_adam_with_weight_decay_beside_the_gradient(l2_on, starts, gradients):
    """torch.optim.AdamW's documented algorithm: variable *= 1 - rate * decay, then Adam's step."""
    optimizer, variables = _build(starts, "adamw", l2_on=l2_on)
    expected = [start.copy() for start in starts]
    first, second = ([np.zeros_like(start) for start in starts] for _ in range(2))
    for step, (step_gradients, rate) in enumerate(zip(gradients, LEARNING_RATES, strict=True), 1):
        optimizer.learning_rate = rate
        optimizer.apply([tf.constant(g, tf.float32) for g in step_gradients], variables)
        for index, gradient in enumerate(step_gradients):
            if l2_on == "all" or expected[index].ndim > 1:
                expected[index] *= 1 - rate * L2
            first[index] = 0.9 * first[index] + 0.1 * gradient
            second[index] = 0.999 * second[index] + 0.001 * gradient**2
            deviation = np.sqrt(second[index] / (1 - 0.999**step)) + 1e-8
            expected[index] -= rate * first[index] / (1 - 0.9**step) / deviation
    for variable, value in zip(variables, expected, strict=True):
        np.testing.assert_allclose(variable, value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("optimizer", "expected"), [("adam", optimizers.Adam), ("adamw", keras.optimizers.AdamW)]
)
def test_a_methods_classifier_has_the_optimizer_of_its_setting(optimizer, expected):
    method = build_small("pgd_at", optimizer=optimizer, classifier_learning_rate=1e-3)
    assert type(method.classifier_optimizer) is expected
    assert float(method.classifier_optimizer.learning_rate) == pytest.approx(1e-3)
    assert type(build_small("pgd_at").classifier_optimizer) is optimizers.SGD


def test_adam_at_the_rate_of_sgd_is_refused():
    with pytest.raises(UserError, match="classifier_learning_rate is 0.1.*at most 0.05; give one"):
        training_flags.parse(["--method=standard", "--optimizer=adamw"])


@pytest.mark.parametrize("loss_scaling", [False, True])
def test_adam_is_torchs_with_coupled_l2(loss_scaling, starts, gradients):
    optimizer, variables = _build(starts, "adam", loss_scaling=loss_scaling)
    for step_gradients, learning_rate in zip(gradients, LEARNING_RATES, strict=True):
        optimizer.learning_rate = learning_rate
        scale = optimizer.scale_loss(tf.constant(1.0))
        optimizer.apply([scale * tf.constant(g, tf.float32) for g in step_gradients], variables)
    for index, (variable, start) in enumerate(zip(variables, starts, strict=True)):
        expected = _torch_adam(start, [step_gradients[index] for step_gradients in gradients])
        np.testing.assert_allclose(variable, expected, rtol=1e-4, atol=1e-5)


def test_adam_comes_back_from_its_config(starts):
    optimizer = optimizers.Adam(0.25, l2=0.3)
    copy = optimizers.Adam.from_config(optimizer.get_config())
    assert (copy.l2, copy.epsilon) == (0.3, 1e-8)


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_loss_scaling_skips_steps_that_overflow(kind, starts):
    optimizer, variables = _build(starts, kind, loss_scaling=True)
    assert isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    assert optimizer.name == "test_optimizer_scaled"
    optimizer.apply([tf.fill(variable.shape, np.inf) for variable in variables], variables)
    for variable, start in zip(variables, starts, strict=True):
        np.testing.assert_array_equal(variable, start.astype(np.float32))


def test_values_not_given_are_the_authors():
    sgd, adam = optimizers.SGD(), optimizers.Adam()
    assert (float(sgd.learning_rate), sgd.momentum, sgd.l2) == (pytest.approx(0.1), 0.9, 0)
    assert (float(adam.learning_rate), adam.l2) == (pytest.approx(1e-3), 0)


@pytest.mark.parametrize("optimizer", [optimizers.SGD(0.5, l2=0.25), optimizers.Adam(0.5, l2=0.25)])
def test_a_variable_of_another_precision_is_updated_in_its_own(optimizer):
    variable = keras.Variable([1.0, -2.0], dtype="float64")
    optimizer.build([variable])
    optimizer.update_step(tf.constant([3.0, 3.0]), variable, optimizer.learning_rate)
    assert variable.dtype == "float64"
    expected = [1 - 0.5 * 3.25, -2 - 0.5 * 2.5] if optimizer.name == "sgd" else [0.5, -2.5]
    np.testing.assert_allclose(variable, expected, rtol=1e-5)


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_l2_on_kernels_alone_leaves_vectors_as_without_l2(kind, starts, gradients):
    found = {}
    for name, options in {"all": {}, "kernels": {"l2_on": "kernels"}, "none": {"l2": 0.0}}.items():
        optimizer, variables = _build(starts, kind, **options)
        for step_gradients in gradients:
            optimizer.apply([tf.constant(g, tf.float32) for g in step_gradients], variables)
        found[name] = [variable.numpy() for variable in variables]
    np.testing.assert_array_equal(found["kernels"][0], found["all"][0])
    np.testing.assert_array_equal(found["kernels"][1], found["none"][1])
    assert np.any(found["all"][0] != found["none"][0])
    assert np.any(found["all"][1] != found["none"][1])
