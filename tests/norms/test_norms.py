"""Every norm against NumPy, SciPy, and what a norm is."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import optimize

from fsgan_tf import norms, stateless_random
from fsgan_tf.norms import l1
from fsgan_tf.threat_model import ThreatModel

ORDER = {"linf": np.inf, "l2": 2, "l1": 1}
# Radii as papers have them, of 192 values instead of 3,072.
EPSILON = {"linf": 8 / 255, "l2": 0.3, "l1": 3.0}
OTHERS = ["l2", "l1"]


def _sizes(perturbations, norm):
    flat = np.asarray(perturbations, np.float64).reshape(len(perturbations), -1)
    return np.linalg.norm(flat, ORDER[norm], axis=1)


@pytest.fixture(scope="module")
def images():
    """Some pixels are black and some white, so that the range gets in the way."""
    pixels = np.random.default_rng(0).uniform(-0.2, 1.2, (32, 8, 8, 3))
    return np.clip(pixels, 0, 1).astype(np.float32)


@pytest.fixture(scope="module")
def gradients():
    return np.random.default_rng(1).normal(size=(32, 8, 8, 3)).astype(np.float32)


def test_the_norms():
    assert tuple(ORDER) == norms.NAMES
    assert [norms.radius_text(name, 0.5) for name in norms.NAMES] == ["127.5/255", "0.5", "0.5"]


@pytest.mark.parametrize("norm", norms.NAMES)
def test_sizes(norm, gradients):
    expected = _sizes(gradients, norm)
    np.testing.assert_allclose(norms.get(norm).size(gradients), expected, rtol=1e-6)
    flat = tf.reshape(gradients, [32, -1])
    np.testing.assert_allclose(norms.get(norm).size(flat), expected, rtol=1e-6)


# Projections.


def _shrunk(sizes, room, radius):
    """The nearest perturbation of norm at most `radius`, by bisection on what is subtracted."""
    low, high = 0.0, sizes.max()
    if np.minimum(sizes, room).sum() <= radius:
        return np.minimum(sizes, room)
    for _ in range(200):
        level = (low + high) / 2
        too_long = np.clip(sizes - level, 0, room).sum() > radius
        low, high = (level, high) if too_long else (low, level)
    return np.clip(sizes - high, 0, room)


def _on_the_simplex(sizes, radius):
    """Duchi et al. 2008, figure 1: by sorting."""
    if sizes.sum() <= radius:
        return sizes
    ordered = np.sort(sizes)[::-1]
    levels = (np.cumsum(ordered) - radius) / np.arange(1, len(sizes) + 1)
    return np.maximum(sizes - levels[np.flatnonzero(ordered > levels)[-1]], 0)


@pytest.mark.parametrize("scale", [1e-3, 0.05, 1.0, 30.0])
def test_the_l1_projection_to_ball_and_range_is_the_nearest(scale, images, gradients):
    threat_model = ThreatModel(EPSILON["l1"], norm="l1")
    found = threat_model.project(images + scale * gradients, images) - images
    for image, wild, projected in zip(images, images + scale * gradients, found, strict=True):
        wanted = (wild - image).astype(np.float64)
        room = np.where(wanted > 0, 1 - image, image)
        expected = np.sign(wanted) * _shrunk(np.abs(wanted), room, EPSILON["l1"])
        np.testing.assert_allclose(projected, expected, atol=2e-5)


@pytest.mark.parametrize("scale", [1e-3, 0.05, 1.0, 30.0])
def test_the_l1_ball_alone_is_a_simplex(scale, gradients):
    limited = norms.get("l1").limit(scale * gradients, EPSILON["l1"])
    for before, after in zip(scale * gradients, limited, strict=True):
        sizes = np.abs(before.astype(np.float64)).ravel()
        expected = _on_the_simplex(sizes, EPSILON["l1"]).reshape(before.shape)
        np.testing.assert_allclose(after, np.sign(before) * expected, atol=2e-5 * max(1, scale))


@pytest.mark.parametrize("scale", [1e-3, 0.05, 1.0, 30.0])
def test_the_l2_projection_shortens_then_clips(scale, images, gradients):
    epsilon = EPSILON["l2"]
    threat_model = ThreatModel(epsilon, norm="l2")
    found = threat_model.project(images + scale * gradients, images)
    wanted = (images + scale * gradients - images).astype(np.float64)
    factors = np.minimum(epsilon / _sizes(wanted, "l2"), 1)[:, None, None, None]
    np.testing.assert_allclose(found, np.clip(images + factors * wanted, 0, 1), atol=1e-5)


@pytest.mark.parametrize("epsilon", [1e-6, 1e-3, 0.5, 12.0])
@pytest.mark.parametrize("norm", OTHERS)
def test_nothing_leaves_the_ball_by_rounding(norm, epsilon):
    """On images of CIFAR's size, measured in float64; and what is in the ball already stays."""
    generator = np.random.default_rng(2)
    images = generator.uniform(0, 1, (16, 32, 32, 3)).astype(np.float32)
    threat_model = ThreatModel(epsilon, norm=norm)
    for noise in (
        generator.normal(size=images.shape),
        generator.choice([-1, 1], images.shape),
        generator.laplace(size=images.shape) ** 5,
    ):
        found = threat_model.project(images + noise.astype(np.float32), images).numpy()
        sizes = _sizes(found.astype(np.float64) - images, norm)
        assert (sizes <= epsilon).all()
        assert threat_model.is_feasible(found, images).numpy().all()
        assert found.min() >= 0
        assert found.max() <= 1
        limited = norms.get(norm).limit(noise.astype(np.float32), epsilon).numpy()
        assert (_sizes(limited, norm) <= epsilon).all()
        assert (_sizes(limited, norm) > (0.999 if epsilon >= 0.5 else 0.4) * epsilon).all()
    near = images + 0.1 * (found - images)
    np.testing.assert_allclose(threat_model.project(near, images), near, atol=1e-7)


@pytest.mark.parametrize("norm", OTHERS)
def test_what_is_outside_is_not_feasible(norm, images, gradients):
    epsilon = EPSILON[norm]
    threat_model = ThreatModel(epsilon, norm=norm)
    inner = 0.25 + images / 2
    unit = gradients / _sizes(gradients, norm)[:, None, None, None].astype(np.float32)
    for factor, feasible in ((0.999, True), (1.001, False), (np.nan, False)):
        adversarial = inner + np.float32(factor * epsilon) * unit
        assert (threat_model.is_feasible(adversarial, inner).numpy() == feasible).all()


# Steps.


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_step_raises_a_linear_function_most(norm, gradients):
    """By the dual norm of its gradient, and by more than any other step of that length."""
    threat_model = ThreatModel(EPSILON[norm], norm=norm)
    step = threat_model.steepest_step(gradients, 0.25).numpy()
    np.testing.assert_allclose(_sizes(step, norm), 0.25, rtol=1e-5)
    dual = {"linf": "l1", "l2": "l2"}[norm]
    rise = (step * gradients).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(rise, 0.25 * _sizes(gradients, dual), rtol=1e-5)


def test_an_l1_step_is_alike_on_the_largest_gradients(gradients):
    threat_model = ThreatModel(EPSILON["l1"], norm="l1")
    for length, count in ((0.5, 2), (10.0, 10)):  # 1% of 192, and none further than from 0 to 1.
        step = threat_model.steepest_step(gradients, length).numpy().reshape(32, -1)
        flat = gradients.reshape(32, -1)
        np.testing.assert_allclose(_sizes(step, "l1"), length, rtol=1e-5)
        for moved, slopes in zip(step, flat, strict=True):
            largest = np.argsort(-np.abs(slopes))[:count]
            assert set(np.flatnonzero(moved)) == set(largest)
            np.testing.assert_allclose(moved[largest], np.sign(slopes[largest]) * length / count)


@pytest.mark.parametrize("norm", OTHERS)
def test_a_step_may_have_a_length_for_each_image(norm, gradients):
    threat_model = ThreatModel(EPSILON[norm], norm=norm)
    lengths = np.linspace(0.1, 0.5, 32).astype(np.float32)[:, None, None, None]
    step = threat_model.steepest_step(gradients, lengths)
    np.testing.assert_allclose(_sizes(step, norm), lengths.ravel(), rtol=1e-5)


@pytest.mark.parametrize("norm", OTHERS)
@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_steps_do_not_depend_on_the_size_of_the_gradient(norm, scale, gradients):
    """CleverHans and others add 1e-12, so that masked gradients of 1e-10 move nothing."""
    threat_model = ThreatModel(EPSILON[norm], norm=norm)
    expected = threat_model.steepest_step(gradients, 0.25)
    found = threat_model.steepest_step(np.float32(scale) * gradients, 0.25)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("norm", norms.NAMES)
def test_gradients_that_are_no_numbers(norm):
    threat_model = ThreatModel(0.5, norm=norm)
    gradients = np.zeros((3, 1, 4, 1), np.float32)
    gradients[1, 0, :, 0] = [np.nan, 2, 0, 0]
    gradients[2, 0, :, 0] = [np.inf, 2, 0, -np.inf]
    step = threat_model.steepest_step(tf.constant(gradients), 0.25).numpy()
    assert np.isfinite(step).all()
    np.testing.assert_array_equal(step[0], 0)
    np.testing.assert_allclose(_sizes(step[1:], norm), 0.25, rtol=1e-6)
    assert step[1, 0, 1, 0] == 0.25
    assert step[2, 0, 0, 0] == -step[2, 0, 3, 0] > 0


def test_a_sparse_direction_takes_so_many_values_of_each_image(gradients):
    counts = tf.constant([0, *range(1, 30), 192, 500])
    directions = l1.sparse_direction(tf.constant(gradients), counts).numpy()
    found = np.count_nonzero(directions.reshape(32, -1), axis=1)
    np.testing.assert_array_equal(found, np.clip(counts, 1, 192))
    np.testing.assert_allclose(_sizes(directions, "l1"), 1, rtol=1e-6)


# Steps to a hyperplane, as FAB needs them.


def _nearest_zero(norm, point, value, gradient):
    """The length of the least step within [0, 1], by bisection or by SciPy."""
    slopes = np.abs(gradient.astype(np.float64))
    room = np.where(gradient > 0, point, 1 - point)
    if norm == "l2":  # Where the range allows it, as far as the gradient is steep.
        low, high = 0.0, 1e9
        for _ in range(200):
            rate = (low + high) / 2
            short = (slopes * np.minimum(rate * slopes, room)).sum() < value
            low, high = (rate, high) if short else (low, rate)
        return np.linalg.norm(np.minimum(high * slopes, room))
    found = optimize.linprog(
        np.ones(len(point)), A_eq=slopes[None], b_eq=[value], bounds=[(0, way) for way in room]
    )
    assert found.success
    return found.fun


@pytest.mark.parametrize("norm", OTHERS)
def test_a_step_to_a_hyperplane_is_the_shortest(norm):
    generator = np.random.default_rng(3)
    points = generator.uniform(0, 1, (16, 12)).astype(np.float32)
    points[:, :3] = [0, 1, 0.5]
    gradients = generator.normal(size=(16, 12)).astype(np.float32)
    gradients[:, 3] = 0
    downhill = np.where(gradients > 0, points, 1 - points)
    shares = np.linspace(0.05, 0.95, 16)
    reachable = (np.abs(gradients) * downhill).sum(axis=1)
    values = (shares * reachable).astype(np.float32)
    signs = np.where(np.arange(16) % 2, 1, -1).astype(np.float32)
    threat_model = ThreatModel(1.0, norm=norm)
    steps = threat_model.step_to_hyperplane(
        tf.constant(points), tf.constant(signs * values), tf.constant(signs[:, None] * gradients)
    ).numpy()
    left = values + (gradients * steps).sum(axis=1)
    np.testing.assert_allclose(left, 0, atol=1e-5)
    assert (steps[:, 3] == 0).all()
    moved = points + steps
    assert moved.min() > -1e-6
    assert moved.max() < 1 + 1e-6
    for index in range(16):
        shortest = _nearest_zero(norm, points[index], float(values[index]), gradients[index])
        assert _sizes(steps[index : index + 1], norm)[0] == pytest.approx(shortest, rel=1e-3)


@pytest.mark.parametrize("norm", norms.NAMES)
def test_a_hyperplane_out_of_reach_is_met_by_a_corner(norm):
    points, gradients = tf.constant([[0.2, 0.7, 0.5]]), tf.constant([[1.0, -2.0, 0.0]])
    threat_model = ThreatModel(1.0, norm=norm)
    step = threat_model.step_to_hyperplane(points, tf.constant([9.0]), gradients)
    np.testing.assert_allclose(step, [[-0.2, 0.3, 0]], atol=1e-6)
    still = threat_model.step_to_hyperplane(points, tf.constant([0.0]), gradients)
    np.testing.assert_array_equal(still, [[0, 0, 0]])
    flat = threat_model.step_to_hyperplane(points, tf.constant([9.0]), tf.zeros([1, 3]))
    np.testing.assert_array_equal(flat, [[0, 0, 0]])


# Random starts.


@pytest.mark.parametrize("norm", norms.NAMES)
def test_draws_are_even_over_the_ball(norm):
    """In three dimensions a share r^3 of the ball is nearer than r; any half has half of it."""
    count = 4000
    points = norms.get(norm).draw([count, 1, 3, 1], tf.constant([1, 2])).numpy().reshape(count, 3)
    radii = _sizes(points, norm)
    assert radii.max() <= 1 + 1e-6
    shares, _ = np.histogram(radii**3, bins=10, range=(0, 1))
    assert np.abs(shares - count / 10).max() < 4 * np.sqrt(count * 0.09)
    # All eight octants, and within one any order of the coordinates.
    octants = np.unique(np.sign(points) @ [1, 3, 9], return_counts=True)[1]
    assert len(octants) == 8
    assert np.abs(octants - count / 8).max() < 4 * np.sqrt(count * 7 / 64)
    largest = np.bincount(np.abs(points).argmax(axis=1))
    assert np.abs(largest - count / 3).max() < 4 * np.sqrt(count * 2 / 9)


@pytest.mark.parametrize("norm", norms.NAMES)
def test_starts_lie_in_the_ball_and_follow_each_seed_alone(norm, images):
    threat_model = ThreatModel(EPSILON[norm], norm=norm)
    seeds = tf.stack([tf.fill([32], tf.constant(5, tf.int64)), tf.range(32, dtype=tf.int64)], 1)
    for far in (False, True):
        start = threat_model.random_start(tf.constant(images), seeds, on_the_surface=far).numpy()
        assert threat_model.is_feasible(start, images).numpy().all()
        order = np.random.default_rng(0).permutation(32)
        again = threat_model.random_start(
            tf.constant(images[order]), tf.gather(seeds, order), on_the_surface=far
        )
        np.testing.assert_array_equal(again, start[order])
    grey = np.full_like(images, 0.5)
    start = threat_model.random_start(tf.constant(grey), seeds, on_the_surface=True)
    np.testing.assert_allclose(_sizes(start - grey, norm), EPSILON[norm], rtol=1e-4)


def test_a_far_l1_start_changes_few_values(images):
    """AutoAttack's start is normal noise of deviation 1, whatever the radius, projected."""
    threat_model = ThreatModel(EPSILON["l1"], norm="l1")
    seed = tf.constant([[5, 0]], tf.int64)
    start = threat_model.random_start(tf.constant(images[:1]), seed, on_the_surface=True)
    noise = stateless_random.normal([1, 8, 8, 3], seed[0]).numpy()
    wanted = (images[:1] + noise - images[:1]).astype(np.float64)
    room = np.where(wanted > 0, 1 - images[:1], images[:1])
    expected = np.sign(wanted) * _shrunk(np.abs(wanted), room, EPSILON["l1"])
    np.testing.assert_allclose(start - images[:1], expected, atol=2e-5)
    assert np.count_nonzero(start - images[:1]) < 30


# Rounding.


@pytest.mark.parametrize("on_levels", [True, False])
@pytest.mark.parametrize("norm", OTHERS)
def test_rounding_to_8_bits_stays_in_the_ball_and_near(norm, on_levels, images, gradients):
    epsilon = EPSILON[norm]
    clean = 0.25 + images / 2
    if on_levels:
        clean = np.round(255 * clean) / np.float32(255)
    threat_model = ThreatModel(epsilon, norm=norm)
    attacked = threat_model.project(clean + gradients, clean).numpy()
    rounded = threat_model.round_to_8_bits(attacked, clean).numpy()
    levels = 255 * rounded.astype(np.float64)
    np.testing.assert_allclose(levels, np.round(levels), atol=1e-4)
    assert np.abs(levels - 255 * attacked).max() < 1 + 1e-4
    nearest = np.round(255 * attacked.astype(np.float64)) / 255
    # Plain rounding leaves the ball here and there, so something was to be done.
    assert (_sizes(nearest - clean, norm) > epsilon).any()
    inside = _sizes(nearest - clean, norm) <= epsilon
    np.testing.assert_allclose(rounded[inside], nearest[inside], atol=1e-7)
    if on_levels:
        assert threat_model.is_feasible(rounded, clean).numpy().all()
        assert (_sizes(rounded - clean, norm) > 0.95 * epsilon).all()


def test_one_trace_serves_every_radius_of_a_norm():
    traces = []

    @tf.function(autograph=False)
    def project(threat_model, adversarial_images, images):
        traces.append(threat_model.norm)
        return threat_model.project(adversarial_images, images)

    white, grey = tf.ones([1, 1, 1, 1]), tf.fill([1, 1, 1, 1], 0.5)
    for norm in norms.NAMES:
        for epsilon in (0.1, 0.2):
            found = project(ThreatModel(epsilon, norm=norm), white, grey).numpy().item()
            assert found == pytest.approx(0.5 + epsilon, abs=1e-5)
    assert traces == list(norms.NAMES)
