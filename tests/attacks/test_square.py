"""Square Attack; with PyTorch and AUTO_ATTACK_REFERENCE=FOLDER, also against its authors (slow)."""

import importlib.util
import os
import sys

import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf import stateless_random
from fsgan_tf.attacks.parts.attacked_classifier import AttackedClassifier, is_misclassified
from fsgan_tf.attacks.square import Square, _signs_in_squares, schedule
from fsgan_tf.threat_model import ThreatModel

REFERENCE = os.environ.get("AUTO_ATTACK_REFERENCE")

needs_reference = pytest.mark.skipif(
    REFERENCE is None or importlib.util.find_spec("torch") is None,
    reason="needs PyTorch, and the authors' code in AUTO_ATTACK_REFERENCE",
)


def _square(num_queries, rescaled_schedule=True):
    return Square("square", num_queries, rescaled_schedule)


def _seeds(count, key=7):
    return tf.stack([tf.fill([count], np.int64(key)), tf.range(count, dtype=tf.int64)], axis=1)


def _run(attack, classifier, threat_model, images, labels, key=7, chosen=None):
    chosen = np.arange(len(images)) if chosen is None else chosen
    if not isinstance(classifier, AttackedClassifier):
        classifier = AttackedClassifier(classifier)
    return attack.run(
        classifier,
        threat_model,
        tf.constant(images[chosen]),
        tf.constant(labels[chosen]),
        tf.gather(_seeds(len(images), key), chosen),
        restart=0,
    )


def _area_by_the_authors_rule(query, num_queries, rescaled):
    """Share of the image: 0.8, halved after 10, 50, 200, ... of 10,000 queries."""
    if rescaled:
        query = int(query / num_queries * 10000)
    area = 0.8
    for last in (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000):
        area /= 2 if query > last else 1
    return area


@pytest.mark.parametrize("rescaled", [False, True])
@pytest.mark.parametrize("num_queries", [64, 777, 5000, 10_000])
@pytest.mark.parametrize("image_size", [(32, 32), (8, 8), (6, 11)])
def test_schedule_is_the_authors(rescaled, num_queries, image_size):
    height, width = image_size
    firsts, sides = schedule(num_queries if rescaled else 10_000, 0.8, image_size)
    for query in range(num_queries):
        area = _area_by_the_authors_rule(query, num_queries, rescaled)
        expected = max(int(round(np.sqrt(area * height * width))), 1)
        expected = min(expected, height, width)
        assert sides[np.sum(np.array(firsts) <= query) - 1] == expected


def test_schedule_of_the_standard_version_on_cifar():
    """Not rescaled, so that 5,000 queries end with squares of side 3."""
    firsts, sides = schedule(10_000, 0.8, (32, 32))
    assert firsts == [0, 11, 51, 201, 501, 1001, 2001, 4001, 6001, 8001]
    assert sides == [29, 20, 14, 10, 7, 5, 4, 3, 2, 1]


def _uniform(seed, num_queries, width, channels):
    """What the attack draws for one example."""
    for_stripes, for_squares = stateless_random.split(seed, 2)
    stripes = stateless_random.uniform([1, width, channels], for_stripes).numpy()
    return stripes, stateless_random.uniform([num_queries, 2 + channels], for_squares).numpy()


def _search_in_numpy(logits_fn, image, label, seed, num_queries, epsilon):
    """The algorithm for one image, by the authors' rules, with the draws of ours."""
    height, width, channels = image.shape
    stripes, uniform = _uniform(seed, num_queries, width, channels)

    def judged(candidate):
        candidate = np.minimum(np.maximum(candidate, image - epsilon), image + epsilon)
        candidate = np.clip(candidate, 0, 1).astype(np.float32)
        logits = logits_fn(tf.constant(candidate[None])).numpy()[0]
        return candidate, logits[label] - np.delete(logits, label).max()

    best, lowest = judged(image + epsilon * np.sign(stripes - 0.5))
    for query in range(num_queries):
        if lowest < 0:
            break
        area = _area_by_the_authors_rule(query, num_queries, rescaled=True)
        side = min(max(int(round(np.sqrt(area * height * width))), 1), height, width)
        row = int(uniform[query, 0] * (height - side + 1))
        column = int(uniform[query, 1] * (width - side + 1))
        change = np.zeros_like(image)
        signs = np.where(uniform[query, 2:] > 0.5, 1, -1)
        change[row : row + side, column : column + side] = 2 * epsilon * signs
        candidate, lead = judged(best + change)
        if lead < lowest:
            best, lowest = candidate, lead
    return best, lowest < 0


@pytest.fixture(scope="module")
def colourful():
    """Images [12, 7, 9, 3], some pixels at 0 and 1, and a classifier in two layers."""
    generator = np.random.default_rng(3)
    images = np.clip(generator.uniform(-0.2, 1.2, (12, 7, 9, 3)), 0, 1).astype(np.float32)
    first = tf.constant(generator.normal(size=(189, 16)), tf.float32)
    second = tf.constant(generator.normal(size=(16, 5)), tf.float32)

    def logits_fn(pixels):
        return tf.tanh(tf.reshape(pixels - 0.5, [-1, 189]) @ first) @ second

    return images, logits_fn, (first.numpy(), second.numpy())


def _runner_up(logits_fn, images):
    """Labels that the classifier almost gives: what it gives half the images, else its second."""
    order = np.argsort(logits_fn(images).numpy(), axis=1)
    return np.where(np.arange(len(images)) % 4 == 0, order[:, -2], order[:, -1]).astype(np.int32)


def test_search_is_the_authors_algorithm(colourful):
    images, logits_fn, _ = colourful
    labels = _runner_up(logits_fn, images)
    threat_model = ThreatModel(epsilon=0.04)
    attempt = _run(_square(60), logits_fn, threat_model, images, labels)
    success = attempt.success.numpy()
    assert 0 < success.sum() < len(images)
    for index, seed in enumerate(_seeds(len(images))):
        image, fooled = _search_in_numpy(
            logits_fn, images[index], labels[index], seed, 60, np.float32(0.04)
        )
        np.testing.assert_allclose(attempt.images[index], image, atol=1e-7)
        assert success[index] == fooled


def test_squares_are_everywhere_they_fit_with_one_sign_a_channel():
    generator = np.random.default_rng(0)
    uniform = generator.random((400, 4)).astype(np.float32)
    uniform[:2, :2] = [[2.0**-24] * 2, [1 - 2.0**-24] * 2]
    signs = _signs_in_squares(tf.constant(uniform), tf.constant(3), tf.TensorShape([400, 5, 6, 2]))
    rows, columns = np.argwhere(signs.numpy()[:, :, :, 0] != 0).reshape(400, 9, 3)[:, 0, 1:].T
    assert (rows[0], columns[0]) == (0, 0)
    assert (rows[1], columns[1]) == (2, 3)
    counts = np.unique(np.stack([rows, columns]), axis=1, return_counts=True)[1]
    assert len(counts) == 3 * 4
    assert counts.min() > 400 / 12 / 2
    for example, row, column in zip(signs.numpy(), rows, columns, strict=True):
        square = example[row : row + 3, column : column + 3].reshape(9, 2)
        assert (square == square[0]).all()
        assert np.count_nonzero(example) == 18
    assert 0.4 < np.mean(uniform[:, 2:] > 0.5) < 0.6


def test_the_start_is_vertical_stripes_of_each_example(colourful):
    images, logits_fn, _ = colourful
    threat_model = ThreatModel(epsilon=0.04)
    inner = images * 0.8 + 0.1
    labels = _runner_up(logits_fn, images)
    attempt = _run(_square(0), logits_fn, threat_model, inner, labels)
    signs = np.round((attempt.images.numpy() - inner) / 0.04, 3)
    assert set(np.unique(signs)) == {-1, 1}
    assert (signs == signs[:, :1]).all()
    assert len(np.unique(signs.reshape(len(inner), -1), axis=0)) == len(inner)


def test_feasible_and_the_same_bits_by_seed_in_any_company(colourful):
    images, logits_fn, _ = colourful
    labels = _runner_up(logits_fn, images)
    threat_model = ThreatModel(epsilon=0.04)
    attack = _square(40)
    attempt = _run(attack, logits_fn, threat_model, images, labels)
    assert threat_model.is_feasible(attempt.images, images).numpy().all()
    wrong = is_misclassified(logits_fn(attempt.images), tf.constant(labels))
    np.testing.assert_array_equal(attempt.success, wrong)

    again = _run(attack, logits_fn, threat_model, images, labels)
    np.testing.assert_array_equal(again.images, attempt.images)
    other = _run(attack, logits_fn, threat_model, images, labels, key=8)
    assert (other.images.numpy() != attempt.images.numpy()).any()
    for chosen in (np.arange(12)[::-1], np.resize([3, 5], 12)):
        part = _run(attack, logits_fn, threat_model, images, labels, chosen=chosen)
        np.testing.assert_allclose(part.images, attempt.images.numpy()[chosen], atol=1e-7)


def test_two_classes(honest, images, labels, threat_model):
    def two(pixels):
        return honest(pixels)[:, :2]

    labels = labels % 2
    attempt = _run(_square(100), two, threat_model, images, labels)
    wrong = is_misclassified(two(attempt.images), tf.constant(labels)).numpy()
    clean_wrong = is_misclassified(two(images), tf.constant(labels)).numpy()
    assert clean_wrong.sum() < wrong.sum() < len(images)


def test_queries_stop_when_all_are_fooled(honest, images, labels, threat_model):
    calls = tf.Variable(0)

    def counting(pixels):
        calls.assign_add(1)
        return honest(pixels)

    queries = []
    for chosen_labels in (labels, (labels + 1) % 4):
        calls.assign(0)
        _run(_square(50), counting, ThreatModel(0.01), images[-4:], chosen_labels[-4:])
        queries.append(calls.numpy())
    # The start is one more.
    assert queries == [51, 1]


def test_one_trace_serves_every_number_of_queries_and_epsilon(honest, images, labels):
    traces = []

    def counting(pixels):
        traces.append(pixels.shape)
        return honest(pixels)

    classifier = AttackedClassifier(counting)
    for epsilon, num_queries, key in [(0.02, 5, 1), (0.05, 7, 2), (0.05, 5000, 3)]:
        wrong_labels = (labels + 1) % 4 if num_queries == 5000 else labels
        attack = _square(num_queries, rescaled_schedule=num_queries == 5)
        _run(attack, classifier, ThreatModel(epsilon), images, wrong_labels, key)
    assert len(traces) == 1


def test_cost_and_parameters_of_the_standard_version():
    standard = Square("square", num_queries=5000, rescaled_schedule=False)
    assert standard.cost == 2500
    assert standard.parameters == {
        "num_queries": 5000,
        "rescaled_schedule": False,
        "initial_area": 0.8,
        "restarts": 1,
    }


@pytest.mark.slow
@needs_reference
@pytest.mark.parametrize("rescaled", [False, True])
def test_search_is_that_of_the_authors_code(rescaled, colourful, monkeypatch):
    """Their code, one image at a time, its random numbers replaced by ours."""
    import torch

    monkeypatch.syspath_prepend(REFERENCE)
    monkeypatch.delitem(sys.modules, "autoattack", raising=False)
    from autoattack.square import SquareAttack

    images, logits_fn, weights = colourful
    labels = _runner_up(logits_fn, images)
    first, second = (torch.tensor(weight) for weight in weights)

    def predict(pixels):
        flat = pixels.permute(0, 2, 3, 1).reshape(-1, 189)
        return torch.tanh((flat - 0.5) @ first) @ second

    num_queries, epsilon = 300, 0.03
    attack = _square(num_queries, rescaled)
    ours = _run(attack, logits_fn, ThreatModel(epsilon), images, labels)
    assert 0 < ours.success.numpy().sum() < len(images)
    for index, seed in enumerate(_seeds(len(images))):
        stripes, uniform = _uniform(seed, num_queries, 9, 3)
        theirs = SquareAttack(
            predict, n_queries=num_queries, eps=epsilon, resc_schedule=rescaled, seed=0
        )
        theirs.init_hyperparam(torch.zeros(1, 3, 7, 9))
        stream = iter(np.concatenate([stripes[0].T.ravel(), uniform.ravel()]))

        def random_int(low, high, stream=stream):
            return torch.tensor([int(next(stream) * (high - low + 1))])

        def random_choice(shape, stream=stream):
            numbers = [next(stream) for _ in range(np.prod(shape))]
            return torch.tensor(np.sign(np.array(numbers) - np.float32(0.5))).reshape(shape)

        monkeypatch.setattr(theirs, "random_int", random_int)
        monkeypatch.setattr(theirs, "random_choice", random_choice)
        image = torch.tensor(images[index]).permute(2, 0, 1)[None]
        _, found = theirs.attack_single_run(image, torch.tensor([int(labels[index])]))
        found = found[0].permute(1, 2, 0).numpy()
        np.testing.assert_allclose(ours.images[index], found, atol=1e-6)
