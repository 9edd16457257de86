"""A whole evaluation in l_2 and l_1: the figures, the checks, and what the reports say."""

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest

import fsgan_tf
from fsgan_tf.errors import UserError
from fsgan_tf.evaluation import curves, saved_examples
from fsgan_tf.evaluation.run_and_diagnose import evaluate
from fsgan_tf.evaluation.settings import EvaluationSettings
from fsgan_tf.reporting import example_pictures, report, robustbench
from fsgan_tf.settings import from_text
from fsgan_tf.threat_model import ThreatModel
from tests.reports import MANIFEST

EPSILON = {"l2": 0.1, "l1": 0.55}


@pytest.fixture(scope="module")
def found(honest, images, labels):
    """Evaluations of the linear classifier, by norm."""
    return {
        norm: evaluate(honest, images, labels, epsilon=epsilon, norm=norm, attacks=["pgd5", "cw5"])
        for norm, epsilon in EPSILON.items()
    }


@pytest.mark.parametrize("norm", EPSILON)
def test_the_checks_believe_an_honest_classifier(norm, found):
    result = found[norm]
    assert result.threat_model == ThreatModel(EPSILON[norm], norm=norm)
    assert 0 < result.worst_case_accuracy < result.clean_accuracy
    assert not any(attack.refused.any() for attack in result.attacks)
    objecting = [check.name for check in result.checks if check.verdict in ("warn", "fail")]
    assert not objecting, [c for c in result.checks if c.name in objecting]
    curve = result.diagnosis.epsilon_curve
    widest = {"l2": 8, "l1": 64}[norm]
    assert curve.epsilons[-2:] == (widest / 2, widest)
    assert list(curve.accuracies) == sorted(curve.accuracies, reverse=True)
    assert curve.accuracies[-1] == 0


@pytest.mark.parametrize("norm", EPSILON)
def test_reports_speak_the_norm(norm, found, tmp_path):
    result, epsilon = found[norm], EPSILON[norm]
    report.write(tmp_path, result, MANIFEST)
    content = json.loads((tmp_path / "results.json").read_text())
    schema = Path(fsgan_tf.__file__).parent / "reporting" / "results.schema.json"
    jsonschema.validate(content, json.loads(schema.read_text()))
    assert content["threat_model"] == {"norm": norm, "epsilon": epsilon}
    markdown = (tmp_path / "report.md").read_text()
    assert f"Perturbations: {norm} norm at most {epsilon}, pixels in" in markdown
    assert f"| {epsilon} (evaluated) |" in markdown
    page = (tmp_path / "report.html").read_text()
    assert f"Across: epsilon in the unit of {norm}" in page
    assert f"evaluated: {epsilon}" in page
    for text in (markdown, page):
        assert "255 (evaluated)" not in text
        assert "255ths" not in text
    entry = robustbench.entry(result, MANIFEST)
    assert entry["eps"] == f"{epsilon}"
    assert entry["footnote"].startswith(norm.capitalize())


@pytest.mark.parametrize("norm", EPSILON)
def test_pictures_show_the_largest_change_in_black_or_white(norm, found):
    result = found[norm]
    shown = example_pictures.pictures(result.examples, result.threat_model, ["a"] * 4)
    assert shown
    for picture in shown:
        assert max(picture.perturbation.max(), 255 - picture.perturbation.min()) == 255
    black = example_pictures.magnified(np.zeros((2, 2, 1)), result.threat_model)
    np.testing.assert_array_equal(black, 0.5)


def test_saved_examples_are_tried_in_their_own_norm_alone(found, images, tmp_path):
    path = tmp_path / "examples.npz"
    result = found["l2"]
    saved_examples.save(path, result, dataset_sha256="34", classifier_sha256="")
    kept = saved_examples.load(str(path), images.shape[1:], "34", "l2")
    assert len(kept.images) == len(result.examples.images) > 0
    with pytest.raises(UserError, match="holds perturbations of l2; give --norm=l2"):
        saved_examples.load(str(path), images.shape[1:], "34", "linf")


def test_a_ball_that_holds_every_image_is_refused(honest, images, labels):
    with pytest.raises(UserError, match="8 in l2 already turns any 8x8x1 image into any other"):
        evaluate(honest, images, labels, epsilon=9, norm="l2", attacks=["pgd1"])


def test_radii_end_where_any_image_is_any_other():
    found = curves.radii(ThreatModel(12.0, norm="l1"), 3072)
    assert found == (0, 3, 6, 12, 24, 48, 96, 192, 384, 768, 1536, 3072)


def test_an_epsilon_above_1_needs_a_norm_that_has_it():
    assert from_text(EvaluationSettings, {"epsilon": "12", "norm": "l1"}).epsilon == 12
    assert from_text(EvaluationSettings, {"epsilon": "12"}).epsilon == 12  # Of an l1 run, say.
    with pytest.raises(UserError, match="--epsilon=12: must be at most 1 in linf"):
        from_text(EvaluationSettings, {"epsilon": "12", "norm": "linf"})
    with pytest.raises(UserError, match="--norm=l3: must be one of linf, l2, l1"):
        from_text(EvaluationSettings, {"norm": "l3"})
