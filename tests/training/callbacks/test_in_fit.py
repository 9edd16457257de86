"""The callbacks as a training from Python passes them to `fit`."""

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fsgan_tf.errors import UserError
from fsgan_tf.runs.metrics import Metrics
from fsgan_tf.training.callbacks import (
    Diagnoses,
    EpochLine,
    LearningRates,
    MetricsFile,
    Pictures,
    RobustAccuracy,
    TensorBoardScalars,
    Throughput,
    Warnings,
)
from fsgan_tf.training.callbacks.learning_rates import constant
from fsgan_tf.training.tensorboard_log import TensorBoardLog
from tests.small_training import BATCH_SIZE, IMAGE_SHAPE, NUM_CLASSES, build_small, dataset

STEPS = 2
ACCURACIES = {"clean_accuracy", "one_step_accuracy", "robust_accuracy"}


@pytest.fixture(scope="module")
def held_out():
    random = np.random.default_rng(5)
    images = random.integers(0, 256, (2 * BATCH_SIZE, *IMAGE_SHAPE), np.uint8)
    return images, random.integers(0, NUM_CLASSES, len(images)).astype(np.int32)


def _fit(method, *callbacks):
    return method.fit(
        dataset(STEPS).repeat(),
        epochs=2,
        steps_per_epoch=STEPS,
        callbacks=callbacks,
        shuffle=False,
        verbose=0,
    ).history


def test_figures_reach_what_stands_after_them_and_the_history(held_out, tmp_path, capsys):
    metrics, log = Metrics(tmp_path / "metrics.jsonl"), TensorBoardLog(tmp_path / "events")
    method = build_small("fs_gan", attack_iterations=1)
    history = _fit(
        method,
        LearningRates({"classifier": constant(1e-3)}),
        Throughput(BATCH_SIZE),
        RobustAccuracy(*held_out, batch_size=BATCH_SIZE),
        Diagnoses(*held_out, batch_size=BATCH_SIZE),
        EpochLine(2),
        Warnings(),
        MetricsFile(metrics),
        TensorBoardScalars(log),
        Pictures(log, *held_out),
    )
    rows = metrics.read()
    assert [(row["epoch"], row["step"]) for row in rows] == [(0, 2), (1, 4)]
    added = ACCURACIES | {
        "images_per_second",
        "learning_rate_classifier",
        "validation_generator_ot",
    }
    for index, row in enumerate(rows):
        assert added | set(method.reports) <= set(row)
        assert added <= set(history)
        assert all(history[name][index] == row[name] for name in added)
    events = EventAccumulator(str(tmp_path / "events"), size_guidance={"images": 0}).Reload()
    pictures = "pictures/clean_adversarial_perturbation"
    for tag in ("validation/robust_accuracy", "train/loss", pictures):
        assert [event.step for event in events.Tensors(tag)] == [2, 4]
    assert "epoch 2/2" in capsys.readouterr().out


def test_robust_accuracy_is_of_the_images_it_was_given(held_out):
    """All are classified and eight attacked; float images are the uint8 ones over 255."""
    images, labels = held_out
    method = build_small("standard")
    measured = []
    for given in (images, images.astype(np.float32) / np.float32(255)):
        watcher = RobustAccuracy(given, labels, batch_size=6, attacked_examples=BATCH_SIZE)
        watcher.set_model(method)
        measured.append(watcher.measure())
    assert measured[0] == measured[1]
    logits = method.classifier(images.astype(np.float32) / np.float32(255)).numpy()
    assert measured[0]["clean_accuracy"] == np.mean(logits.argmax(axis=1) == labels)
    assert measured[0]["robust_accuracy"] in np.arange(BATCH_SIZE + 1) / BATCH_SIZE
    assert measured[0]["robust_accuracy"] <= measured[0]["one_step_accuracy"] + 1e-9


@pytest.mark.parametrize(
    "change",
    [lambda x, y: (x, np.eye(NUM_CLASSES)[y]), lambda x, y: (x.astype(np.float32), y)],
    ids=["one-hot", "0 to 255"],
)
def test_robust_accuracy_refuses_at_once_what_it_would_judge_wrongly(change, held_out):
    with pytest.raises(UserError, match="one integer an image|pixels lie in"):
        RobustAccuracy(*change(*held_out))


def test_robust_accuracy_is_for_methods(held_out):
    with pytest.raises(UserError, match="is for fit of a training method.*evaluate measures"):
        RobustAccuracy(*held_out).set_model(build_small("standard").networks["classifier"])


def test_a_second_method_is_measured_itself(held_out, tmp_path):
    images, labels = held_out
    first, second = build_small("n_fgsm"), build_small("feature_scatter", seed=1)
    accuracy = RobustAccuracy(images, labels, batch_size=BATCH_SIZE, attacked_examples=BATCH_SIZE)
    diagnoses = Diagnoses(images, labels, batch_size=BATCH_SIZE)
    log = TensorBoardLog(tmp_path)
    pictures = Pictures(log, images[:BATCH_SIZE], labels[:BATCH_SIZE])
    for method in (first, second):
        for callback in (accuracy, diagnoses, pictures):
            callback.set_model(method)
            callback.on_epoch_end(0, {})
    fresh = RobustAccuracy(images, labels, batch_size=BATCH_SIZE, attacked_examples=BATCH_SIZE)
    fresh.set_model(second)
    assert accuracy.measure() == fresh.measure()
    assert diagnoses.measure().keys() == {"validation_sign_step_ot"}
    adversarial = pictures.made(pictures._images, pictures._labels, tf.constant([0, 0]))
    expected = second.perturb(pictures._images, pictures._labels, tf.constant([0, 0]))
    np.testing.assert_allclose(adversarial, expected, atol=1e-5)
