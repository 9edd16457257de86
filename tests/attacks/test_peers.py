"""Ours beside AutoAttack's authors' code and Foolbox, on the same weights (slow).

On 500 digits of 8 x 8 pixels in a frame, and a network of two layers trained on the others with
noise. With `-s` the accuracies are printed; docs/fidelity.md has them.
"""

import importlib.util

import keras
import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf.attacks.parts.attacked_classifier import AttackedClassifier
from fsgan_tf.attacks.parts.random_draws import with_own_seeds
from fsgan_tf.attacks.registry import by_names, suite
from fsgan_tf.evaluation.engine import Evaluator
from fsgan_tf.threat_model import ThreatModel
from tests import authors_code

EPSILON = {"l2": 0.6, "l1": 1.8}
COUNT = 500

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def digits():
    """The network, 500 images and their labels."""
    sklearn = pytest.importorskip("sklearn.datasets")
    images, labels = sklearn.load_digits(return_X_y=True)
    images = np.pad(images.reshape(-1, 8, 8, 1) / 16, [(0, 0), (1, 1), (1, 1), (0, 0)])
    images, labels = images.astype(np.float32), labels.astype(np.int32)
    keras.utils.set_random_seed(0)
    layers = [keras.Input((10, 10, 1)), keras.layers.Flatten()]
    model = keras.Sequential(
        [*layers, keras.layers.Dense(64, activation="relu"), keras.layers.Dense(10)]
    )
    model.compile(
        keras.optimizers.Adam(3e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    noise = np.random.default_rng(0).normal(0, 0.15, images[COUNT:].shape).astype(np.float32)
    noisy = np.clip(images[COUNT:] + noise, 0, 1)
    model.fit(noisy, labels[COUNT:], batch_size=64, epochs=20, verbose=0)
    return model, images[:COUNT], labels[:COUNT]


@pytest.mark.parametrize("norm", EPSILON)
@authors_code.needs("AutoAttack")
def test_the_strong_suite_leaves_what_autoattack_leaves(norm, digits, monkeypatch):
    import torch

    monkeypatch.syspath_prepend(authors_code.AUTO_ATTACK)
    from autoattack import AutoAttack

    model, images, labels = digits
    epsilon = EPSILON[norm]
    attacks = suite("strong", epsilon, norm=norm)
    ours = Evaluator(model, ThreatModel(epsilon, norm=norm), 250).attack(images, labels, attacks)
    kernel, bias, second, last = map(torch.tensor, model.get_weights())

    def predict(pixels):
        return torch.relu(pixels.reshape(-1, 100) @ kernel + bias) @ second + last

    adversary = AutoAttack(
        predict, norm=norm.upper(), eps=epsilon, seed=0, device="cpu", verbose=False
    )
    names = list(adversary.attacks_to_run)
    standing = ours.clean_correct.copy()
    for name, attack in zip(names, ours.attacks, strict=True):
        adversary.attacks_to_run = [name]
        _, answers = adversary.run_standard_evaluation(
            torch.tensor(images[standing]).reshape(-1, 1, 10, 10),
            torch.tensor(labels[standing]).long(),
            bs=250,
            return_labels=True,
        )
        standing[standing] = answers.numpy() == labels[standing]
        print(f"{norm} {attack.name}: ours {attack.accuracy:.1%}, theirs {standing.mean():.1%}")
    assert 0.1 < standing.mean() < 0.9 * ours.clean_accuracy
    assert abs(ours.worst_case_accuracy - standing.mean()) <= 0.005 + 1e-9


@authors_code.needs("AutoAttack")
def test_the_random_suite_finds_what_autoattacks_does(digits, monkeypatch):
    """Both sides' images are judged by so many calls that hardly one is on its side by chance."""
    import torch

    monkeypatch.syspath_prepend(authors_code.AUTO_ATTACK)
    from autoattack import AutoAttack

    model, images, labels = digits
    epsilon, spread, calls = 0.1, 0.3, 2001
    kernel, bias, second, last = map(torch.tensor, model.get_weights())

    def predict(pixels):
        pixels = pixels.reshape(-1, 100)
        pixels = pixels + spread * torch.randn(pixels.shape)
        return torch.relu(pixels @ kernel + bias) @ second + last

    given = torch.tensor(images).reshape(-1, 1, 10, 10), torch.tensor(labels).long()

    def mostly_right(pixels):
        right = sum(predict(pixels).argmax(dim=1).eq(given[1]).int() for _ in range(calls))
        return 2 * right.numpy() > calls

    @with_own_seeds
    def noisy(pixels, seed):
        return model(pixels + spread * tf.random.stateless_normal(tf.shape(pixels), seed))

    right = mostly_right(given[0])
    ours, theirs = right.copy(), right.copy()
    averaged = AttackedClassifier(noisy).averaged(20)
    seeds = tf.stack([tf.zeros(COUNT, tf.int64), tf.range(COUNT, dtype=tf.int64)], axis=1)
    for attack in suite("random", epsilon):
        found = attack.run(
            averaged, ThreatModel(epsilon), tf.constant(images), tf.constant(labels), seeds, 0
        ).images
        ours &= mostly_right(torch.tensor(found.numpy()))
    adversary = AutoAttack(
        predict, norm="Linf", eps=epsilon, seed=0, version="rand", device="cpu", verbose=False
    )
    for adversary.apgd.loss in ("ce", "dlr"):
        # Without `best_loss` theirs takes the first image that a single call mistakes.
        theirs &= mostly_right(adversary.apgd.perturb(*given, best_loss=True))
    print(f"random: clean {right.mean():.1%}, ours {ours.mean():.1%}, theirs {theirs.mean():.1%}")
    assert 0.1 < theirs.mean() < 0.9 * right.mean()
    assert abs(ours.mean() - theirs.mean()) <= 0.01


@pytest.mark.parametrize("norm", ["l2"])
@pytest.mark.skipif(importlib.util.find_spec("foolbox") is None, reason="needs foolbox")
def test_pgd_is_as_strong_as_foolboxs(norm, digits):
    import foolbox

    model, images, labels = digits
    epsilon = EPSILON[norm]
    (attack,) = by_names(["pgd20"], epsilon, norm=norm)
    ours = Evaluator(model, ThreatModel(epsilon, norm=norm), 250).attack(images, labels, [attack])
    theirs = foolbox.attacks.L2PGD(abs_stepsize=attack.step_size, steps=20, random_start=True)
    _, found, _ = theirs(
        foolbox.TensorFlowModel(model, bounds=(0, 1), device=tf.constant(0.0).device),
        tf.constant(images),
        tf.constant(labels, tf.int64),
        epsilons=epsilon,
    )
    sizes = np.linalg.norm((found.numpy() - images).reshape(COUNT, -1), axis=1)
    assert sizes.max() <= epsilon + 1e-5
    standing = np.mean(model(found).numpy().argmax(axis=1) == labels)
    print(f"{norm} pgd20: ours {ours.worst_case_accuracy:.1%}, Foolbox's {standing:.1%}")
    assert abs(ours.worst_case_accuracy - standing) <= 0.01
