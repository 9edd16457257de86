"""An attack on a sample of what stands, and the bound on the rest."""

import dataclasses

import numpy as np
import pytest

from fsgan_tf.attacks.parts.sample import Sample, nearest_and_drawn
from fsgan_tf.attacks.registry import suite
from fsgan_tf.attacks.square_sample import SampledSquare
from fsgan_tf.evaluation.checks import sampled
from fsgan_tf.evaluation.engine import Evaluator
from fsgan_tf.evaluation.result import Result
from fsgan_tf.evaluation.run_and_diagnose import evaluate
from fsgan_tf.results import intervals
from fsgan_tf.threat_model import ThreatModel
from tests.results.test_findings import attack_result, no_examples


def _square(nearest, drawn):
    return SampledSquare(
        "square_sample", num_queries=40, rescaled_schedule=True, nearest=nearest, drawn=drawn
    )


def test_strongest_is_pma_a3_and_square_on_a_sample():
    attacks = suite("strongest", 8 / 255)
    assert [attack.name for attack in attacks] == ["pma", "a3", "square_sample"]
    costs = [attack.cost for attack in attacks]
    assert costs == sorted(costs)
    assert attacks[2].parameters["num_queries"] == 5000
    assert attacks[2].parameters["nearest"] == attacks[2].parameters["drawn"] == 64


def test_the_nearest_and_a_random_sample_of_the_others():
    leads = np.random.default_rng(0).uniform(size=50)
    standing = 2 * np.arange(50)
    chosen = nearest_and_drawn(standing, leads, 3, nearest=10, drawn=8)
    assert set(chosen.nearest) == set(standing[np.argsort(leads)[:10]])
    assert chosen.num_others == 40
    assert len(set(chosen.drawn)) == 8
    assert not set(chosen.drawn) & set(chosen.nearest)
    again, other = (nearest_and_drawn(standing, leads, s, nearest=10, drawn=8) for s in (3, 4))
    np.testing.assert_array_equal(again.drawn, chosen.drawn)
    assert set(other.drawn) != set(chosen.drawn)
    all_of_few = nearest_and_drawn(standing[:5], leads[:5], 3, nearest=10, drawn=8)
    assert (len(all_of_few.nearest), len(all_of_few.drawn), all_of_few.num_others) == (5, 0, 0)


def test_the_engine_attacks_the_sample_alone(honest, images, labels, threat_model):
    evaluator = Evaluator(honest, threat_model, 5)
    everything = evaluator.attack(images, labels, [_square(24, 0)]).attacks[0]
    result = evaluator.attack(images, labels, [_square(6, 4)])
    (attack,) = result.attacks
    clean = np.flatnonzero(result.clean_correct)
    (sample,) = attack.samples
    assert set(sample.nearest) < set(clean)
    assert sample.num_others == len(clean) - 6
    assert len(sample.drawn) == 4
    seen = np.concatenate([sample.nearest, sample.drawn])
    np.testing.assert_array_equal(attack.fooled[seen], everything.fooled[seen])
    assert attack.fooled.sum() == attack.fooled[seen].sum() > 0
    # The images of this fixture differ by how much the true quadrant leads.
    leads = np.sort(honest(images).numpy(), axis=1)
    leads = leads[:, -1] - leads[:, -2]
    assert set(sample.nearest) == set(clean[np.argsort(leads[clean])[:6]])


@pytest.mark.parametrize(
    ("fooled", "verdict", "said"),
    [
        (0, "pass", "0 of 20 drawn from the 80 others, so that with 95% confidence"),
        (2, "warn", "2 of 20 drawn"),
    ],
)
def test_the_check_says_the_bound(fooled, verdict, said):
    found = attack_result("square_sample", np.isin(np.arange(100), np.arange(30, 30 + fooled)))
    sample = Sample(np.arange(20), np.arange(30, 50), 80)
    attack = dataclasses.replace(found, samples=(sample,))
    result = Result(ThreatModel(0.1), 0, np.ones(100, bool), (attack,), no_examples())
    check = sampled.rest_is_bounded(result, attack)
    assert check.verdict == verdict
    assert said in check.detail
    bound = intervals.most_unseen_fooled(fooled, 20, 80)
    assert f"at most {bound} of the 60 others that it did not see" in check.detail
    assert f"is {bound:.1f} points" in check.detail


def test_an_evaluation_says_the_bound(honest, images, labels):
    result = evaluate(honest, images, labels, epsilon=0.02, attacks=[_square(3, 2)])
    check = result.checks[-1]
    assert check.name == "square_sample_bounds_the_rest"
    assert "drawn from the" in check.detail
