"""FS-GAN's algorithm: each reading of the paper, checked apart from the code that has it."""

import re

import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf import stateless_random
from fsgan_tf.methods import fs_gan
from fsgan_tf.methods.parts.losses import smoothed_cross_entropy
from fsgan_tf.training.callbacks.warnings import warnings_of
from tests.commands import ROOT
from tests.small_training import BATCH_SIZE, IMAGE_SHAPE, batch, dataset, fit, run
from tests.small_training import build as build_whole
from tests.small_training import build_small as build

SEED = tf.constant([1, 2])


def _inputs(method):
    images = batch()["image"]
    noise = method.threat_model.random_perturbation(tf.shape(images), SEED)
    start = method.threat_model.project(images + noise, images)
    gradients, cost = method.scatter_gradient(method.attacked(images), start)
    return images, noise, start, gradients, cost


def _generate(method, inputs):
    images, noise, start, gradients, _ = inputs
    return method.generate(method.generator_by_batch, images, noise, start, gradients, SEED)


def test_the_generator_learns_to_scatter():
    """Against a classifier that stands still, the OT distance the generator reaches rises."""
    method = build(
        attack_iterations=1,
        generator_gradient_skip=0,
        generator_optimizer="adam",
        generator_learning_rate=1e-2,
        diversity_weight=0,
        classifier_learning_rate=1e-12,
        weight_decay=0,
    )
    same_batch = dataset(1).repeat()
    first = fit(method, same_batch, 1)["generator_ot"]
    fit(method, same_batch, 30)
    method.reset_means()
    last = fit(method, same_batch, 1)["generator_ot"]
    assert last > 2 * first


def test_diversity_weight_spreads_the_perturbations():
    ratios = []
    for weight in (0, 50):
        method = build(
            attack_iterations=1,
            generator_gradient_skip=0,
            generator_optimizer="adam",
            generator_learning_rate=1e-2,
            diversity_weight=weight,
        )
        fit(method, dataset(1).repeat(), 30)
        made = _generate(method, _inputs(method))
        ratios.append(float(made.diversity))
    assert ratios[1] > 2 * ratios[0]


def test_a_saturated_skip_is_feature_scatters_step():
    """Start noise plus epsilon * sign, clipped to the ball and to [0, 1]: FeatureScatter."""
    method = build_whole(generator_gradient_skip=1e4, generator_update="accumulate")
    images, noise, start, gradients, _ = _inputs(method)
    epsilon = method.threat_model.epsilon
    x = images.numpy()
    step = noise.numpy() + epsilon * np.sign(gradients.numpy())
    expected = np.clip(x + np.clip(step, -epsilon, epsilon), 0, 1)
    made = _generate(method, (images, noise, start, gradients, None))
    np.testing.assert_allclose(made.adversarial_images, expected, atol=1e-6)
    np.testing.assert_allclose(made.perturbations, np.clip(step, -epsilon, epsilon), atol=1e-6)


def test_replaced_perturbations_forget_the_start_noise():
    method = build_whole(generator_update="replace", generator_gradient_skip=1e4)
    images, noise, start, gradients, _ = _inputs(method)
    made = _generate(method, (images, noise, start, gradients, None))
    expected = method.threat_model.epsilon * np.sign(gradients.numpy())
    np.testing.assert_allclose(made.perturbations, expected, atol=1e-6)


def test_the_first_latent_makes_the_images_and_both_make_the_ratio():
    method = build(generator_update="replace", generator_gradient_skip=0, diversity_scale="pixel")
    images, noise, start, gradients, _ = _inputs(method)
    made = _generate(method, (images, noise, start, gradients, None))
    latents = tf.split(stateless_random.normal([2 * BATCH_SIZE, 3], SEED), 2)
    features = method.generator_features(noise, start, gradients)
    zeros = tf.zeros_like(images)
    epsilon = method.threat_model.epsilon
    inputs = [tf.tile(features, [2, 1, 1, 1]), tf.concat(latents, 0), tf.concat([zeros] * 2, 0)]
    output = epsilon * method.generator_by_batch(inputs, training=True)
    deltas = [delta.numpy() for delta in tf.split(output, 2)]
    np.testing.assert_allclose(made.perturbations, deltas[0], atol=1e-7)
    for found, delta in zip((made.adversarial_images, made.second_images), deltas, strict=True):
        np.testing.assert_allclose(found, np.clip(images + delta, 0, 1), atol=1e-6)
    z_distance = np.abs(latents[0] - latents[1]).mean(axis=1)
    expected = (np.abs(deltas[0] - deltas[1]).mean(axis=(1, 2, 3)) / z_distance).mean()
    assert float(made.diversity) == pytest.approx(expected, rel=1e-4)


def test_diversity_scale_divides_by_epsilon():
    ratios = {}
    for scale in ("pixel", "epsilon"):
        method = build(diversity_scale=scale)
        made = _generate(method, _inputs(method))
        ratios[scale] = float(made.diversity)
    assert ratios["epsilon"] == pytest.approx(
        ratios["pixel"] / build().threat_model.epsilon, rel=1e-4
    )


def test_generator_inputs_have_unit_scale_or_stay_literal():
    random = np.random.default_rng(0)
    images = random.random((BATCH_SIZE, *IMAGE_SHAPE)).astype(np.float32)
    delta = random.uniform(-0.05, 0.05, images.shape).astype(np.float32)
    gradients = (random.normal(size=images.shape) * 1e-4).astype(np.float32)
    unit = build().generator_features(delta, images, gradients).numpy()
    np.testing.assert_allclose(unit[..., :3], delta / (13 / 255), rtol=1e-5)
    np.testing.assert_allclose(unit[..., 3:6], (images - 0.5) * 4, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose((unit[..., 6:] ** 2).mean(axis=(1, 2, 3)), 1, rtol=1e-4)
    literal = build(generator_inputs="literal").generator_features(delta, images, gradients)
    np.testing.assert_array_equal(literal[..., :3], delta)
    np.testing.assert_array_equal(literal[..., 3:6], images)


def test_scatter_gradient_is_the_directional_derivative():
    method = build()
    images, _, start, gradients, cost = _inputs(method)
    clean_logits = method.attacked(images)
    direction = tf.sign(gradients) * 1e-4

    def value(x):
        return float(method.transport_cost(clean_logits, method.attacked(x)))

    slope = (value(start + direction) - value(start - direction)) / 2
    assert float(cost) == pytest.approx(value(start), rel=1e-4)
    assert slope == pytest.approx(float(tf.reduce_sum(gradients * direction)), rel=0.05)


def test_the_classifier_loss_adds_weighted_ot():
    reports = run(build(classifier_ot_weight=0.7), dataset(1), 1)
    assert reports["classifier_ot"] > 0
    assert reports["loss"] == pytest.approx(
        reports["cross_entropy"] + 0.7 * reports["classifier_ot"], rel=1e-5
    )
    assert run(build(classifier_ot_weight=0), dataset(1), 1)["classifier_ot"] == 0


def test_ot_branches_differ_in_gradient_alone():
    kernels, losses = [], []
    for branch in ("both", "adversarial"):
        method = build(classifier_ot_weight=1, classifier_ot_branch=branch)
        losses.append(run(method, dataset(1), 1)["loss"])
        kernels.append(method.classifier.get_layer("logits").kernel.numpy())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert np.abs(kernels[0] - kernels[1]).max() > 1e-6


def test_the_classifier_may_train_on_the_images_of_both_latents():
    """Its loss is then the mean of both halves', in one pass; the generator's step is the same."""
    method = build(classifier_latents=2, classifier_ot_weight=0.7, generator_gradient_skip=0)
    images, labels = batch()["image"], batch()["label"]
    halves = [images + 0.01, images - 0.01]
    logits = method.classifier(tf.concat(halves, axis=0), training=True)
    clean = method.classifier(images, training=True)
    cross_entropy = np.mean(smoothed_cross_entropy(tf.tile(labels, [2]), logits, 0.5))
    ot = np.mean([float(method.transport_cost(clean, half)) for half in tf.split(logits, 2)])
    reports = method.train_classifier(images, halves, labels)
    assert float(reports["loss"]) == pytest.approx(cross_entropy + 0.7 * ot, rel=1e-5)
    assert method.forward_equivalents["classifier"] == build().forward_equivalents["classifier"] + 3


def test_the_classifier_trains_on_images_from_before_the_generators_update():
    """Its first step is the same whatever the generator's learning rate is."""
    kernels = []
    for rate in (1e-12, 1.0):
        method = build(generator_learning_rate=rate, attack_iterations=1)
        run(method, dataset(1), 1)
        kernels.append(method.classifier.get_layer("logits").kernel.numpy())
    np.testing.assert_allclose(kernels[0], kernels[1], rtol=1e-6)


def test_the_classifiers_statistics_see_the_perturbed_batch_alone():
    """Attacking it leaves its moving averages; one momentum-0.9 update remains."""
    method = build_whole(classifier_ot_weight=0)
    first_bn = method.networks["classifier"].get_layer("group1_block1_pre_bn")
    seen = []
    original = method.train_classifier

    def spy(images, adversarial_images, labels):
        stem = method.classifier.get_layer("stem")(2 * adversarial_images[0] - 1)
        seen.append(tf.reduce_mean(stem, [0, 1, 2]))
        return original(images, adversarial_images, labels)

    method.train_classifier = spy
    method.train_step(batch())
    np.testing.assert_allclose(first_bn.moving_mean, 0.1 * seen[0], rtol=1e-4, atol=1e-6)


def test_more_iterations_update_the_generator_more_often():
    method = build(attack_iterations=3)
    run(method, dataset(1), 1)
    assert method.generator_optimizer.iterations.numpy() == 3
    assert method.classifier_optimizer.iterations.numpy() == 1


def _diagnosed(method):
    data = batch()
    return {
        name: float(value)
        for name, value in method.diagnose(data["image"], data["label"], SEED).items()
    }


def _softmax(logits):
    powers = np.exp(np.float64(logits) - np.max(logits, axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("statistics", ["batch", "moving"])
def test_measures_are_their_formulas_in_the_training_classifiers_mode(statistics):
    method = build(adversary_statistics=statistics)
    images = batch()["image"]
    found = _diagnosed(method)
    made, gradients, _ = method.attack_without_learning(images, SEED)
    epsilon = method.threat_model.epsilon
    x, first, second = (
        np.float64(y) for y in (images, made.adversarial_images, made.second_images)
    )
    stepped = np.clip(x + epsilon * np.sign(gradients), 0, 1)
    # A training pass of the network itself: batch statistics by Keras' own layer.
    network = method.networks["classifier"]
    clean, z1, z2, sign = (
        network(np.float32(y), training=True).numpy() for y in (x, first, second, stepped)
    )

    def distance(a, b):
        return np.linalg.norm(a - b, axis=1).mean()

    assert found["validation_latent_share"] == pytest.approx(
        distance(z1, z2) / distance(z1, clean), rel=1e-3
    )
    for name, reached in (("generator", z1), ("replaced_sign", sign)):
        expected = float(method.transport_cost(clean, reached))
        assert found[f"validation_{name}_ot"] == pytest.approx(expected, rel=1e-3)
    assert found["validation_logit_offset"] == pytest.approx(clean.mean(), rel=1e-3)
    assert found["validation_logit_spread"] == pytest.approx(clean.std(axis=1).mean(), rel=1e-3)
    flat = np.float64(made.perturbations).reshape(BATCH_SIZE, -1)
    signs = np.sign(np.float64(gradients)).reshape(BATCH_SIZE, -1)
    cosines = (flat * signs).sum(1) / np.linalg.norm(flat, axis=1) / np.linalg.norm(signs, axis=1)
    assert found["validation_sign_cosine"] == pytest.approx(cosines.mean(), rel=1e-3)


def test_start_ot_is_of_the_start_however_many_iterations():
    starts = [run(build(attack_iterations=count), dataset(1), 1)["start_ot"] for count in (1, 2)]
    assert starts[0] == starts[1]


def test_diversity_share_is_one_for_opposite_corners():
    """And the same in either unit of the ratio."""
    for scale in ("pixel", "epsilon"):
        method = build(diversity_scale=scale)
        signs = tf.sign(tf.random.stateless_normal([BATCH_SIZE, *IMAGE_SHAPE], SEED))
        generator = _Fixed(tf.concat([signs, -signs], axis=0))
        images, noise, start, gradients, _ = _inputs(method)
        made = method.generate(generator, images, noise, start, gradients, SEED)
        assert float(made.diversity_share) == pytest.approx(1, rel=1e-5)


class _Fixed:
    def __init__(self, output):
        self.output = output

    def __call__(self, inputs, training):
        return self.output


def test_ot_is_of_what_it_is_said_to_be_of():
    """Probabilities and centred logits do not see a common offset; logits do."""
    random = np.random.default_rng(0)
    clean, other = random.normal(size=(2, BATCH_SIZE, 5)).astype(np.float32)
    for ot_on, same in (("probabilities", True), ("centered_logits", True), ("logits", False)):
        method = build(ot_on=ot_on)
        plain = float(method.transport_cost(clean, other))
        shifted = float(method.transport_cost(clean + 3, other + 3))
        assert (shifted == pytest.approx(plain, rel=1e-4)) == same
    found = float(build(ot_on="probabilities").transport_cost(clean, other))
    of_softmax = build(ot_on="logits").transport_cost(_softmax(clean), _softmax(other))
    assert found == pytest.approx(float(of_softmax), rel=1e-4)


def test_attacking_by_batch_statistics_sees_the_training_pass():
    method = build()
    images = batch()["image"]
    attacked = method.attacked(images).numpy()
    trained = method.classifier(images, training=True).numpy()
    np.testing.assert_allclose(attacked, trained, atol=1e-6)
    frozen = build(adversary_statistics="moving").attacked(images).numpy()
    assert np.abs(frozen - attacked).max() > 1e-2


def test_a_frozen_classifier_stays_as_it_is_and_its_generator_learns():
    method = build(freeze_classifier=True, generator_learning_rate=1.0)
    seeds = method.step_seeds(1)[0].numpy()
    before = [weight.numpy() for weight in method.networks["classifier"].weights]
    images = batch()["image"]
    inference = method.classifier(images, training=False)
    run(method, dataset(3), 3)
    for weight, unchanged in zip(method.networks["classifier"].weights, before, strict=True):
        np.testing.assert_array_equal(weight, unchanged)
    assert method.generator_displacement() > 0
    # It is attacked as it answers, and every step has draws of its own.
    np.testing.assert_allclose(method.attacked(images), inference, atol=1e-6)
    assert np.any(method.step_seeds(1)[0].numpy() != seeds)
    assert int(method.classifier_optimizer.iterations) == 3
    assert "--freeze_classifier" in method.when_not_robust(method.settings)


def test_the_frozen_sign_is_a_control_that_looks_like_an_inert_generator():
    method = build(generator_update="frozen_sign", diversity_weight=0.05, attack_iterations=1)
    images, noise, start, gradients, _ = _inputs(method)
    made = _generate(method, (images, noise, start, gradients, None))
    expected = method.threat_model.epsilon * np.sign(gradients.numpy())
    np.testing.assert_allclose(made.perturbations, expected, atol=1e-7)
    run(method, dataset(3), 3)
    assert method.generator_displacement() == 0
    row = _diagnosed(method) | {
        "generator_displacement": method.generator_displacement(),
        "one_step_accuracy": 0.5,
        "robust_accuracy": 0.5,
    }
    lines = warnings_of([], row)
    assert sum("inert" in line for line in lines) == 2
    assert any("no diversity" in line for line in lines)
    # Who asked for the control knows.
    assert warnings_of([], row, method.settings) == []


@pytest.mark.parametrize(
    ("reading", "classifier", "generator"),
    [
        # The clean pass; an iteration's two passes and their ways back; the descent's two pairs.
        ({"attack_iterations": 1}, 1 + 4 + 3 + 3, 6),
        ({"attack_iterations": 3}, 1 + 3 * 4 + 3 + 3, 18),
        ({"attack_iterations": 1, "generator_update": "frozen_sign"}, 1 + 3 + 3 + 3, 0),
        ({"attack_iterations": 1, "classifier_ot_branch": "adversarial"}, 1 + 4 + 3 + 1, 6),
        ({"attack_iterations": 1, "classifier_ot_weight": 0}, 1 + 4 + 3, 6),
        ({"attack_iterations": 1, "classifier_latents": 2}, 1 + 4 + 6 + 3, 6),
        ({"attack_iterations": 1, "freeze_classifier": True}, 1 + 4 + 1 + 1, 6),
        ({"attack_iterations": 1, "awp_gamma": 0.01}, 1 + 4 + 2 * (3 + 3), 6),
    ],
)
def test_a_step_costs_a_pass_for_each_way_there_or_back(reading, classifier, generator):
    cost = build(**reading).forward_equivalents
    assert (cost["classifier"], cost["generator"]) == (classifier, generator)


def test_the_live_setting_that_the_documents_give_is_the_default():
    page = (ROOT / "docs/ablation.md").read_text().partition("## The live setting")[2]
    rows = [line.split("|")[2] for line in page.partition("\n## ")[0].splitlines() if "`--" in line]
    given = re.findall(r"`--(\w+)(?:=([^`]+))?`", "".join(rows))
    assert len(given) == 13
    settings = fs_gan.Settings()
    for name, value in given:
        default = getattr(settings, name)
        assert default == (type(default)(value) if value else True), name
