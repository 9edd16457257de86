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
    assert found.check_passes == checks.cost(found.attacks, 21 * found.num_attacked)
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


def test_the_checks_cost_follows_the_attacks(threat_model):
    short, long = (registry.by_names([name], threat_model.epsilon) for name in ("pgd20", "pgd1000"))
    assert checks.cost(short, 1000) < checks.cost(long, 1000) < checks.cost(long, 10_000)
    assert checks.cost(short, 1000, "none") == 0 < checks.cost(short, 1000, "fast")
    assert checks.cost(short, 1000, "fast") < checks.cost(short, 1000) / 5
    assert [checks.sample_size(passes) for passes in (0, 6400, 10**9)] == [10, 21, 64]


def test_an_attack_on_a_sample_is_reckoned_on_the_sample(threat_model):
    (sampled,) = registry.by_names(["square_sample"], threat_model.epsilon)
    few, many = (estimate.Estimate([sampled], n, n, 0, 1, 1.0) for n in (100, 1000))
    assert few.attack_seconds == sampled.cost * 100
    assert many.attack_seconds == sampled.cost * 128
    assert "of 128 at most" in str(many)
