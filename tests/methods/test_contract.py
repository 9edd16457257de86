"""What holds for every training method."""

import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf import settings
from fsgan_tf.run_dir import Progress, RunDirectory
from tests.training import BATCH_SIZE, IMAGE_SHAPE, batch, build, dataset, fit
from tests.training import run as run_steps

pytestmark = pytest.mark.parametrize("name", settings.method_names())
SEED = tf.constant([3, 4])


def _weights(method) -> dict[str, np.ndarray]:
    return {
        f"{network}/{variable.path}": variable.numpy()
        for network, model in method.networks.items()
        for variable in model.variables
    }


def test_a_step_moves_every_variable_and_its_losses_are_finite(name):
    method = build(name)
    before = _weights(method)
    reports = run_steps(method, dataset(1), 1)
    assert set(reports) == set(method.reports)
    assert np.isfinite(list(reports.values())).all()
    unmoved = [path for path, value in _weights(method).items() if np.all(value == before[path])]
    assert not unmoved
    assert method.classifier_optimizer.iterations.numpy() == 1


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


def test_two_replicas_run_the_same_step(name, mirrored_strategy):
    with mirrored_strategy.scope():
        method = build(name)
    before = _weights(method)
    reports = fit(method, dataset(2, 2 * BATCH_SIZE), 2)
    assert np.isfinite(list(reports.values())).all()
    assert method.classifier_optimizer.iterations.numpy() == 2
    kernel = method.classifier.get_layer("logits").kernel
    assert np.any(kernel.numpy() != before["classifier/logits/kernel"])
    replicas = [value.numpy() for value in kernel.value.values]
    np.testing.assert_array_equal(*replicas)


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


def test_the_step_compiles_with_xla(name):
    eager, compiled = build(name), build(name, jit_compile=True)
    plain = run_steps(eager, dataset(1), 1)
    xla = fit(compiled, dataset(1), 1)
    assert xla["loss"] == pytest.approx(plain["loss"], rel=1e-3)
