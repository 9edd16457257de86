import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf.threat_model import ThreatModel

EPSILON = 8 / 255


@pytest.fixture
def threat_model():
    return ThreatModel(EPSILON)


def _image(*pixels):
    """[1, 1, n, 1]."""
    return np.array(pixels, np.float32).reshape(1, 1, -1, 1)


@pytest.fixture
def images():
    return np.random.default_rng(0).uniform(size=(16, 4, 4, 3)).astype(np.float32)


def test_project_clips_to_the_ball_then_to_the_range(threat_model):
    clean = _image(0.5, 0.5, 0.0, 1.0, 0.01, 0.5)
    adversarial = _image(0.9, 0.1, -0.9, 1.9, -0.5, 0.51)
    expected = _image(0.5 + EPSILON, 0.5 - EPSILON, 0.0, 1.0, 0.0, 0.51)
    np.testing.assert_allclose(threat_model.project(adversarial, clean), expected, atol=1e-7)


def test_the_range_wins_over_the_ball(threat_model):
    """The order matters for a clean image outside the range alone."""
    np.testing.assert_array_equal(threat_model.project(_image(2.0), _image(1.5)), _image(1.0))


def test_project_makes_anything_feasible(threat_model, images):
    wild = images + np.random.default_rng(1).normal(0, 0.1, images.shape).astype(np.float32)
    assert not threat_model.is_feasible(wild, images).numpy().any()
    projected = threat_model.project(wild, images)
    assert threat_model.is_feasible(projected, images).numpy().all()
    np.testing.assert_array_equal(threat_model.project(projected, images), projected)


def test_project_leaves_feasible_images_alone(threat_model, images):
    near = np.clip(images + 0.5 * EPSILON, 0, 1)
    np.testing.assert_array_equal(threat_model.project(near, images), near)


@pytest.mark.parametrize("width", [8, 12.75, 1.2])
def test_rounding_to_8_bits_stays_in_the_ball(width):
    """Of 12.75/255 in reach, 12 are of use, although 12.75 rounds to 13."""
    threat_model = ThreatModel(width / 255)
    levels = np.random.default_rng(0).integers(0, 256, (64, 4, 4, 3))
    images = (levels / 255).astype(np.float32)
    signs = np.random.default_rng(1).choice([-1, 0.3, 1], images.shape)
    attacked = threat_model.project(images + (width / 255 * signs).astype(np.float32), images)
    rounded = threat_model.round_to_8_bits(attacked, images)
    assert threat_model.is_feasible(rounded, images).numpy().all()
    expected = np.clip(
        levels + np.where(signs == 0.3, np.round(0.3 * width), signs * (width // 1)), 0, 255
    )
    np.testing.assert_allclose(255 * rounded, expected, atol=1e-4)


def test_other_pixel_ranges():
    threat_model = ThreatModel(0.25, lower=-1.0, upper=1.0)
    clean = _image(-1.0, -0.9, 0.0, 0.9)
    projected = threat_model.project(clean - 0.5, clean)
    np.testing.assert_allclose(projected, _image(-1.0, -1.0, -0.25, 0.65), atol=1e-6)
    np.testing.assert_array_equal(threat_model.clip(_image(-2.0, 0.5, 2.0)), _image(-1, 0.5, 1))


def test_random_perturbation_fills_the_ball_evenly(threat_model):
    noise = threat_model.random_perturbation([8, 32, 32, 3], tf.constant([1, 2])).numpy() / EPSILON
    assert noise.dtype == np.float32
    assert noise.shape == (8, 32, 32, 3)
    assert np.abs(noise).max() <= 1
    # Of 24,576 draws: deciles are even to 4 standard deviations, and both ends are reached.
    counts, _ = np.histogram(noise, bins=10, range=(-1, 1))
    assert np.abs(counts - noise.size / 10).max() < 4 * np.sqrt(noise.size * 0.09)
    assert min(noise.max(), -noise.min()) > 0.999


def test_random_perturbation_is_a_function_of_its_seed(threat_model):
    def draw(*seed):
        return threat_model.random_perturbation([2, 4, 4, 3], tf.constant(seed)).numpy()

    np.testing.assert_array_equal(draw(1, 2), draw(1, 2))
    assert not np.array_equal(draw(1, 2), draw(2, 1))
    assert not np.array_equal(draw(1, 2), draw(1, 3))


def test_random_perturbation_takes_a_dynamic_shape(threat_model, images):
    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3])])
    def draw(images):
        return threat_model.random_perturbation(tf.shape(images), tf.constant([1, 2]))

    assert draw(images).shape == images.shape


@pytest.mark.parametrize(
    ("clean", "adversarial", "feasible"),
    [
        (0.5, 0.5, True),
        (0.5, 0.5 + EPSILON, True),
        (0.5, 0.5 - EPSILON, True),
        (0.5, 0.5 + EPSILON + 5e-7, True),
        (0.5, 0.5 - EPSILON - 5e-7, True),
        (0.5, 0.5 + EPSILON + 2e-6, False),
        (0.5, 0.5 - EPSILON - 2e-6, False),
        (1.0, 1.0 + 5e-7, True),
        (1.0, 1.0 + 2e-6, False),
        (0.0, -5e-7, True),
        (0.0, -2e-6, False),
        (0.5, np.nan, False),
        (np.nan, 0.5, False),
        (0.5, np.inf, False),
        (0.5, -np.inf, False),
    ],
)
def test_is_feasible_at_the_edges(clean, adversarial, feasible, threat_model):
    verdict = threat_model.is_feasible(_image(0.5, adversarial, 0.5), _image(0.5, clean, 0.5))
    assert verdict.numpy().tolist() == [feasible]


def test_is_feasible_judges_each_image(threat_model, images):
    adversarial = images.copy()
    adversarial[3, 2, 1, 0] = images[3, 2, 1, 0] + 2 * EPSILON
    adversarial[5, 0, 0, 2] = np.nan
    verdict = threat_model.is_feasible(adversarial, images).numpy()
    assert np.flatnonzero(~verdict).tolist() == [3, 5]


@pytest.mark.parametrize(
    ("epsilon", "words"),
    [
        (0.0, "it must be above 0"),
        (-0.1, "it must be above 0"),
        (1.01, "it must be at most 1 in linf"),
        (np.nan, "it must be a finite number"),
        (np.inf, "it must be a finite number"),
    ],
)
def test_impossible_radii_are_refused(epsilon, words):
    with pytest.raises(ValueError, match=words):
        ThreatModel(epsilon)


def test_the_widest_ball_is_the_range():
    assert ThreatModel(2.0, lower=-1.0, upper=1.0).epsilon == 2.0
    with pytest.raises(ValueError, match="it must be at most 2 in linf"):
        ThreatModel(2.1, lower=-1.0, upper=1.0)


def test_other_norms_are_refused():
    with pytest.raises(ValueError, match="norm is 'l3'; there are linf, l2, l1"):
        ThreatModel(0.1, norm="l3")


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_balls_of_other_norms_may_be_as_wide_as_one_likes(norm):
    assert ThreatModel(1500.0, norm=norm).epsilon == 1500
    for epsilon in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="it must be (above 0|a finite number)$"):
            ThreatModel(epsilon, norm=norm)


def test_the_widest_ball_makes_any_image_of_any_other():
    black, white = np.zeros((1, 8, 8, 3), np.float32), np.ones((1, 8, 8, 3), np.float32)
    for norm, widest in (("linf", 1), ("l2", 192**0.5), ("l1", 192)):
        threat_model = ThreatModel(0.5, norm=norm)
        assert threat_model.widest(192) == pytest.approx(widest)
        assert threat_model.size(white - black).numpy() == pytest.approx([widest])


def test_a_threat_model_is_fixed(threat_model):
    with pytest.raises(dataclasses.FrozenInstanceError):
        threat_model.epsilon = 0.5


def test_a_step_goes_along_the_sign_and_not_where_the_gradient_is_unknown(threat_model):
    gradients = _image(3.0, -0.1, 0.0, np.nan, np.inf)
    step = threat_model.steepest_step(tf.constant(gradients), 0.25)
    np.testing.assert_array_equal(step, _image(0.25, -0.25, 0, 0, 0.25))


def test_a_start_on_the_surface_is_epsilon_away(threat_model):
    grey = tf.fill([3, 4, 4, 1], 0.5)
    seeds = tf.constant([[1, 0], [1, 1], [1, 2]], tf.int64)
    start = threat_model.random_start(grey, seeds, on_the_surface=True)
    np.testing.assert_allclose(threat_model.size(start - grey), [EPSILON] * 3, rtol=1e-6)
    assert (
        (threat_model.size(threat_model.random_start(grey, seeds) - grey) < EPSILON).numpy().all()
    )


def test_one_trace_of_a_compiled_function_serves_every_radius():
    traces = []

    @tf.function(autograph=False)
    def project(threat_model, adversarial_images, images):
        traces.append(threat_model)
        return threat_model.project(adversarial_images, images)

    white, grey = tf.ones([1, 1, 1, 1]), tf.fill([1, 1, 1, 1], 0.5)
    found = [project(ThreatModel(epsilon), white, grey).numpy().item() for epsilon in (0.1, 0.2)]
    assert found == pytest.approx([0.6, 0.7])
    assert len(traces) == 1
