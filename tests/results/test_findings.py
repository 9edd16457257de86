import dataclasses
import itertools
import math

import numpy as np
import pytest
from scipy import stats

from fsgan_tf.attacks.parts.sample import Sample
from fsgan_tf.evaluation.result import Result
from fsgan_tf.results.findings import AdversarialExamples, AttackResult, withstood
from fsgan_tf.results.intervals import most_unseen_fooled, wilson_interval
from fsgan_tf.threat_model import ThreatModel


def attack_result(name, fooled, accuracy=0.0, refused=(), fooled_8bit=None):
    refusals = np.zeros(len(fooled), bool)
    refusals[list(refused)] = True
    return AttackResult(
        name=name,
        parameters={},
        accuracy=accuracy,
        accuracy_8bit=accuracy,
        standalone=True,
        seconds=1.0,
        fooled=np.array(fooled, bool),
        fooled_8bit=np.array(fooled if fooled_8bit is None else fooled_8bit, bool),
        refused=refusals,
    )


def no_examples():
    images, labels = np.zeros((0, 2, 2, 1), np.float32), np.zeros(0, np.int32)
    return AdversarialExamples(np.zeros(0, np.int64), (), images, images, labels, labels)


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (10, 10), (1, 3), (523, 1000)])
def test_wilson_interval_against_scipy(successes, trials):
    expected = stats.binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    assert wilson_interval(successes, trials) == pytest.approx((expected.low, expected.high))


def test_worst_case_is_taken_an_example_not_an_attack():
    result = Result(
        ThreatModel(0.1),
        seed=0,
        clean_correct=np.array([True, True, True, False]),
        attacks=(
            attack_result("a", [1, 0, 0, 0], accuracy=0.5),
            attack_result("b", [0, 1, 0, 0], accuracy=0.5, fooled_8bit=[0, 0, 0, 0]),
        ),
        examples=no_examples(),
    )
    assert result.clean_accuracy == 0.75
    assert result.worst_case_accuracy == 0.25
    assert result.worst_case_accuracy_8bit == 0.5
    np.testing.assert_array_equal(result.robust, [False, False, True, False])
    assert result.confidence_interval_95 == wilson_interval(1, 4)
    assert result.accuracy("b") == 0.5


def test_unless_stand_alone_an_attack_counts_what_those_before_it_left():
    correct = np.array([True, True, True, False])
    first = attack_result("a", [1, 0, 0, 0], fooled_8bit=[0, 0, 0, 0])
    alone = attack_result("b", [0, 1, 0, 0])
    later = dataclasses.replace(attack_result("c", [0, 0, 1, 0]), standalone=False)
    counted = [
        (robust.tolist(), robust_8bit.tolist())
        for robust, robust_8bit in withstood(correct, [first, alone, later])
    ]
    assert counted == [
        ([False, True, True, False], [True, True, True, False]),
        ([True, False, True, False], [True, False, True, False]),
        ([False, False, False, False], [True, False, False, False]),
    ]


def _bound(sizes, seen):
    """Of an attack on a sample of each group, in which it fooled so many.

    Args:
      sizes: of each group, how many there are and how many are drawn.
      seen: of each group, how many of those drawn are fooled.
    """
    nobody, firsts = np.zeros(0, int), np.cumsum([0, *(count for count, _ in sizes)])
    marks, samples = np.zeros(firsts[-1], bool), []
    for first, (count, drawn), hits in zip(firsts, sizes, seen, strict=False):
        marks[first : first + hits] = True
        samples.append(Sample(nobody, np.arange(first, first + drawn), count))
    return dataclasses.replace(attack_result("a", marks), samples=tuple(samples)).most_unseen_fooled


@pytest.mark.parametrize("sizes", [[(20, 8)], [(12, 9), (20, 2)], [(8, 8), (20, 8)]])
def test_the_bound_on_unseen_examples_fails_at_most_once_in_twenty(sizes):
    """Over all samples, wherever the fooled ones are; of groups with other shares drawn, too."""
    bounds = {
        seen: _bound(sizes, seen)
        for seen in itertools.product(*(range(drawn + 1) for _, drawn in sizes))
    }
    failures = []
    for fooled in itertools.product(*(range(count + 1) for count, _ in sizes)):
        ways = [
            [math.comb(of, hits) * math.comb(count - of, drawn - hits) for hits in range(drawn + 1)]
            for of, (count, drawn) in zip(fooled, sizes, strict=True)
        ]
        wrong = sum(
            math.prod(group[hits] for group, hits in zip(ways, seen, strict=True))
            for seen, bound in bounds.items()
            if sum(fooled) - sum(seen) > bound
        )
        failures.append(wrong / math.prod(math.comb(*size) for size in sizes))
    assert 0.01 < max(failures) <= 0.05


def test_a_group_that_was_seen_whole_costs_the_others_no_confidence():
    marks, nobody = np.zeros(38, bool), np.zeros(0, int)
    partial, whole = Sample(nobody, np.arange(10), 30), Sample(nobody, np.arange(30, 38), 8)
    attack = dataclasses.replace(attack_result("a", marks), samples=(partial, whole))
    assert attack.most_unseen_fooled == most_unseen_fooled(0, 10, 30)
    assert dataclasses.replace(attack, samples=(whole,)).most_unseen_fooled == 0
    assert dataclasses.replace(attack, samples=()).most_unseen_fooled == 0
