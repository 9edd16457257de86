"""How long an evaluation would take."""

import pytest

from fsgan_tf.attacks import registry
from fsgan_tf.attacks.parts.attacked_classifier import AttackedClassifier
from fsgan_tf.evaluation import checks, estimate
from fsgan_tf.evaluation.request import Request


@pytest.fixture
def request_of(threat_model):
    def request_of(*names: str) -> Request:
        attacks = registry.by_names(names, threat_model.epsilon)
        return Request(threat_model, tuple(attacks), batch_size=8)

    return request_of


@pytest.mark.parametrize("differentiable", [True, False])
def test_a_few_passes_are_timed(differentiable, honest, images, labels, request_of, monkeypatch):
    """The clock stands still but for one second a pass of a batch of 8."""
    ticks = iter(range(100))
    monkeypatch.setattr(estimate.time, "monotonic", lambda: float(next(ticks)))
    found = estimate.estimate(
        [AttackedClassifier(honest)] * 2,
        images,
        labels,
        request_of("fgsm", "pgd20"),
        differentiable=differentiable,
    )
    assert found.num_images == 24
    assert found.passes_per_second == 16.0  # Two devices.
    assert found.attack_seconds == found.num_attacked * 21 / 16
    assert found.check_passes == 8 * (90 + 6 * 20 + (180 + 4 * 20) // 2)
    assert "pgd20: 20 passes an image" in str(found)


def test_images_that_are_misclassified_anyway_are_not_attacked(honest, images, labels, request_of):
    found = estimate.estimate(
        [AttackedClassifier(honest)], images, (labels + 1) % 4, request_of("fgsm")
    )
    assert found.num_attacked < 12


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.1, "1 s"), (40, "40 s"), (720, "12 min"), (12600, "3.5 h")]
)
def test_durations_are_told_in_words(seconds, words):
    assert estimate.duration(seconds) == words


def test_the_checks_cost_follows_the_longest_attack(threat_model):
    short, long = (registry.by_names([name], threat_model.epsilon) for name in ("pgd20", "pgd1000"))
    assert checks.cost(short) == 340
    assert checks.cost(long) == 90 + 600 + 290
