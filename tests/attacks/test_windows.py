"""Square in l_2 and l_1 against a port, and against its authors' code (slow)."""

import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf import stateless_random
from fsgan_tf.attacks.parts import windows
from fsgan_tf.attacks.parts.attacked_classifier import AttackedClassifier
from fsgan_tf.attacks.square import Square
from fsgan_tf.threat_model import ThreatModel
from tests import authors_code
from tests.attacks.waves import seeds

ORDER = {"l2": 2, "l1": 1}
EPSILON = {"l2": 0.8, "l1": 8.0}
QUERIES, SHAPE = 60, (12, 10, 11, 3)


@pytest.fixture(scope="module")
def images():
    return np.clip(np.random.default_rng(3).uniform(-0.2, 1.2, SHAPE), 0, 1).astype(np.float32)


@pytest.fixture(scope="module")
def weights():
    generator = np.random.default_rng(4)
    return (
        (0.2 * generator.normal(size=(330, 16))).astype(np.float32),
        generator.normal(size=(16, 5)).astype(np.float32),
    )


@pytest.fixture(scope="module")
def logits_fn(weights):
    first, second = map(tf.constant, weights)
    return lambda pixels: tf.tanh(tf.reshape(pixels - 0.5, [-1, 330]) @ first) @ second


@pytest.fixture(scope="module")
def labels(images, logits_fn):
    """What the classifier says, but for every fourth image."""
    order = np.argsort(logits_fn(images).numpy(), axis=1)
    return np.where(np.arange(12) % 4 == 0, order[:, -2], order[:, -1]).astype(np.int32)


@pytest.mark.parametrize("norm", ORDER)
@pytest.mark.parametrize("side", [1, 2, 3, 4, 7, 12])
def test_a_pattern_is_of_norm_1_and_has_two_halves(side, norm):
    pattern = windows.pattern(side, norm)
    assert pattern.shape == (side, side)
    assert np.linalg.norm(pattern.ravel().astype(np.float64), ORDER[norm]) == pytest.approx(1)
    assert (pattern[: side // 2] > 0).all()
    assert (pattern[side // 2 :] < 0).all()


def test_a_pattern_by_hand():
    """Of side 5: rectangles of 2 and of 3 rows; in l_2 a ring's value is 1 / ring^2."""
    upper = np.full((2, 5), 1 / 9)
    upper[0:2, 1:4] += 1 / 4
    upper[1, 2] += 1
    lower = np.full((3, 5), 1 / 9)
    lower[0:3, 1:4] += 1 / 4
    lower[1, 2] += 1
    expected = np.concatenate(
        [upper / np.linalg.norm(upper), -lower / np.linalg.norm(lower)]
    ) / np.sqrt(2)
    np.testing.assert_allclose(windows.pattern(5, "l2"), expected, rtol=1e-5)


def _uniform(seed, num_tiles, channels=3):
    for_start, for_queries = stateless_random.split(tf.constant(seed), 2)
    start = stateless_random.uniform([num_tiles, 1 + channels], for_start).numpy()
    return start, stateless_random.uniform([QUERIES, 5 + channels], for_queries).numpy()


def _side(query):
    """The authors' schedule, stretched to the queries."""
    query = int(query / QUERIES * 10000)
    area = 0.8
    for last in (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000):
        area /= 2 if query > last else 1
    side = max(int(round(np.sqrt(area * 110))), 3)
    return min(side + 1 if side % 2 == 0 else side, 10)


def _norm(values, norm, axes=None):
    sizes = np.abs(values.astype(np.float64)) ** ORDER[norm]
    return sizes.sum(axis=axes, keepdims=True) ** (1 / ORDER[norm])


def _port(logits_fn, image, label, seed, norm):
    """One image, by the authors' rules, with the draws of ours."""
    epsilon, threat_model = EPSILON[norm], ThreatModel(EPSILON[norm], norm=norm)
    start, queries = _uniform(seed, num_tiles=25)

    def judged(deltas):
        if norm == "l2":
            deltas = epsilon * deltas / (_norm(deltas, norm) + 1e-12)
        moved = (image + deltas).astype(np.float32)[None]
        candidate = threat_model.project(moved, image[None]).numpy()[0]
        logits = logits_fn(tf.constant(candidate[None])).numpy()[0]
        return candidate, logits[label] - np.delete(logits, label).max()

    deltas, tile = np.zeros(image.shape), 0
    for row in range(0, 10, 2):
        for column in range(0, 10, 2):
            pattern = windows.pattern(2, norm)
            pattern = pattern if start[tile, 0] < 0.5 else pattern.T
            signs = np.sign(start[tile, 1:] - 0.5)
            deltas[row : row + 2, column : column + 2] = pattern[:, :, None] * signs
            tile += 1
    best, lowest = judged(deltas)
    for query, numbers in enumerate(queries):
        if lowest < 0:
            break
        side = _side(query)
        corners = (numbers[:4] * np.float32([11 - side, 12 - side] * 2)).astype(int)
        one = slice(corners[0], corners[0] + side), slice(corners[1], corners[1] + side)
        other = slice(corners[2], corners[2] + side), slice(corners[3], corners[3] + side)
        deltas = (best - image).astype(np.float64)
        both = np.zeros_like(deltas)
        both[one], both[other] = 1, 1
        pattern = windows.pattern(side, norm)
        pattern = pattern if numbers[4] < 0.5 else pattern.T
        new = pattern[:, :, None] * np.sign(numbers[5:] - 0.5)
        new = new + deltas[one] / (1e-12 + _norm(deltas[one], norm, (0, 1)))
        new /= 1e-12 + _norm(new, norm, (0, 1))
        in_windows = _norm(deltas * both, norm, (0, 1))
        if norm == "l2":
            unused = max(epsilon**2 - _norm(deltas, norm).item() ** 2, 0)
            new *= np.sqrt(unused / 3 + in_windows**2)
        else:
            new *= (max(epsilon - _norm(deltas, norm).item(), 0) / 3 + in_windows) * 3
        deltas[other] = 0
        deltas[one] = new
        candidate, lead = judged(deltas)
        if lead < lowest:
            best, lowest = candidate, lead
    return best, lowest < 0


def _run(norm, logits_fn, images, labels):
    return Square("square", QUERIES, rescaled_schedule=True).run(
        AttackedClassifier(logits_fn),
        ThreatModel(EPSILON[norm], norm=norm),
        *map(tf.constant, (images, labels, seeds(len(images)))),
        restart=0,
    )


@pytest.mark.parametrize("norm", ORDER)
def test_the_search_is_the_authors_algorithm(norm, images, labels, logits_fn):
    attempt = _run(norm, logits_fn, images, labels)
    ported = [
        _port(logits_fn, *example, norm)
        for example in zip(images, labels, seeds(len(images)), strict=True)
    ]
    fooled = np.array([success for _, success in ported])
    assert 3 < fooled.sum() < 12
    np.testing.assert_array_equal(attempt.success, fooled)
    for found, (expected, _) in zip(attempt.images, ported, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_tiles_lie_within_images_of_any_size():
    for height, width in ((32, 32), (8, 8), (9, 14), (3, 3), (28, 40), (40, 7), (64, 8)):
        side = windows._tile_side(height, width)
        tiles = windows._tiles(height, width)
        assert len(set(tiles)) == len(tiles) > 0
        assert max(row for row, _ in tiles) + side <= height
        assert max(column for _, column in tiles) + side <= width
    assert len(windows._tiles(32, 32)) == 25
    assert windows._tiles(32, 32)[0] == (1, 1)


@pytest.mark.slow
@authors_code.needs("AutoAttack")
@pytest.mark.parametrize("norm", ORDER)
def test_the_search_is_that_of_the_authors_code(
    norm, images, labels, weights, logits_fn, monkeypatch
):
    """Their code, one image at a time, its random numbers replaced by ours."""
    import torch

    monkeypatch.syspath_prepend(authors_code.AUTO_ATTACK)
    from autoattack.square import SquareAttack

    images = images[:, :, :10]  # Theirs starts from square tiles of square images alone.
    first, second = (torch.tensor(weight) for weight in weights)
    first = first.reshape(10, 11, 3, 16)[:, :10]

    def ours(pixels):
        return (
            tf.tanh(tf.reshape(pixels - 0.5, [-1, 300]) @ first.reshape(300, 16).numpy())
            @ weights[1]
        )

    def predict(pixels):
        return (
            torch.tanh((pixels.permute(0, 2, 3, 1) - 0.5).reshape(-1, 300) @ first.reshape(300, 16))
            @ second
        )

    labels = ours(images).numpy().argmax(axis=1).astype(np.int32)
    attempt = _run(norm, ours, images, labels)
    assert 0 < attempt.success.numpy().sum() < len(images)
    for index, seed in enumerate(seeds(len(images))):
        start, queries = _uniform(seed, num_tiles=25)
        theirs = SquareAttack(
            predict, norm=norm.upper(), n_queries=QUERIES, eps=EPSILON[norm], resc_schedule=True
        )
        theirs.init_hyperparam(torch.zeros(1, 3, 10, 10))
        lies, rest = [], []
        for row in start:
            lies.append(row[0])
            rest += list(row[1:])
        for row in queries:
            lies.append(row[4])
            rest += [*row[:4], *row[5:]]
        lies, stream = iter(lies), iter(rest)
        monkeypatch.setattr(torch, "rand", lambda shape, lies=lies: torch.tensor([next(lies)]))

        def random_int(low, high, stream=stream):
            return torch.tensor([int(next(stream) * (high - low + 1))])

        def random_choice(shape, stream=stream):
            numbers = [next(stream) for _ in range(np.prod(shape))]
            return torch.tensor(np.sign(np.array(numbers) - np.float32(0.5))).reshape(shape)

        monkeypatch.setattr(theirs, "random_int", random_int)
        monkeypatch.setattr(theirs, "random_choice", random_choice)
        image = torch.tensor(images[index]).permute(2, 0, 1)[None].contiguous()
        _, found = theirs.attack_single_run(image, torch.tensor([int(labels[index])]))
        found = found[0].permute(1, 2, 0).numpy()
        np.testing.assert_allclose(attempt.images[index], found, atol=1e-4)
