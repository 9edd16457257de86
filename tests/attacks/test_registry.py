import json
import os

import keras
import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf import attacks, evaluate
from fsgan_tf.attacks import registry
from fsgan_tf.attacks.parts.source import TransferSource
from fsgan_tf.attacks.registry import by_names, suite
from fsgan_tf.errors import UserError
from fsgan_tf.evaluation.engine import Evaluator
from fsgan_tf.threat_model import ThreatModel
from tests import commands
from tests.own_files import on_path

EPSILON = 8 / 255
ITERATIVE = ["pgd20", "cw20", "apgd_ce", "apgd_t", "fab_t", "square", "spsa20"]
GRADIENT_FREE = ["square", "spsa20"]


@pytest.mark.parametrize("name", ITERATIVE)
def test_an_undefended_network_falls_to_0(name, network, images):
    labels = network(images, training=False).numpy().argmax(axis=1).astype(np.int32)
    result = Evaluator(network, ThreatModel(0.1), 24).attack(images, labels, by_names([name], 0.1))
    assert result.clean_accuracy == 1
    assert result.worst_case_accuracy == 0


@pytest.mark.parametrize("name", ITERATIVE[2:])
def test_as_strong_as_pgd_where_gradients_are_honest(name, honest, images, labels, threat_model):
    attacks = by_names([name, "pgd20"], threat_model.epsilon)
    result = Evaluator(honest, threat_model, 24).attack(images, labels, attacks, standalone=True)
    assert 0 < result.accuracy(name) <= result.accuracy("pgd20") < result.clean_accuracy


@pytest.mark.parametrize("name", GRADIENT_FREE)
def test_stronger_than_pgd_where_gradients_lie(name, honest, images, labels, threat_model):
    def rounding(pixels):
        return honest(tf.round(pixels * 50) / 50)

    attacks = by_names([name, "pgd20"], threat_model.epsilon)
    result = Evaluator(rounding, threat_model, 24).attack(images, labels, attacks, standalone=True)
    assert result.accuracy(name) < result.accuracy("pgd20")


def test_what_a_file_declares_is_what_the_attack_is():
    for kind in registry.kinds():
        name = kind.name.removesuffix("N") + "5" * kind.name.endswith("N")
        name = name.replace("ATTACK", "pgd5")
        (attack,) = by_names([name], EPSILON, sources=_sources("a"))
        assert attack.access == kind.access
        assert attack.name.startswith(name)
        assert kind.help in registry.described()


def test_the_kinds_of_attack():
    assert {kind.name: kind.access for kind in registry.kinds()} == {
        **dict.fromkeys(
            ("a3", "apgd_ce", "apgd_dlr", "apgd_t", "cwN", "fab_t", "fgsm", "pgdN", "pma"),
            "gradients",
        ),
        **dict.fromkeys(("spsaN", "square", "square_sample"), "outputs"),
        "transfer_ATTACK": "none",
    }


def test_settings_of_attacks_are_checked_and_those_nobody_reads_refused():
    assert {name: having for name, (_, having) in registry.options().items()} == {
        "restarts": ["cwN", "pgdN"],
        "step_size": ["cwN", "pgdN"],
    }
    with pytest.raises(UserError, match="restarts is 0; it must be at least 1"):
        by_names(["pgd2"], EPSILON, restarts=0)
    with pytest.raises(UserError, match="none of the attacks fgsm, square reads --restarts; cwN"):
        by_names(["fgsm", "square"], EPSILON, restarts=2)
    with pytest.raises(UserError, match="reads --speed; no attack does"):
        by_names(["fgsm", "square"], EPSILON, speed=2)
    assert by_names(["fgsm", "square"], EPSILON, restarts=None)
    (transferred,) = by_names(["transfer_cw5"], EPSILON, sources=_sources("a"), restarts=3)
    assert transferred.restarts == 3


def test_listing_attacks_imports_no_tensorflow():
    code = (
        "import sys; from fsgan_tf.attacks import registry; registry.described(); "
        "registry.options(); sys.exit('tensorflow' in sys.modules)"
    )
    assert commands.python("-c", code).returncode == 0


MINE = '''
"""Turns images upside down, as far as the ball lets it."""

import dataclasses

import tensorflow as tf

from fsgan_tf.attacks.parts.attack import Attempt
from fsgan_tf.settings import Settings as Base
from fsgan_tf.settings import setting

NAME = "tumbleN"
HELP = "turns images upside down"
ACCESS = "outputs"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(Base):
    strength: float = setting(1.0, "How far.", above=0)


class Tumble:
    access = ACCESS
    restarts = 1
    cost = 1

    def __init__(self, name, parameters):
        self.name, self.parameters = name, parameters

    def run(self, classifier, threat_model, images, labels, seeds, restart):
        found = threat_model.project(tf.reverse(images, [1]), images)
        return Attempt(found, tf.zeros_like(labels, tf.bool))


def make(wanted, settings):
    return [Tumble(wanted.name, {"restarts": wanted.num_steps, "strength": settings.strength})]
'''


def test_a_file_of_ones_own_is_an_attack_of_the_command(tmp_path):
    """One new file in a folder of Python's path, and nothing else."""
    (tmp_path / "fsgan_tf" / "attacks").mkdir(parents=True)
    (tmp_path / "fsgan_tf" / "attacks" / "tumble.py").write_text(MINE)
    layers = [keras.Input((32, 32, 3)), keras.layers.Flatten(), keras.layers.Dense(10)]
    keras.Sequential(layers).save(tmp_path / "model.keras")
    path = {"PYTHONPATH": os.pathsep.join((str(commands.ROOT), str(tmp_path)))}
    told = commands.python("-m", "fsgan_tf.evaluate", "--help", env=path).stdout
    assert "tumbleN: turns images upside down" in " ".join(told.split())
    words = [f"--keras_model={tmp_path / 'model.keras'}", "--dataset=digits", "--epsilon=0.9"]
    words += ["--attacks=tumble3,fgsm", "--strength=2", "--num_examples=64"]
    with on_path(tmp_path, attacks):
        assert commands.call(evaluate, *words, f"--output_dir={tmp_path / 'out'}") == 0
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    tumble = next(attack for attack in results["attacks"] if attack["name"] == "tumble3")
    assert tumble["parameters"] == {"restarts": 3, "strength": 2.0}
    assert tumble["accuracy"] <= results["clean_accuracy"]
    # The check of white against black boxes knows it for a black box.
    check = next(c for c in results["checks"] if c["name"] == "white_box_beats_black_box")
    assert "tumble3" in check["detail"]


def test_paper_white_box_is_the_papers():
    attacks = {attack.name: attack.parameters for attack in suite("paper_white_box", EPSILON)}
    assert list(attacks) == ["fgsm", "pgd10", "pgd20", "pgd100", "cw20", "cw100"]
    assert attacks.pop("fgsm") == {
        "loss": "cross_entropy",
        "num_steps": 1,
        "step_size": EPSILON,
        "random_start": False,
        "restarts": 1,
    }
    for name, parameters in attacks.items():
        assert parameters["loss"] == ("margin" if name.startswith("cw") else "cross_entropy")
        assert parameters["num_steps"] == int(name.lstrip("pgdcw"))
        assert parameters["step_size"] == pytest.approx(2 / 255)
        assert parameters["random_start"]
        assert parameters["restarts"] == 10


def test_strong_is_autoattacks_standard_version():
    """fra31/auto-attack at a392200, `autoattack.py`: 100 iterations, 9 targets, 5,000 queries."""
    attacks = {attack.name: attack for attack in suite("strong", EPSILON)}
    assert list(attacks) == ["apgd_ce", "apgd_t", "fab_t", "square"]
    assert [attack.restarts for attack in attacks.values()] == [1, 9, 9, 1]
    steps = [attacks[name].parameters["num_steps"] for name in ("apgd_ce", "apgd_t", "fab_t")]
    assert steps == [100, 100, 100]
    assert attacks["square"].parameters["num_queries"] == 5000
    costs = [attack.cost for attack in attacks.values()]
    assert costs == sorted(costs)


def _sources(*names):
    return [TransferSource(name, (), f"runs/{name}", "12" * 32, "pgd_at", 3) for name in names]


def test_paper_black_box_is_the_papers():
    attacks = suite("paper_black_box", EPSILON, sources=_sources("a"))
    transferred = ["fgsm", "pgd10", "pgd20", "pgd100", "cw20", "cw100"]
    assert [a.name for a in attacks] == [*(f"transfer_{n}@a" for n in transferred), "spsa1000"]
    white_box = {attack.name: attack for attack in suite("paper_white_box", EPSILON)}
    for name, attack in zip(transferred, attacks, strict=False):
        assert attack.restarts == white_box[name].restarts
        assert attack.cost == white_box[name].cost
        assert attack.parameters == {
            **white_box[name].parameters,
            "source": "runs/a",
            "source_method": "pgd_at",
            "source_seed": 3,
            "source_sha256": "12" * 32,
        }


def test_every_source_is_transferred_from():
    attacks = by_names(["transfer_cw5", "fgsm"], EPSILON, sources=_sources("a", "b"))
    assert [a.name for a in attacks] == ["transfer_cw5@a", "transfer_cw5@b", "fgsm"]
    with pytest.raises(UserError, match="--source=RUN_DIR"):
        by_names(["transfer_cw5"], EPSILON)
    with pytest.raises(UserError, match="unknown attack 'transfer_square'"):
        by_names(["transfer_square"], EPSILON, sources=_sources("a"))


def test_restarts_and_step_size_can_be_chosen():
    attacks = suite("quick", EPSILON, restarts=3, step_size=0.01)
    assert [attack.restarts for attack in attacks] == [1, 3, 3]
    assert [attack.parameters["step_size"] for attack in attacks] == [EPSILON, 0.01, 0.01]


def test_names_are_stripped_and_taken_once():
    assert [a.name for a in by_names([" pgd7", "cw3", "pgd7"], EPSILON)] == ["pgd7", "cw3"]


@pytest.mark.parametrize("name", ["pgd", "pgd0", "pgd-1", "cw20x", "autoattack", ""])
def test_unknown_attack_is_refused_with_those_there_are(name):
    with pytest.raises(UserError, match=r"unknown attack .*cwN, fab_t, fgsm, pgdN, pma, spsaN"):
        by_names(["fgsm", name], EPSILON)


def test_other_bad_input_is_refused():
    with pytest.raises(UserError, match=r"unknown suite 'fast'; there are quick"):
        suite("fast", EPSILON)
    with pytest.raises(UserError, match="no attack is named"):
        by_names([], EPSILON)
    with pytest.raises(UserError, match="at most epsilon"):
        by_names(["pgd2"], EPSILON, step_size=2 * EPSILON)
