import dataclasses
import json
import math
import re

import jsonschema
import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf.attacks.parts.attack import Attempt
from fsgan_tf.attacks.parts.sample import Sample
from fsgan_tf.attacks.registry import by_names
from fsgan_tf.errors import UserError
from fsgan_tf.evaluation import radii
from fsgan_tf.evaluation.checks import sampled, smaller_radii
from fsgan_tf.evaluation.engine import Evaluator
from fsgan_tf.evaluation.request import Radius, Request
from fsgan_tf.evaluation.result import Result
from fsgan_tf.evaluation.run_and_diagnose import evaluate
from fsgan_tf.evaluation.settings import EvaluationSettings
from fsgan_tf.evaluation.state import EvaluationState, fingerprint
from fsgan_tf.reporting import html_page, markdown_page, report
from fsgan_tf.results.intervals import most_unseen_fooled
from fsgan_tf.results.randomness import Randomness
from fsgan_tf.settings import from_text
from fsgan_tf.threat_model import ThreatModel
from tests.reports import MANIFEST
from tests.results.test_findings import attack_result, no_examples

RADII = (0.1, 0.05, 0.02)


@dataclasses.dataclass
class Counting:
    """Runs an attack, where the radius allows it, and counts the images that it sees."""

    attack: object
    seen: list
    works_up_to: float = 1.0

    restarts = 1
    access = "gradients"
    parameters: dict = dataclasses.field(default_factory=dict)

    @property
    def name(self):
        return self.attack.name

    @property
    def cost(self):
        return self.attack.cost

    def run(self, classifier, threat_model, images, labels, seeds, restart):
        self.seen.append((threat_model.epsilon, np.unique(seeds.numpy()[:, 1])))
        if threat_model.epsilon > self.works_up_to:
            return Attempt(images, tf.zeros_like(labels, tf.bool))
        return self.attack.run(classifier, threat_model, images, labels, seeds, restart)


def _request(names, seen=None, radii=RADII, works_up_to=1.0, **options):
    def attacks(epsilon):
        made = by_names(names, epsilon)
        return [Counting(attack, [] if seen is None else seen, works_up_to) for attack in made]

    largest, *smaller = radii
    further = [Radius(ThreatModel(radius), attacks(radius)) for radius in smaller]
    return Request(ThreatModel(largest), attacks(largest), smaller=further, **options)


def _sweep(classifier, images, labels, request, **options):
    evaluator = Evaluator(classifier, request.threat_model, len(images))
    largest = evaluator.attack(
        images,
        labels,
        request.attacks,
        seed=request.seed,
        standalone=request.standalone,
        **options,
    )
    return radii.with_smaller(largest, evaluator, images, labels, request, **options)


@pytest.mark.parametrize("standalone", [False, True])
def test_each_radius_has_the_figures_of_an_evaluation_of_its_own(
    network, images, network_labels, standalone
):
    sizes = (0.02, 0.01, 0.005)
    seen = []
    request = _request(["fgsm", "pgd3"], seen, sizes, standalone=standalone)
    swept = _sweep(network, images, network_labels, request)
    in_all = sum(len(indices) for _, indices in seen)
    assert [one.threat_model.epsilon for one in swept.at_each_radius] == sorted(sizes)
    seen.clear()
    for found, size in zip(swept.at_each_radius, sorted(sizes), strict=True):
        alone = Evaluator(network, ThreatModel(size), len(images)).attack(
            images,
            network_labels,
            [Counting(attack, seen) for attack in by_names(["fgsm", "pgd3"], size)],
            standalone=standalone,
        )
        for one, other in zip(found.attacks, alone.attacks, strict=True):
            assert one.accuracy == other.accuracy
            assert one.standalone == other.standalone
        np.testing.assert_array_equal(found.robust, alone.robust)
        assert set(alone.examples.indices) == set(found.examples.indices)
    assert in_all < sum(len(indices) for _, indices in seen)


def test_a_smaller_radius_attacks_what_the_larger_fooled_and_a_draw_of_the_rest(
    honest, images, labels
):
    seen = []
    swept = _sweep(honest, images, labels, _request(["fgsm"], seen))
    (_, at_all), (_, at_middle), (_, at_least) = seen
    np.testing.assert_array_equal(at_all, np.flatnonzero(swept.clean_correct))
    middle = swept.smaller[1]
    assert middle.drawn == np.ceil(0.1 * swept.robust.sum())
    assert middle.drawn_fooled == 0
    assert len(at_middle) == swept.clean_correct.sum() - middle.assumed
    assert set(np.flatnonzero(swept.clean_correct & ~swept.robust)) <= set(at_middle)
    fooled = middle.result.clean_correct & ~middle.result.robust
    assert set(np.flatnonzero(fooled)) <= set(at_least)
    worst = [one.worst_case_accuracy for one in swept.at_each_radius]
    assert worst == sorted(worst, reverse=True)
    assert worst[0] > worst[2]
    (check,) = smaller_radii.checks(swept)
    assert check.verdict == "pass"
    for radius in swept.smaller:
        # With more of them fooled, a draw would show none with a probability of half of 5% or less.
        most = most_unseen_fooled(0, radius.drawn, radius.drawn + radius.assumed, 0.975)
        epsilon = f"{255 * radius.result.threat_model.epsilon:.5g}/255"
        assert f" {most} of the {radius.assumed} at {epsilon}" in check.detail


def test_all_bounds_of_the_draws_hold_together(honest, images, labels):
    """At them, with each of three radii at its own bound, one of the bounds fails with 5%."""
    swept = _sweep(honest, images, labels, _request(["fgsm"]))
    one = swept.smaller[0]
    drawn = (5, 64, 20)
    smaller = tuple(dataclasses.replace(one, assumed=5000, drawn=count) for count in drawn)
    (check,) = smaller_radii.checks(dataclasses.replace(swept, smaller=smaller))
    bounds = [int(found) for found in re.findall(r"([0-9]+) of the 5000", check.detail)]
    misses = [
        math.comb(5000 + count - bound, count) / math.comb(5000 + count, count)
        for bound, count in zip(bounds, drawn, strict=True)
    ]
    assert sum(misses) == pytest.approx(0.05, rel=0.05)


def test_bounds_of_draws_that_an_attack_saw_in_part_are_of_the_others(honest, images, labels):
    swept = _sweep(honest, images, labels, _request(["fgsm"]))
    sample = Sample(np.arange(2), np.arange(2, 4), 10)
    attacks = (*swept.attacks, dataclasses.replace(swept.attacks[0], name="s", samples=(sample,)))
    (check,) = smaller_radii.checks(dataclasses.replace(swept, attacks=attacks))
    assert "would be fooled (not counting s, which did not see all images), with" in check.detail


def test_samples_of_two_runs_stay_apart():
    """Of each another share was drawn, so that together they are no random sample of all."""
    first = Sample(np.arange(2), np.arange(2, 12), 10)
    second = Sample(np.arange(12, 13), np.arange(13, 15), 30)
    marks = np.arange(43) == 13

    def found(fooled, sample):
        attack = dataclasses.replace(attack_result("s", fooled), samples=(sample,))
        return Result(ThreatModel(0.1), 0, np.ones(43, bool), (attack,), no_examples())

    merged = radii._merged(found(np.zeros(43), first), found(marks, second))
    (attack,) = merged.attacks
    assert attack.most_unseen_fooled == most_unseen_fooled(1, 2, 30)
    detail = sampled.rest_is_bounded(merged, attack).detail
    assert "0 of the 3 images nearest" in detail
    assert "1 of 12 drawn from the 40 others" in detail
    assert f"at most {attack.most_unseen_fooled} of the 28 others" in detail


def test_where_a_smaller_radius_fools_more_all_are_attacked_and_it_counts_upwards(
    honest, images, labels
):
    """An attack that fails at the largest radius, as one does whose steps are too long."""
    request = _request(["fgsm"], works_up_to=0.06)
    swept = _sweep(honest, images, labels, request)
    alone = Evaluator(honest, ThreatModel(0.05), 24).attack(
        images, labels, by_names(["fgsm"], 0.05)
    )
    assert alone.worst_case_accuracy < alone.clean_accuracy
    middle = swept.smaller[1]
    assert middle.drawn_fooled > 0
    assert middle.assumed == 0
    np.testing.assert_array_equal(middle.result.robust, alone.robust)
    np.testing.assert_array_equal(swept.robust, alone.robust)
    assert swept.attacks[0].accuracy == alone.attacks[0].accuracy
    assert swept.attacks[0].accuracy_8bit == alone.attacks[0].accuracy_8bit
    np.testing.assert_array_equal(swept.examples.indices, alone.examples.indices)
    np.testing.assert_array_equal(swept.examples.images, alone.examples.images)
    (check,) = smaller_radii.checks(swept)
    assert check.verdict == "warn"


def test_a_killed_sweep_resumes_with_what_it_had(tmp_path, honest, images, labels):
    asked = {"classifier_sha256": "a", "dataset_sha256": "b", "model_options": {}}
    seen = []
    request = _request(["fgsm"], seen, works_up_to=0.06)
    state = EvaluationState(tmp_path / "state", fingerprint(request, **asked))
    first = _sweep(honest, images, labels, request, state=state)
    assert seen
    seen.clear()
    state = EvaluationState(tmp_path / "state", fingerprint(request, **asked))
    again = _sweep(honest, images, labels, request, state=state)
    assert not seen
    for one, other in zip(first.at_each_radius, again.at_each_radius, strict=True):
        np.testing.assert_array_equal(one.robust, other.robust)
        np.testing.assert_array_equal(one.examples.images, other.examples.images)
    fewer = _request(["fgsm"], seen, RADII[:2], works_up_to=0.06)
    assert fingerprint(fewer, **asked) != fingerprint(request, **asked)


def test_reports_have_a_table_and_a_curve(honest, images, labels):
    result = evaluate(
        honest, images, labels, epsilon=RADII, attacks=["fgsm", "pgd3"], checks="fast"
    )
    assert [one.threat_model.epsilon for one in result.at_each_radius] == sorted(RADII)
    assert result.attacks[0].parameters["step_size"] == RADII[0]
    assert result.smaller[0].result.attacks[0].parameters["step_size"] == RADII[-1]
    content = report.as_json(result, MANIFEST)
    schema = json.loads((report.Path(report.__file__).parent / "results.schema.json").read_text())
    jsonschema.validate(content, schema)
    assert [radius["epsilon"] for radius in content["radii"]] == sorted(RADII)
    assert content["radii"][-1]["worst_case_accuracy"] == content["worst_case_accuracy"]
    markdown = markdown_page.page(result, MANIFEST)
    assert "## Several radii" in markdown
    assert "smaller radii find no more" in markdown
    assert 'id="radii-title"' in html_page.page(result, MANIFEST)
    assert "at 12.75/255" in str(result)


def test_the_flag_takes_radii_and_stands_alone():
    asked = from_text(EvaluationSettings, {"epsilons": "2/255, 8/255,4/255"})
    assert asked.radii == (8 / 255, 4 / 255, 2 / 255)
    assert from_text(EvaluationSettings, {"epsilon": "8/255"}).radii == (8 / 255,)
    assert EvaluationSettings().radii == ()
    with pytest.raises(UserError, match="--epsilon and --epsilons both say the radius"):
        from_text(EvaluationSettings, {"epsilons": "2/255,4/255", "epsilon": "8/255"})
    for text in ("2/255", "2/255,2/255", "0,0.1", "0.1,2", "a,b", "inf,0.1", "0.1,nan"):
        with pytest.raises(UserError, match="--epsilons="):
            from_text(EvaluationSettings, {"epsilons": text, "norm": "linf"})
    with pytest.raises(UserError, match="--epsilons=0: must be above 0"):
        from_text(EvaluationSettings, {"epsilons": "0,0.1"})


def test_of_a_random_classifier_calls_count_upwards_too():
    """Else an interval would leave out what a smaller radius fooled."""

    def at(epsilon, fooled, wrong):
        drawn = Randomness(4, 51, np.zeros(3, np.int64), np.array(wrong))
        attacks = (attack_result("pgd3", fooled),)
        correct = np.ones(3, bool)
        return Result(ThreatModel(epsilon), 0, correct, attacks, no_examples(), randomness=drawn)

    larger, smaller = at(0.2, [1, 0, 0], [40, 3, 2]), at(0.1, [0, 1, 0], [20, 30, 1])
    for result in radii._counted_upwards([larger, smaller]):
        np.testing.assert_array_equal(result.robust, 2 * result.randomness.attacked_wrong < 51)


def test_what_was_known_before_comes_first_then_what_the_radii_say(honest, images, labels):
    result = evaluate(
        lambda pixels: tf.nn.softmax(honest(pixels)),
        images,
        labels,
        epsilon=RADII[:2],
        attacks=["fgsm"],
        checks="fast",
        output="probabilities",
    )
    names = [check.name for check in result.checks]
    assert names[:2] == ["logits_are_seen", "smaller_radii_find_no_more"]
    assert len(names) == 25
