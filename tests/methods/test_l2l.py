"""L2L against the description of its authors' code, composed again by hand."""

import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf.cli import training_flags
from fsgan_tf.errors import UserError
from tests.small_training import batch
from tests.small_training import build as build_whole
from tests.small_training import build_small as build

# The attacker's is large, to tell gradients well.
LEARNING_RATES = {"classifier_learning_rate": 0.1, "generator_learning_rate": 50.0}
WEIGHT_DECAY = 2e-4


@pytest.fixture(scope="module")
def trained():
    """A method whose weights and statistics have left their start."""
    method = build("l2l")
    method.train_step(batch(seed=7))
    return method


def _loud(method):
    """The attacker's output layer grown until its perturbations reach the ball's bound."""
    kernel = method.generator.get_layer("output").kernel
    kernel.assign(3 * kernel)
    return method


def _sharp(method):
    """The classifier's logits grown until its gradient bends between the two steps."""
    kernel = method.classifier.get_layer("logits").kernel
    kernel.assign(20 * kernel)
    return method


def _data():
    """Images of which a third lies at the pixel range's ends, where the last clip acts."""
    data = batch()
    x = 1.5 * data["image"] - 0.25
    return tf.clip_by_value(x, 0, 1), data["label"]


def _mean_cross_entropy(method, images, labels, training):
    logits = method.classifier(images, training=training)
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))


def _scaled_gradient(method, images, labels, training):
    with tf.GradientTape() as tape:
        tape.watch(images)
        loss = _mean_cross_entropy(method, images, labels, training)
    gradient = tape.gradient(loss, images).numpy()
    return gradient / np.abs(gradient).max()


def _attack_by_hand(method, images, labels, steps, classifier_training, attacker_training):
    """The images, and the two gradients that the attacker saw, in NumPy."""
    epsilon, x = method.threat_model.epsilon, images.numpy()
    first = _scaled_gradient(method, images, labels, classifier_training)

    def answer(current, gradient):
        seen = np.concatenate([current, gradient], axis=-1)
        return epsilon * method.generator(seen, training=attacker_training).numpy()

    total = answer(x, first)
    attacked = np.clip(x + total, 0, 1)
    if steps == 1:
        return attacked, first, None
    second = _scaled_gradient(method, tf.constant(attacked), labels, classifier_training)
    total = np.clip(total + answer(attacked, second), -epsilon, epsilon)
    return np.clip(x + total, 0, 1), first, second


def _attacker_gradients_by_hand(method, images, labels, steps):
    """Of minus the cross-entropy, the classifier's gradients put in as numbers."""
    epsilon, statistics = method.threat_model.epsilon, method.generator.non_trainable_variables
    before = [variable.numpy() for variable in statistics]
    _, first, second = _attack_by_hand(method, images, labels, steps, False, True)
    for variable, value in zip(statistics, before, strict=True):
        variable.assign(value)
    with tf.GradientTape() as tape:
        total = epsilon * method.generator(tf.concat([images, first], -1), training=True)
        attacked = tf.clip_by_value(images + total, 0, 1)
        if steps == 2:
            answer = method.generator(tf.concat([attacked, second], -1), training=True)
            total = tf.clip_by_value(total + epsilon * answer, -epsilon, epsilon)
            attacked = tf.clip_by_value(images + total, 0, 1)
        loss = -_mean_cross_entropy(method, attacked, labels, training=False)
    return tape.gradient(loss, method.generator.trainable_variables)


def _descend(variables, gradients, rate):
    """The first step of SGD with coupled L2: the momentum is at rest."""
    for variable, gradient in zip(variables, gradients, strict=True):
        variable.assign_sub(LEARNING_RATES[rate] * (gradient + WEIGHT_DECAY * variable.value))


def _values(method):
    return {
        f"{name}/{variable.path}": variable.numpy()
        for name, network in method.networks.items()
        for variable in network.variables
    }


def _assert_unmoved(method, before, network):
    for path, value in _values(method).items():
        if path.startswith(network):
            np.testing.assert_array_equal(value, before[path], err_msg=path)


def test_its_own_settings_are_the_authors():
    values = training_flags.parse(["--method=l2l"])
    assert values.method.generator_optimizer == "adam"
    assert values.method.generator_learning_rate == 1e-3
    assert values.method.generator_weight_decay == values.method.weight_decay == 2e-4
    assert values.method.classifier_learning_rate == 0.1
    assert not values.method.generator_lr_decay
    assert values.method.attack_iterations == 1


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("classifier_training", [False, True])
def test_attack_is_the_references(steps, classifier_training):
    method, twin = (_loud(build("l2l", attack_iterations=steps)) for _ in range(2))
    images, labels = _data()
    found = method.attack(
        images, labels, classifier_training=classifier_training, attacker_training=True
    )
    expected, _, _ = _attack_by_hand(twin, images, labels, steps, classifier_training, True)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    # Both clips act, the ball's and the pixel range's.
    delta = np.abs(expected - images.numpy())
    assert np.mean(delta > 0.99 * method.threat_model.epsilon) > 0.04
    assert np.mean((delta == 0) & (expected % 1 == 0)) > 0.04


@pytest.mark.parametrize("steps", [1, 2])
def test_a_step_is_the_references(steps):
    """Classifier first, on images attacked in its training mode; then the attacker against the
    updated classifier. Every weight and every moving average."""
    method, twin = (
        _sharp(build("l2l", attack_iterations=steps, generator_optimizer="sgd", **LEARNING_RATES))
        for _ in range(2)
    )
    images, labels = _data()
    start = _values(method)
    method.train_step({"image": images, "label": labels})

    attacked, _, _ = _attack_by_hand(twin, images, labels, steps, True, False)
    variables = twin.classifier.trainable_variables
    with tf.GradientTape() as tape:
        loss = _mean_cross_entropy(twin, attacked, labels, training=True)
    _descend(variables, tape.gradient(loss, variables), "classifier_learning_rate")
    gradients = _attacker_gradients_by_hand(twin, images, labels, steps)
    _descend(twin.generator.trainable_variables, gradients, "generator_learning_rate")

    expected = _values(twin)
    for path, value in _values(method).items():
        move, expected_move = value - start[path], expected[path] - start[path]
        tolerance = 2e-3 * np.abs(expected_move).max() + 2e-5
        np.testing.assert_allclose(move, expected_move, atol=tolerance, err_msg=path)
    output = "generator/output/kernel"
    assert np.abs(expected[output] - start[output]).max() > 0.1


def test_the_classifiers_statistics_see_clean_then_attacked_batches():
    """Two updates of momentum 0.9, none in the attacker's half."""
    method, twin = build_whole("l2l"), build_whole("l2l")
    images, labels = _data()
    attacked, _, _ = _attack_by_hand(twin, images, labels, 1, True, False)
    expected = np.zeros(16)
    for x in (images.numpy(), attacked):
        stem = twin.classifier.get_layer("stem")(2 * x - 1).numpy()
        expected = 0.9 * expected + 0.1 * stem.mean((0, 1, 2))
    method.train_classifier(images, labels)
    normalization = method.networks["classifier"].get_layer("group1_block1_pre_bn")
    np.testing.assert_allclose(normalization.moving_mean, expected, rtol=1e-4, atol=1e-6)

    before = _values(method)
    method.train_attacker(images, labels)
    _assert_unmoved(method, before, "classifier")


def test_the_attackers_statistics_move_in_its_half_alone():
    method = build("l2l")
    images, labels = _data()
    before = _values(method)
    method.train_classifier(images, labels)
    _assert_unmoved(method, before, "generator")

    gradient = _scaled_gradient(method, images, labels, training=False)
    features = np.concatenate([images, gradient], axis=-1)
    stem = method.generator.get_layer("stem_conv")(features).numpy()
    method.train_attacker(images, labels)
    statistics = method.networks["generator"].get_layer("stem_bn").moving_mean
    np.testing.assert_allclose(statistics, 0.1 * stem.mean((0, 1, 2)), rtol=1e-4, atol=1e-6)


def test_the_attacker_learns_to_raise_the_loss():
    """Against a classifier that stands still."""
    method = build("l2l", generator_learning_rate=1e-2)
    images, labels = _data()
    method.train_classifier(images, labels)
    reached = [
        float(method.train_attacker(images, labels)["attacker_cross_entropy"]) for _ in range(8)
    ]
    clean = float(method.cross_entropy(images, labels))
    assert reached[-1] > reached[0]
    assert reached[-1] - clean > 2 * abs(reached[0] - clean)


def test_perturb_attacks_in_inference_mode_and_uses_labels(trained):
    images, labels = _data()
    found = trained.perturb(images, labels, tf.constant([1, 2])).numpy()
    expected, _, _ = _attack_by_hand(trained, images, labels, 1, False, False)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert trained.threat_model.is_feasible(found, images).numpy().all()
    others = trained.perturb(images, (labels + 1) % 5, tf.constant([1, 2])).numpy()
    assert np.abs(others - found).max() > 1e-4


def test_diagnosis_sets_the_attacker_beside_a_sign_step(trained):
    images, labels = _data()
    epsilon = trained.threat_model.epsilon
    scalars = trained.diagnose(images, labels, tf.constant([1, 2]))
    attacked, gradient, _ = _attack_by_hand(trained, images, labels, 1, False, False)
    stepped = np.clip(images.numpy() + epsilon * np.sign(gradient), 0, 1)
    expected = {
        "validation_generator_cross_entropy": _mean_cross_entropy(trained, attacked, labels, False),
        "validation_sign_step_cross_entropy": _mean_cross_entropy(trained, stepped, labels, False),
        "validation_perturbation_size": np.abs(attacked - images.numpy()).mean() / epsilon,
    }
    assert set(scalars) == set(expected)
    for name, value in expected.items():
        assert float(scalars[name]) == pytest.approx(float(value), rel=1e-4), name


def test_reports_describe_the_step():
    method, twin = build("l2l"), build("l2l")
    images, labels = _data()
    reports = method.train_step({"image": images, "label": labels})
    attacked, _, _ = _attack_by_hand(twin, images, labels, 1, True, False)
    logits = twin.classifier(attacked, training=True)
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
    assert float(reports["loss"]) == pytest.approx(float(loss), rel=1e-4)
    expected = np.mean(np.argmax(logits, axis=1) == labels.numpy())
    assert float(reports["accuracy_on_adversarial"]) == pytest.approx(expected)
    assert 0 < float(reports["perturbation_size"]) <= 1


@pytest.mark.parametrize(("steps", "passes"), [(1, (9, 4)), (2, (13, 8))])
def test_counted_passes(steps, passes):
    costs = build("l2l", attack_iterations=steps).forward_equivalents
    assert (costs["classifier"], costs["generator"]) == passes


def test_three_steps_are_refused():
    with pytest.raises(UserError, match=r"^--attack_iterations=3: must be at most 2$"):
        build("l2l", attack_iterations=3)
