import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf.attacks.parts.attacked_classifier import AttackedClassifier
from fsgan_tf.attacks.parts.projected_gradient import ProjectedGradient
from fsgan_tf.attacks.parts.source import TransferSource
from fsgan_tf.attacks.registry import by_names
from fsgan_tf.attacks.transfer import Transfer
from fsgan_tf.errors import UserError


def _classifier(images, lead):
    """Two classes; `lead` is the second one's, a function of the rise in brightness."""

    def logits_fn(pixels):
        wrong = lead(tf.reduce_mean(pixels - images, axis=[1, 2, 3]))
        return tf.stack([tf.zeros_like(wrong), wrong], axis=1)

    return AttackedClassifier(logits_fn)


@pytest.mark.parametrize(
    ("rise", "found"), [(0.01, False), (0.02, False), (0.03, True), (0.04, True)]
)
def test_the_last_and_the_strongest_iterate_are_tried(rise, found, images, threat_model):
    """Steps of 0.01 lead past the source's peak at 0.031; it errs from the first one on."""
    source = _classifier(images, lambda mean: 0.03 - tf.abs(mean - 0.031))
    target = _classifier(images, lambda mean: 0.004 - tf.abs(mean - rise))
    climbing = ProjectedGradient(
        "cw4", loss="margin", num_steps=4, step_size=0.01, random_start=False, restarts=1
    )
    attempt = Transfer(climbing, TransferSource("a", (source,), "runs/a", "")).run(
        target,
        threat_model,
        tf.constant(images),
        tf.zeros(len(images), tf.int32),
        tf.zeros([len(images), 2], tf.int64),
        restart=0,
    )
    np.testing.assert_array_equal(attempt.success, found)
    wrong = target.logits(attempt.images).numpy().argmax(axis=1) == 1
    np.testing.assert_array_equal(wrong, found)


def test_a_source_without_gradients_is_refused(honest):
    blind = TransferSource(
        "a", (AttackedClassifier(honest, differentiable=False),), "a.tflite", "12"
    )
    with pytest.raises(UserError, match="a.tflite has no gradients, which transfer_pgd3 climbs"):
        by_names(["transfer_pgd3"], 0.05, sources=[blind])


def test_a_source_runs_on_the_device_of_the_classifier_attacked(honest):
    copies = tuple(AttackedClassifier(honest, device) for device in ("CPU:0", "CPU:1"))
    source = TransferSource("a", copies, "runs/a", "12", method="standard", seed=3)
    assert source.on("CPU:1") is copies[1]
    assert source.classifier is copies[0]
    assert str(source) == "a: runs/a, method standard, seed 3, sha256 12"
    assert str(TransferSource("a.keras", copies, "a.keras", "12")) == "a.keras: a.keras, sha256 12"
