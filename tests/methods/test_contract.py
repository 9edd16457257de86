"""What holds for every training method."""

import functools
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf import methods, stateless_random
from fsgan_tf.methods.base import TrainingMethod
from fsgan_tf.runs.checkpoints import Progress
from fsgan_tf.runs.directory import RunDirectory
from tests.small_training import BATCH_SIZE, IMAGE_SHAPE, batch, dataset, fit
from tests.small_training import build as build_whole
from tests.small_training import run as run_steps

pytestmark = pytest.mark.parametrize("name", methods.names())
SEED = tf.constant([3, 4])


def build(name: str, **flags) -> TrainingMethod:
    """With fewer steps of slow adversaries, where their number does not matter."""
    default = getattr(methods.declared(name).settings(), "attack_iterations", 1)
    fewer = {"attack_iterations": 2} if default > 2 else {}
    return build_whole(name, **fewer, **flags)


def _weights(method) -> dict[str, np.ndarray]:
    return {
        f"{network}/{variable.path}": variable.numpy()
        for network, model in method.networks.items()
        for variable in model.variables
    }


def _memory(method) -> list[np.ndarray]:
    return [] if method.memory is None else [v.numpy() for v in method.memory.variables]


class Stepped(NamedTuple):
    """A method after its first step, which nothing may change, and what the step did."""

    method: TrainingMethod
    before: dict[str, np.ndarray]
    after: dict[str, np.ndarray]
    reports: dict[str, float]


@functools.cache
def _stepped(name: str) -> Stepped:
    method = build(name)
    before = _weights(method)
    reports = run_steps(method, dataset(1), 1)
    return Stepped(method, before, _weights(method), reports)


class Trained(NamedTuple):
    """Ten steps in a graph: before them, after the first, traces of the others, loss of all."""

    before: dict[str, np.ndarray]
    after_one: dict[str, np.ndarray]
    later_traces: int
    loss: float


@functools.cache
def _trained(name: str) -> Trained:
    method = build(name)
    before = _weights(method)
    fit(method, dataset(1), 1)
    after_one = _weights(method)
    traced = []
    original = method.train_step
    method.train_step = lambda data: traced.append(data) or original(data)
    method.continues_epoch = True
    reports = fit(method, dataset(10).skip(1), 9)
    return Trained(before, after_one, len(traced), reports["loss"])


# The passes of a step in the authors' code (methods' modules name it), as (training mode, batches):
# batch statistics move in training mode alone. A method that is not here is compared with nobody's.
EVAL, TRAIN = False, True
CLASSIFIER_PASSES = {
    "standard": [(TRAIN, 1)],
    "pgd_at": [(EVAL, 1)] * 10 + [(TRAIN, 1)],
    "feature_scatter": [(EVAL, 1)] * 2 + [(TRAIN, 1)],
    "l2l": [(TRAIN, 1)] * 2 + [(EVAL, 1)] * 2,
    "l2l_da": [(EVAL, 1)] + [(EVAL, 2)] * 10 + [(TRAIN, 3)],
    "fs_gan": [(TRAIN, 1)] * 2,
    "n_fgsm": [(TRAIN, 1)] * 2,
    "fgsm_pgi": [(TRAIN, 1)] * 2,
    "generated_step": [(TRAIN, 1)] * 2,
    "single_step_consistency": [(TRAIN, 1)] * 2,
    "trades": [(EVAL, 1)] * 11 + [(TRAIN, 1)] * 2,
}
# Updates a step, where there are several: one an iteration.
UPDATES = {("fs_gan", "generator"): 2}
# Those that normalise by the batch and keep no statistics: the clean batch; the start and the
# generator's images, in each of two iterations.
PASSES_BY_BATCH = {"fs_gan": [(TRAIN, 1)] * 5}
GENERATOR_PASSES = {
    "l2l": [(EVAL, 1), (TRAIN, 1)],
    "l2l_da": [(TRAIN, 2)] * 10,
    "fs_gan": [(TRAIN, 2)] * 2,
    "generated_step": [(TRAIN, 1)],
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
    method, before, after, reports = _stepped(name)
    assert set(reports) == set(method.reports)
    assert np.isfinite(list(reports.values())).all()
    assert not [path for path, value in after.items() if np.all(value == before[path])]
    for network, optimizer in method.optimizers_by_network.items():
        assert optimizer.iterations.numpy() == UPDATES.get((name, network), 1)


def test_a_step_makes_its_authors_passes_in_their_modes(name, monkeypatch):
    if name not in CLASSIFIER_PASSES:
        return
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
        assert method.training_ball.is_feasible(seen, images).numpy().all()


def test_perturbed_images_are_feasible_and_reproducible(name):
    method = _stepped(name).method
    data = batch()
    adversarial = method.perturb(data["image"], data["label"], SEED)
    assert method.training_ball.is_feasible(adversarial, data["image"]).numpy().all()
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
    run_steps(whole, dataset(2), 2)

    first = build(name)
    run_steps(first, dataset(2), 1)
    run = RunDirectory(tmp_path)
    run.checkpoints.folder.mkdir()
    classes = tuple("abcde")
    run.checkpoints.save(first, Progress(0, 1, classes, IMAGE_SHAPE))
    resumed = build(name, seed=0)
    for variable in resumed.classifier.variables:
        variable.assign(tf.zeros_like(variable))
    assert run.checkpoints.restore(resumed) == Progress(0, 1, classes, IMAGE_SHAPE)
    run_steps(resumed, dataset(2).skip(1), 1)

    for path, value in _weights(whole).items():
        np.testing.assert_array_equal(_weights(resumed)[path], value, err_msg=path)
    for network, optimizer in whole.optimizers_by_network.items():
        for ours, theirs in zip(
            resumed.optimizers_by_network[network].variables, optimizer.variables, strict=True
        ):
            np.testing.assert_array_equal(ours.numpy(), theirs.numpy(), err_msg=ours.path)
    for ours, theirs in zip(_memory(resumed), _memory(whole), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for mean in whole.means:
        np.testing.assert_array_equal(
            resumed.means[mean].result(), whole.means[mean].result(), err_msg=mean
        )


def test_the_seed_decides_everything(name):
    kernel = "classifier/logits/kernel"
    again, other = build(name), build(name, seed=1)
    for method in (again, other):
        run_steps(method, dataset(1), 1)
    first = _stepped(name).after[kernel]
    np.testing.assert_array_equal(_weights(again)[kernel], first)
    assert np.any(_weights(other)[kernel] != first)


def test_two_replicas_of_one_batch_are_one_replica(name, mirrored_strategy, monkeypatch):
    """Losses are scaled by the number of replicas, once: equal halves give the whole's step.

    Not bit for bit: the order of sums may differ, and with it the sign of a gradient near zero.
    """

    def same_on_every_replica(method, count):
        step = tf.cast(method.classifier_optimizer.iterations, tf.int32)
        return stateless_random.split(tf.stack([method.seed, step]), count)

    monkeypatch.setattr(TrainingMethod, "step_seeds", same_on_every_replica)
    with mirrored_strategy.scope():
        two = build(name)
    halves = dataset(1).map(lambda data: {k: tf.concat([v, v], 0) for k, v in data.items()})
    fit(two, halves, 1)
    one = _trained(name)
    for network in two.networks:
        start, expected, found = (
            np.concatenate([w.ravel() for path, w in weights.items() if path.startswith(network)])
            for weights in (one.before, one.after_one, _weights(two))
        )
        assert np.linalg.norm(found - expected) < 0.01 * np.linalg.norm(expected - start), network
    # The moving statistics are each replica's own; these are one for all.
    for variable in two.classifier.trainable_variables:
        np.testing.assert_array_equal(*(copy.numpy() for copy in variable.value.values))


def test_later_steps_trace_nothing(name):
    assert _trained(name).later_traces == 0


def test_every_network_has_a_learning_rate_flag_and_a_cost(name):
    method = _stepped(name).method
    for network in method.networks:
        assert hasattr(method.settings, f"{network}_learning_rate")
        assert method.forward_equivalents[network] > 0
    assert set(method.optimizers_by_network) == set(method.networks)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_steps_are_close_to_float32(name, precision, monkeypatch):
    """Losses and optimizer state are float32; a step's loss agrees to the precision's rounding."""
    monkeypatch.setattr("fsgan_tf.devices.has_bfloat16", lambda: True)
    exact = _stepped(name).reports
    method = build(name, precision=precision)
    mixed = run_steps(method, dataset(1), 1)
    assert method.classifier.output.dtype == "float32"
    for variable in method.classifier_optimizer.variables:
        assert variable.dtype in ("float32", "int32", "int64", "bool")
    assert mixed["loss"] == pytest.approx(exact["loss"], rel=0.02)


def test_ten_steps_compiled_by_xla_lose_the_same(name):
    xla = fit(build(name, jit_compile=True), dataset(10), 10)
    # trades' adversary starts where its objective is all but flat, and rounding decides signs.
    tolerance = 3e-3 if name == "trades" else 1e-3
    assert xla["loss"] == pytest.approx(_trained(name).loss, rel=tolerance)
