"""What holds for every training method."""

import functools
import re
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf import methods, stateless_random
from fsgan_tf.methods.base import TrainingMethod
from fsgan_tf.runs.checkpoints import Progress
from fsgan_tf.runs.directory import RunDirectory
from tests.commands import ROOT
from tests.small_training import BATCH_SIZE, IMAGE_SHAPE, SMALL, batch, dataset, fit, one_iteration
from tests.small_training import build as build_whole
from tests.small_training import build_quick as build
from tests.small_training import run as run_steps

pytestmark = pytest.mark.parametrize("name", methods.names())
SEED = tf.constant([3, 4])
README = ROOT / "README.md"


def _weights(method) -> dict[str, np.ndarray]:
    return {
        f"{network}/{variable.path}": variable.numpy()
        for network, model in method.networks.items()
        for variable in model.variables
    }


def _everything(method) -> dict[str, np.ndarray]:
    """Weights, state of the optimizers, means: what a checkpoint must hold."""
    state = _weights(method)
    for network, optimizer in method.optimizers_by_network.items():
        state[f"{network} steps"] = optimizer.iterations.numpy()
        for index, variable in enumerate(optimizer.variables):
            state[f"{network} optimizer {index}"] = variable.numpy()
    for index, variable in enumerate(method.memory.variables if method.memory else ()):
        state[f"memory {index}"] = variable.numpy()
    return state | {name: mean.result().numpy() for name, mean in method.means.items()}


class Stepped(NamedTuple):
    """A method after two steps, which nothing may change, and what they did."""

    method: TrainingMethod
    before: dict[str, np.ndarray]
    after_one: dict[str, np.ndarray]
    reports: dict[str, float]
    after_two: dict[str, np.ndarray]


@functools.cache
def _stepped(name: str) -> Stepped:
    method = build(name)
    before = _weights(method)
    reports = run_steps(method, dataset(1), 1)
    after_one = _everything(method)
    run_steps(method, dataset(2).skip(1), 1)
    return Stepped(method, before, after_one, reports, _everything(method))


@functools.cache
def _stepped_once(name: str) -> TrainingMethod:
    """Another of the same seed, after its first step, which nothing may change."""
    method = build(name)
    run_steps(method, dataset(1), 1)
    return method


class Passes(NamedTuple):
    """(training mode, first input) of each pass of a network, in a step as the authors have it."""

    classifier: list[tuple[bool, tf.Tensor]]
    by_batch: list[tuple[bool, tf.Tensor]]
    generator: list[tuple[bool, tf.Tensor]]


@functools.cache
def _passes(name: str) -> tuple[TrainingMethod, Passes]:
    method = build_whole(name, architecture=SMALL)
    passes = Passes([], [], [])
    with pytest.MonkeyPatch.context() as patch:
        _record_passes(method.classifier, patch, passes.classifier)
        _record_passes(method.classifier_by_batch, patch, passes.by_batch)
        if "generator" in method.networks:
            _record_passes(method.generator, patch, passes.generator)
        run_steps(method, dataset(1), 1)
    return method, passes


class Trained(NamedTuple):
    """Ten steps in a graph: before them, after the first, traces of the others, loss of all."""

    before: dict[str, np.ndarray]
    after_one: dict[str, np.ndarray]
    later_traces: int
    loss: float


def _build_to_trace(name: str, **flags: Any) -> TrainingMethod:
    """Of one adversarial step: a trace takes as long as five eager steps, and each adds to it."""
    return build(name, **one_iteration(name), **flags)


@functools.cache
def _trained(name: str) -> Trained:
    method = _build_to_trace(name)
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


def _record_passes(network, patch, passes) -> None:
    """Notes every pass from now on."""
    original = network.call

    def call(inputs, training=None, **options):
        passes.append((training, tf.nest.flatten(inputs)[0]))
        return original(inputs, training=training, **options)

    patch.setattr(network, "call", call)


def _modes(passes):
    return [(training, len(inputs) // BATCH_SIZE) for training, inputs in passes]


def test_a_step_moves_every_variable_once_and_its_losses_are_finite(name):
    method, before, after, reports, _ = _stepped(name)
    assert set(reports) == set(method.reports)
    assert np.isfinite(list(reports.values())).all()
    assert not [path for path in before if np.all(after[path] == before[path])]
    for network in method.networks:
        assert after[f"{network} steps"] == UPDATES.get((name, network), 1)


def test_a_step_makes_its_authors_passes_in_their_modes(name):
    if name not in CLASSIFIER_PASSES:
        return
    _, passes = _passes(name)
    assert _modes(passes.classifier) == CLASSIFIER_PASSES[name]
    assert _modes(passes.by_batch) == PASSES_BY_BATCH.get(name, [])
    assert _modes(passes.generator) == GENERATOR_PASSES.get(name, [])


def test_a_step_trains_on_feasible_images(name):
    method, passes = _passes(name)
    images = batch()["image"]
    trained = [inputs for training, inputs in passes.classifier if training]
    for seen in tf.concat(trained, axis=0).numpy().reshape(-1, *images.shape):
        assert method.training_ball.is_feasible(seen, images).numpy().all()


def test_perturbing_is_feasible_and_reproducible_and_diagnosing_finite_and_they_change_nothing(
    name,
):
    method = _stepped(name).method
    data = batch()
    adversarial = method.perturb(data["image"], data["label"], SEED)
    assert method.training_ball.is_feasible(adversarial, data["image"]).numpy().all()
    again = method.perturb(data["image"], data["label"], SEED)
    np.testing.assert_array_equal(adversarial, again)
    diagnoses = method.diagnose(data["image"], data["label"], SEED)
    assert np.isfinite([float(value) for value in diagnoses.values()]).all()
    _require_same(_everything(method), _stepped(name).after_two)


def _require_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for path, value in expected.items():
        np.testing.assert_array_equal(found[path], value, err_msg=path)


def test_a_resumed_run_is_the_run(name, tmp_path):
    """Bit for bit: weights, optimizers and means, from a checkpoint in the middle of an epoch."""
    run = RunDirectory(tmp_path)
    run.checkpoints.folder.mkdir()
    classes = tuple("abcde")
    run.checkpoints.save(_stepped_once(name), Progress(0, 1, classes, IMAGE_SHAPE))
    resumed = build(name, seed=0)
    for variable in resumed.classifier.variables:
        variable.assign(tf.zeros_like(variable))
    assert run.checkpoints.restore(resumed) == Progress(0, 1, classes, IMAGE_SHAPE)
    run_steps(resumed, dataset(2).skip(1), 1)
    _require_same(_everything(resumed), _stepped(name).after_two)


def test_the_seed_decides_everything(name):
    first = _stepped(name).after_one
    _require_same(_everything(_stepped_once(name)), first)
    other = build(name, seed=1)
    run_steps(other, dataset(1), 1)
    kernel = "classifier/logits/kernel"
    assert np.any(_weights(other)[kernel] != first[kernel])


@pytest.mark.slow
def test_two_replicas_of_one_batch_are_one_replica(name, mirrored_strategy, monkeypatch):
    """Losses are scaled by the number of replicas, once: equal halves give the whole's step.

    Not bit for bit: the order of sums may differ, and with it the sign of a gradient near zero.
    """

    def same_on_every_replica(method, count):
        step = tf.cast(method.classifier_optimizer.iterations, tf.int32)
        return stateless_random.split(tf.stack([method.seed, step]), count)

    monkeypatch.setattr(TrainingMethod, "step_seeds", same_on_every_replica)
    with mirrored_strategy.scope():
        two = _build_to_trace(name)
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


def test_a_step_costs_the_passes_that_the_readme_says(name):
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\| (\d+) \|$", README.read_text(), re.MULTILINE))
    assert _passes(name)[0].forward_equivalents["classifier"] == int(rows[name])


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


@pytest.mark.slow
def test_ten_steps_compiled_by_xla_lose_the_same(name):
    xla = fit(_build_to_trace(name, jit_compile=True), dataset(10), 10)
    # trades' adversary starts where its objective is all but flat, and rounding decides signs.
    tolerance = 3e-3 if name == "trades" else 1e-3
    assert xla["loss"] == pytest.approx(_trained(name).loss, rel=tolerance)
