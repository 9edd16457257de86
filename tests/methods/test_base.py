"""What the methods share: the one place where losses are scaled, means, compiled steps."""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf.methods import Standard
from fsgan_tf.methods.base.keras_fit import EpochMean
from tests.small_training import build_small as build
from tests.small_training import dataset, fit, run


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_a_clipped_step_is_that_long(precision):
    """Without momentum or L2, a first step is the learning rate times the clipped norm."""
    flags = {"precision": precision, "weight_decay": 0, "classifier_learning_rate": 1}
    lengths = []
    for limit in (0, 0.01):
        method = build("standard", gradient_clip_norm=limit, **flags)
        before = [variable.numpy() for variable in method.classifier.trainable_variables]
        run(method, dataset(1), 1)
        after = [variable.numpy() for variable in method.classifier.trainable_variables]
        lengths.append(
            np.sqrt(sum(np.sum((a - b) ** 2) for a, b in zip(after, before, strict=True)))
        )
    assert lengths[0] > 0.1
    assert lengths[1] == pytest.approx(0.01, rel=1e-2)


def test_float16_scales_its_losses_and_skips_a_step_that_overflows():
    method = build("standard", precision="mixed_float16")
    optimizer = method.classifier_optimizer
    run(method, dataset(1), 1)
    assert optimizer.iterations == 1
    before = method.classifier.get_weights()
    optimizer.dynamic_scale.assign(2.0**126)
    run(method, dataset(1), 1)
    assert float(optimizer.dynamic_scale) == 2.0**125
    trained = [v.path for v in method.classifier.trainable_variables]
    for variable, value in zip(method.classifier.weights, before, strict=True):
        if variable.path in trained:
            np.testing.assert_array_equal(variable, value, err_msg=variable.path)


def test_another_seed_draws_other_numbers_from_the_next_step_on():
    method, same = build("pgd_at", attack_iterations=1), build("pgd_at", attack_iterations=1)
    for one in (method, same):
        fit(one, dataset(1), 1)
    method.reseed(7)
    same.reseed(same.seed)
    for one in (method, same):
        fit(one, dataset(1), 1)
    fresh = build("pgd_at", attack_iterations=1)
    fit(fresh, dataset(1), 1)
    fit(fresh, dataset(1), 1)
    ours, unchanged, expected = (one.classifier.get_weights()[0] for one in (method, same, fresh))
    np.testing.assert_array_equal(unchanged, expected)
    assert np.any(ours != expected)


def test_means_add_one_step_after_the_other():
    """To the bit, also where a step's value is itself a sum, as the losses are."""
    random = np.random.default_rng(0)
    parts = random.random((50, 2), np.float32)
    mean = EpochMean(name="loss")
    add = tf.function(lambda pair: mean.update_state(pair[0] + pair[1]), autograph=False)
    expected = np.float32(0)
    for pair in parts:
        add(tf.constant(pair))
        expected += pair[0] + pair[1]
    assert mean.total.numpy() == expected
    assert mean.result().numpy() == expected / np.float32(50)


def test_generator_displacement_is_relative_to_the_initial_weights():
    method = build("fs_gan")
    weights = method.networks["generator"].trainable_variables
    before = [np.float64(weight) for weight in weights]
    run(method, dataset(2), 2)
    after = [np.float64(weight) for weight in weights]
    change = np.concatenate([(b - a).ravel() for a, b in zip(before, after, strict=True)])
    norm = np.linalg.norm(np.concatenate([a.ravel() for a in before]))
    expected = np.linalg.norm(change) / norm
    assert method.generator_displacement() == pytest.approx(expected, rel=1e-5)
    assert expected > 0


def test_a_step_is_compiled_where_it_is_asked_for():
    """Python inside a step runs in a graph, and nowhere in what XLA compiles."""
    for jit_compile in (False, True):
        method = build("standard", jit_compile=jit_compile)
        step = method.train_step

        def with_python(data, step=step):
            tf.py_function(lambda: None, [], [])
            return step(data)

        method.train_step = with_python
        outcome = pytest.raises(tf.errors.InvalidArgumentError, match="EagerPyFunc")
        with outcome if jit_compile else contextlib.nullcontext():
            fit(method, dataset(1), 1)


def test_a_later_float16_policy_scales_no_losses_of_a_float32_classifier():
    """Keras would wrap the optimizer by the policy of the program, not by the classifier's."""
    classifier, policy = build("standard").networks["classifier"], keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        method = Standard(classifier, epsilon=0.1)
        method.compile()
    finally:
        keras.config.set_dtype_policy(policy)
    assert method.optimizer is method.classifier_optimizer


def test_an_overflow_on_any_replica_leaves_the_step_out_on_all(mirrored_strategy):
    """Keras asks the first replica alone."""
    with mirrored_strategy.scope():
        method = build("standard", precision="mixed_float16")
    variables, optimizer = method.classifier.trainable_variables, method.classifier_optimizer
    scale = optimizer.dynamic_scale.numpy()

    @tf.function(autograph=False)
    def step(infinite_on):
        def replica_step():
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            factor = tf.where(replica == infinite_on, float("inf"), 1.0)
            with tf.GradientTape() as tape:
                loss = factor * tf.add_n([tf.reduce_sum(v.value) for v in variables])
            method.update(tape, loss, optimizer, method.classifier)

        mirrored_strategy.run(replica_step)

    before = [variable.numpy() for variable in variables]
    step(tf.constant(1))
    for variable, value in zip(variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
    assert optimizer.dynamic_scale.numpy() == scale / 2
    step(tf.constant(-1))
    for variable, value in zip(variables, before, strict=True):
        assert np.isfinite(variable.numpy()).all()
        assert np.any(variable.numpy() != value)
