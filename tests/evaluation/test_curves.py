import numpy as np
import pytest

from fsgan_tf.attacks.parts.attacked_classifier import AttackedClassifier, is_misclassified
from fsgan_tf.attacks.parts.projected_gradient import ProjectedGradient, climb
from fsgan_tf.evaluation import curves
from fsgan_tf.threat_model import ThreatModel


def _cw(num_steps, step_size=0.0125):
    return ProjectedGradient(
        "cw",
        loss="margin",
        num_steps=num_steps,
        step_size=step_size,
        random_start=True,
        restarts=1,
    )


@pytest.mark.parametrize(
    ("epsilon", "multiples"),
    [
        (8 / 255, [0.25, 0.5, 1, 2, 4, 8]),
        (0.05, [0.25, 0.5, 1, 2, 4, 8]),
        (0.25, [0.25, 0.5, 1]),
        (0.3, [0.25, 0.5, 1]),
        (1.0, [0.25]),
    ],
)
def test_radii_double_up_to_half_the_range(epsilon, multiples):
    expected = {0, 0.5, 1, *(multiple * epsilon for multiple in multiples)}
    np.testing.assert_allclose(curves.radii(ThreatModel(epsilon), 64), sorted(expected))


def test_radii_follow_the_pixel_range():
    assert curves.radii(ThreatModel(0.5, lower=-1, upper=1), 64) == (0, 0.125, 0.25, 0.5, 1, 2)


def test_a_sweep_of_an_honest_classifier(honest, images, labels, threat_model):
    """A lead in quadrant brightness above two radii cannot be attacked; below, it always can."""
    brightness = honest(images).numpy() / 20
    true = brightness[np.arange(24), labels]
    brightness[np.arange(24), labels] = -np.inf
    lead = true - brightness.max(axis=1)
    # The batch's last examples are padding.
    curve = curves.sweep(AttackedClassifier(honest), threat_model, images, labels, count=20)
    assert curve.num_examples == 20
    expected = [np.mean(lead[:20] > 2 * epsilon) for epsilon in curve.epsilons]
    np.testing.assert_allclose(curve.accuracies, expected)
    assert 0 < curve.accuracies[3] < curve.accuracies[0] < 1


def test_a_trace_is_the_path_of_the_attack(network, images, network_labels, ball):
    classifier, attack = AttackedClassifier(network), _cw(4, step_size=0.004)
    traced = curves.trace(classifier, ball, images, network_labels, 20, attack)
    assert traced.losses.shape == traced.fooled.shape == (5, 20)
    path = climb(
        classifier,
        ball,
        images,
        images,
        network_labels,
        loss="margin",
        num_steps=4,
        step_size=0.004,
        stop_when_fooled=False,
    )
    last = is_misclassified(classifier.logits(path.last), network_labels).numpy()[:20]
    np.testing.assert_array_equal(traced.fooled[-1], last)
    np.testing.assert_array_equal(traced.fooled.any(axis=0), path.success.numpy()[:20])
    assert 0 < traced.fooled[0].sum() < last.sum() < 20
    # The loss is the margin less 50, so its sign tells who is fooled.
    np.testing.assert_array_equal(traced.losses > -50, traced.fooled)


def test_long_attacks_are_traced_in_part():
    assert curves.traced_steps(_cw(100)) == curves.traced_steps(_cw(1000)) == 100


def test_a_loss_curve_is_the_mean_of_the_best_so_far():
    losses = np.array([[0, 1, 5], [2, 0, np.nan], [1, 3, 7]], np.float32)
    traced = curves.Trace(losses, np.zeros((3, 3), bool))
    np.testing.assert_array_equal(curves.best_so_far(traced), [[0, 1], [2, 1], [2, 3]])
    curve = curves.loss_curve(_cw(2), traced)
    assert curve.attack == "cw"
    assert curve.losses == (0.5, 1.5, 2.5)


def test_no_curve_is_drawn_of_losses_that_are_not_finite():
    traced = curves.Trace(np.full((3, 2), np.nan, np.float32), np.zeros((3, 2), bool))
    assert curves.loss_curve(_cw(2), traced) is None
