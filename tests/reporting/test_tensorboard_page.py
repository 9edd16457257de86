import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from fsgan_tf.reporting import tensorboard_page
from fsgan_tf.results.findings import Diagnosis, EpsilonCurve, LossCurve
from tests.reports import MANIFEST, adversarial_examples, result


def _write(folder, found=None):
    tensorboard_page.write(folder, found or result("pass"), MANIFEST.class_names, "# Title")


def _events(folder):
    """Tensors by tag and step."""
    events = {}
    for file in folder.iterdir():
        for event in EventFileLoader(str(file)).Load():
            for value in event.summary.value:
                assert (value.tag, event.step) not in events
                events[value.tag, event.step] = tf.make_ndarray(value.tensor)
    return events


def _series(events, tag):
    return {step: float(value) for (name, step), value in events.items() if name == tag}


def test_the_figures_of_the_report(tmp_path):
    _write(tmp_path)
    events = _events(tmp_path)
    expected = {
        "clean_accuracy": 0.95,
        "worst_case_accuracy": 0.625,
        "pgd20": 0.75,
        "square": 0.625,
    }
    for name, value in expected.items():
        assert _series(events, f"evaluation/{name}") == {0: pytest.approx(value)}
    assert _series(events, "evaluation_curves/accuracy_against_epsilon") == pytest.approx(
        {0: 0.95, 2: 0.9, 8: 0.75, 128: 0}
    )
    assert _series(events, "evaluation_curves/loss_pgd4") == {0: 0.5, 1: 1.5, 2: 2, 3: 2.25, 4: 2.5}
    assert _series(events, "evaluation_curves/loss_cw2") == {0: -3, 1: 1, 2: 1}
    assert events["evaluation/report", 0] == b"# Title"
    assert len(events) == 4 + 4 + 5 + 3 + 2


def test_the_pictures(tmp_path):
    _write(tmp_path)
    width, height, encoded = _events(tmp_path)["pictures/adversarial_examples", 0]
    picture = tf.io.decode_png(encoded).numpy()
    # Three examples of 2x4 pixels, 24 times enlarged, each with a frame of 3 pixels.
    assert (int(height), int(width)) == picture.shape[:2] == (3 * (48 + 6), 3 * (96 + 6))
    clean, adversarial, perturbation = picture[3 + 24 :: 54, 3 + 24]
    assert (int(clean[0]), int(adversarial[0]), int(perturbation[0])) == (51, 47, 64)
    assert np.all(picture[:3] == 255)


def test_pictures_have_captions_and_come_after_the_curves(tmp_path):
    _write(tmp_path)
    described = {
        value.tag: value.metadata.summary_description
        for file in tmp_path.iterdir()
        for event in EventFileLoader(str(file)).Load()
        for value in event.summary.value
    }
    caption = described["pictures/adversarial_examples"]
    assert "Rows: the image; the adversarial image" in caption
    assert "zero → one by pgd20" in caption
    assert max(described) == "pictures/adversarial_examples"


def test_what_is_missing_is_left_out(tmp_path):
    _write(tmp_path, result(curves=False, examples=adversarial_examples([])))
    tags = {tag for tag, _ in _events(tmp_path)}
    assert not any("curves" in tag or "examples" in tag for tag in tags)
    assert "evaluation/clean_accuracy" in tags


def test_losses_that_are_not_finite_and_radii_of_one_step(tmp_path):
    diagnosis = Diagnosis(
        epsilon_curve=EpsilonCurve("pgd20", (0.0, 0.4 / 255, 1 / 255), (1.0, 0.5, 0.25), 8),
        loss_curves=(LossCurve("pgd2", (1.0, float("nan"), float("inf"))),),
    )
    _write(tmp_path, dataclasses.replace(result(), diagnosis=diagnosis))
    events = _events(tmp_path)
    assert _series(events, "evaluation_curves/loss_pgd2") == {0: 1}
    assert _series(events, "evaluation_curves/accuracy_against_epsilon") == {0: 1, 1: 0.25}


def test_written_again_it_replaces_its_own_log_alone(tmp_path):
    training = tmp_path / "events.out.tfevents.1.host.1.0.v2"
    training.touch()
    _write(tmp_path)
    (first,) = set(tmp_path.iterdir()) - {training}
    _write(tmp_path)
    (second,) = set(tmp_path.iterdir()) - {training}
    assert second != first
    assert training.exists()
