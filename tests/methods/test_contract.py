"""What holds for every training method."""

import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf import draws, settings
from fsgan_tf.methods.base import TrainingMethod
from fsgan_tf.run_dir import Progress, RunDirectory
from tests.training import BATCH_SIZE, IMAGE_SHAPE, batch, dataset, fit
from tests.training import build as build_whole
from tests.training import run as run_steps

pytestmark = pytest.mark.parametrize("name", settings.method_names())
SEED = tf.constant([3, 4])


# Fewer steps of the slow adversaries, where their number does not matter.
FEWER_STEPS = {"pgd_at": {"attack_iterations": 2}, "l2l_da": {"attack_iterations": 2}}


def build(name: str, **flags) -> TrainingMethod:
    return build_whole(name, **FEWER_STEPS.get(name, {}), **flags)


def _weights(method) -> dict[str, np.ndarray]:
    return {
        f"{network}/{variable.path}": variable.numpy()
        for network, model in method.networks.items()
        for variable in model.variables
    }


# The passes of a step in the authors' code (methods' modules name it), as (training mode, batches):
# batch statistics move in training mode alone.
EVAL, TRAIN = False, True
CLASSIFIER_PASSES = {
    "standard": [(TRAIN, 1)],
    "pgd_at": [(EVAL, 1)] * 10 + [(TRAIN, 1)],
    "feature_scatter": [(EVAL, 1)] * 2 + [(TRAIN, 1)],
    "l2l": [(TRAIN, 1)] * 2 + [(EVAL, 1)] * 2,
    "l2l_da": [(EVAL, 1)] + [(EVAL, 2)] * 10 + [(TRAIN, 3)],
    "fs_gan": [(TRAIN, 1)] * 2,
}
# Those that normalise by the batch and keep no statistics.
PASSES_BY_BATCH = {"fs_gan": [(TRAIN, 1)] * 3}
GENERATOR_PASSES = {
    "l2l": [(EVAL, 1), (TRAIN, 1)],
    "l2l_da": [(TRAIN, 2)] * 10,
    "fs_gan": [(TRAIN, 2)],
}


def _record_passes(network, monkeypatch) -> list[tuple[bool, tf.Tensor]]:
    """(training mode, first input) of every pass from now on."""
    passes = []
    original = network.call

    def call(inputs, training=None, **options):
        passes.append((training, tf.nest.flatten(inputs)[0]))
        return original(inputs, training=training, **options)

    monkeypatch.setattr(network, "call", call)
    return passes


def _modes(passes):
    return [(training, len(inputs) // BATCH_SIZE) for training, inputs in passes]


def test_a_step_moves_every_variable_once_and_its_losses_are_finite(name):
    method = build(name)
    before = _weights(method)
    reports = run_steps(method, dataset(1), 1)
    assert set(reports) == set(method.reports)
    assert np.isfinite(list(reports.values())).all()
    unmoved = [path for path, value in _weights(method).items() if np.all(value == before[path])]
    assert not unmoved
    for optimizer in method.optimizers_by_network.values():
        assert optimizer.iterations.numpy() == 1


def test_a_step_makes_its_authors_passes_in_their_modes(name, monkeypatch):
    method = build_whole(name)
    passes = _record_passes(method.classifier, monkeypatch)
    by_batch = _record_passes(method.classifier_by_batch, monkeypatch)
    generated = []
    if "generator" in method.networks:
        generated = _record_passes(method.generator, monkeypatch)
    run_steps(method, dataset(1), 1)
    assert _modes(passes) == CLASSIFIER_PASSES[name]
    assert _modes(by_batch) == PASSES_BY_BATCH.get(name, [])
    assert _modes(generated) == GENERATOR_PASSES.get(name, [])


def test_a_step_trains_on_feasible_images(name, monkeypatch):
    method = build(name)
    passes = _record_passes(method.classifier, monkeypatch)
    run_steps(method, dataset(1), 1)
    images = batch()["image"]
    trained = [inputs for training, inputs in passes if training]
    for seen in tf.concat(trained, axis=0).numpy().reshape(-1, *images.shape):
        assert method.threat_model.is_feasible(seen, images).numpy().all()


def test_perturbed_images_are_feasible_and_reproducible(name):
    method = build(name)
    data = batch()
    adversarial = method.perturb(data["image"], data["label"], SEED)
    assert method.threat_model.is_feasible(adversarial, data["image"]).numpy().all()
    again = method.perturb(data["image"], data["label"], SEED)
    np.testing.assert_array_equal(adversarial, again)


def test_perturbing_and_diagnosing_change_nothing(name):
    method = build(name)
    before = _weights(method)
    data = batch()
    method.perturb(data["image"], data["label"], SEED)
    diagnoses = method.diagnose(data["image"], data["label"], SEED)
    assert np.isfinite([float(value) for value in diagnoses.values()]).all()
    for path, value in _weights(method).items():
        np.testing.assert_array_equal(value, before[path], err_msg=path)


def test_a_resumed_run_is_the_run(name, tmp_path):
    """Bit for bit: weights, optimizers and means, from a checkpoint in the middle of an epoch."""
    whole = build(name)
    run_steps(whole, dataset(4), 4)

    first = build(name)
    run_steps(first, dataset(4), 2)
    run = RunDirectory(tmp_path)
    run.checkpoints.mkdir()
    classes = tuple("abcde")
    run.save_checkpoint(first, Progress(0, 2, classes, IMAGE_SHAPE))
    resumed = build(name, seed=0)
    for variable in resumed.classifier.variables:
        variable.assign(tf.zeros_like(variable))
    assert run.restore_checkpoint(resumed) == Progress(0, 2, classes, IMAGE_SHAPE)
    run_steps(resumed, dataset(4).skip(2), 2)

    for path, value in _weights(whole).items():
        np.testing.assert_array_equal(_weights(resumed)[path], value, err_msg=path)
    for network, optimizer in whole.optimizers_by_network.items():
        for ours, theirs in zip(
            resumed.optimizers_by_network[network].variables, optimizer.variables, strict=True
        ):
            np.testing.assert_array_equal(ours.numpy(), theirs.numpy(), err_msg=ours.path)
    for mean in whole.means:
        np.testing.assert_array_equal(
            resumed.means[mean].result(), whole.means[mean].result(), err_msg=mean
        )


def test_the_seed_decides_everything(name):
    weights = []
    for seed in (0, 0, 1):
        method = build(name, seed=seed)
        run_steps(method, dataset(2), 2)
        weights.append(_weights(method)["classifier/logits/kernel"])
    np.testing.assert_array_equal(weights[0], weights[1])
    assert np.any(weights[0] != weights[2])


def test_two_replicas_of_one_batch_are_one_replica(name, mirrored_strategy, monkeypatch):
    """Losses are scaled by the number of replicas, once: equal halves give the whole's step.

    Not bit for bit: the order of sums may differ, and with it the sign of a gradient near zero.
    """

    def same_on_every_replica(method, count):
        step = tf.cast(method.classifier_optimizer.iterations, tf.int32)
        return draws.split(tf.stack([method.seed, step]), count)

    monkeypatch.setattr(TrainingMethod, "step_seeds", same_on_every_replica)
    one = build(name)
    before = _weights(one)
    fit(one, dataset(1), 1)
    with mirrored_strategy.scope():
        two = build(name)
    halves = dataset(1).map(lambda data: {k: tf.concat([v, v], 0) for k, v in data.items()})
    fit(two, halves, 1)
    for network in one.networks:
        start, expected, found = (
            np.concatenate([w.ravel() for path, w in weights.items() if path.startswith(network)])
            for weights in (before, _weights(one), _weights(two))
        )
        assert np.linalg.norm(found - expected) < 0.01 * np.linalg.norm(expected - start), network
    # The moving statistics are each replica's own; these are one for all.
    for variable in two.classifier.trainable_variables:
        np.testing.assert_array_equal(*(copy.numpy() for copy in variable.value.values))


def test_later_steps_trace_nothing(name):
    method = build(name)
    fit(method, dataset(1), 1)
    traced = []
    original = method.train_step
    method.train_step = lambda data: traced.append(data) or original(data)
    fit(method, dataset(3), 3)
    assert not traced


def test_every_network_has_a_learning_rate_flag_and_a_cost(name):
    method = build(name)
    values = settings.training_flags()
    for network in method.networks:
        assert f"{network}_learning_rate" in values
        assert method.forward_equivalents[network] > 0
    assert set(method.optimizers_by_network) == set(method.networks)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_steps_are_close_to_float32(name, precision, monkeypatch):
    """Losses and optimizer state are float32; a step's loss agrees to the precision's rounding."""
    monkeypatch.setattr("fsgan_tf.hardware.has_bfloat16", lambda: True)
    exact = run_steps(build(name), dataset(1), 1)
    method = build(name, precision=precision)
    mixed = run_steps(method, dataset(1), 1)
    assert method.classifier.output.dtype == "float32"
    for variable in method.classifier_optimizer.variables:
        assert variable.dtype in ("float32", "int32", "int64", "bool")
    assert mixed["loss"] == pytest.approx(exact["loss"], rel=0.02)


def test_ten_steps_compiled_by_xla_lose_the_same(name):
    eager, compiled = build(name), build(name, jit_compile=True)
    plain = fit(eager, dataset(10), 10)
    xla = fit(compiled, dataset(10), 10)
    assert xla["loss"] == pytest.approx(plain["loss"], rel=1e-3)
