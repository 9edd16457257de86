import dataclasses

import numpy as np
import pytest
from scipy import stats

from fsgan_tf.evaluation.result import Result
from fsgan_tf.results.findings import AdversarialExamples, AttackResult, withstood
from fsgan_tf.results.intervals import wilson_interval
from fsgan_tf.threat_model import ThreatModel


def attack_result(name, fooled, accuracy=0.0, refused=0, fooled_8bit=None):
    return AttackResult(
        name=name,
        parameters={},
        accuracy=accuracy,
        accuracy_8bit=accuracy,
        standalone=True,
        seconds=1.0,
        fooled=np.array(fooled, bool),
        fooled_8bit=np.array(fooled if fooled_8bit is None else fooled_8bit, bool),
        refused=refused,
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
