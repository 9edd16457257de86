"""The tool with a peer made up here; with the peers installed, also with them (slow)."""

import dataclasses
import importlib.util
import json
import subprocess
from pathlib import Path

import experiments
import numpy as np
import pytest
from compare_feature_scatter import channels_first
from peers import a3, auto_attack, pma, pytorch
from peers.task import answers, fooled

from fsgan_tf.cli import evaluation_flags, training_flags
from fsgan_tf.data import loading
from fsgan_tf.models import saving
from fsgan_tf.reporting import manifest
from fsgan_tf.runs.checkpoints import Progress
from fsgan_tf.runs.directory import RunDirectory
from fsgan_tf.runs.restored import restore_classifier
from fsgan_tf.training.build import build_method
from tests import authors_code
from tests.commands import call
from tools import compare_attacks as tool

NAMES = tuple("0123456789")
SHAPE = (32, 32, 3)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that was never trained, of an epsilon that fools nothing."""
    return _untrained(tmp_path_factory.mktemp("run") / "run", "--epsilon=1e-7")


def _untrained(folder, *flags):
    values = training_flags.parse(["--method=standard", "--precision=float32", *flags])
    method = build_method(values, len(NAMES), SHAPE)
    directory = RunDirectory(folder)
    directory.prepare(values)
    directory.checkpoints.save(method, Progress(1, 0, NAMES, SHAPE))
    saving.save_classifier(method.classifier, NAMES, directory.saved_model)
    return folder


@pytest.fixture
def peer(monkeypatch):
    """Makes up a peer of two attacks and returns which attack saw how many images."""
    seen = []

    def make_up(fooled_share, *, part="numpy", names=("fgsm", "pgd2"), **settings):
        def attack(name):
            def fooled(images, labels):
                assert images.shape == (len(labels), *SHAPE)
                seen.append((name, len(labels)))
                return np.arange(len(labels)) < fooled_share * len(labels)

            return fooled

        made_up = tool.Part(
            packages={"numpy": "numpy"},
            attacks=lambda task: {name: attack(name) for name in names},
            names=names,
            **{"cumulative": False, "most": 100.0, **settings},
        )
        monkeypatch.setitem(tool._PARTS, part, made_up)
        return seen

    return make_up


@pytest.fixture
def ours(monkeypatch):
    """What would be our evaluation: a quarter withstands. Returns the flags of each."""
    started = []

    def run_module(module, arguments):
        assert module == "fsgan_tf.evaluate"
        flag_values = evaluation_flags.evaluation_flags()
        flag_values(["evaluate", *arguments])
        asked = evaluation_flags.configuration(flag_values)
        started.append(asked)
        attacks = [
            {"name": name, "accuracy": 0.25, "seconds": 1} for name in asked.evaluation.attacks
        ]
        restored = restore_classifier(asked.model.run_dir)
        images, _ = loading.load_split("digits", "test", **restored.configuration.data_options())
        results = {
            "num_examples": asked.data.num_examples,
            "seed": asked.evaluation.seed,
            "threat_model": {"norm": asked.evaluation.norm, "epsilon": asked.evaluation.epsilon},
            "classifier_sha256": restored.weights_sha256,
            "dataset_sha256": images.first(asked.data.num_examples).sha256(),
            "versions": {"commit": manifest.commit()},
            "attacks": attacks,
        }
        Path(asked.report.output_dir).mkdir(exist_ok=True)
        Path(asked.report.output_dir, "results.json").write_text(json.dumps(results))

    monkeypatch.setattr(experiments, "run_module", run_module)
    return started


def _compare(*arguments):
    return call(tool, *arguments)


def _arguments(run, output_dir):
    return (
        f"--run_dir={run}",
        f"--output_dir={output_dir}",
        "--parts=numpy",
        "--num_examples=48",
        "--batch_size=16",
    )


def test_what_is_done_is_not_done_again(run, tmp_path, peer, ours):
    seen = peer(0)
    arguments = _arguments(run, tmp_path)
    assert _compare(*arguments) == 0
    correct = seen[0][1]
    assert seen == [("fgsm", correct), ("pgd2", correct)]
    assert len(ours) == 1
    table = (tmp_path / "table.md").read_text()
    assert f"| fgsm | 25.0% | {correct / 48:.1%} |" in table
    assert (ours[0].model.run_dir, ours[0].evaluation.standalone) == (str(run), True)

    seen.clear()
    assert _compare(*arguments) == 0
    assert not seen
    assert (tmp_path / "table.md").read_text() == table

    file = tmp_path / "numpy.json"
    content = json.loads(file.read_text())
    del content["attacks"]["pgd2"]
    file.write_text(json.dumps(content))
    assert _compare(*arguments) == 0
    assert [name for name, _ in seen] == ["pgd2"]
    assert len(ours) == 1

    seen.clear()
    assert _compare(*arguments, "--seed=1") == 0
    assert len(seen) == len(ours) == 2


@pytest.mark.parametrize(
    "other",
    [
        {"classifier_sha256": "other"},
        {"dataset_sha256": "other"},
        {"threat_model": {"norm": "linf", "epsilon": 0.5}},
        {"threat_model": {"norm": "l2", "epsilon": 1e-7}},
        {"versions": {"commit": "other"}},
        {"attacks": [{"name": "fgsm", "accuracy": 0.25, "seconds": 1}]},
    ],
    ids=lambda other: next(iter(other)),
)
def test_results_of_ours_that_were_made_with_something_else_are_made_again(
    run, tmp_path, peer, ours, other
):
    peer(0)
    arguments = _arguments(run, tmp_path)
    assert _compare(*arguments) == 0
    (file,) = tmp_path.glob("ours_*/results.json")
    file.write_text(json.dumps({**json.loads(file.read_text()), **other}))
    assert _compare(*arguments) == 0
    assert len(ours) == 2


def test_parts_of_other_attacks_have_results_of_their_own(run, tmp_path, peer, ours):
    peer(0, part="one", names=("fgsm",))
    peer(0, part="other", names=("pgd2",))
    arguments = (*_arguments(run, tmp_path), "--parts=one,other")
    for _ in range(2):
        assert _compare(*arguments) == 0
        assert [one.evaluation.attacks for one in ours] == [("fgsm",), ("pgd2",)]
    table = (tmp_path / "table.md").read_text()
    assert "| fgsm | 25.0% |" in table
    assert "| pgd2 | 25.0% |" in table


def test_the_ball_is_that_of_the_training(tmp_path, peer, ours, capsys):
    run = _untrained(tmp_path / "run", "--method=pgd_at", "--norm=l2", "--epsilon=0.5")
    seen = peer(0)
    arguments = _arguments(run, tmp_path / "out")
    assert _compare(*arguments) == 0
    assert (ours[0].evaluation.norm, ours[0].evaluation.epsilon) == ("l2", 0.5)
    kept = json.loads((tmp_path / "out" / "numpy_l2.json").read_text())["inputs"]
    assert (kept["norm"], kept["epsilon"]) == ("l2", 0.5)

    seen.clear()
    assert _compare(*arguments, "--norm=linf") == 2
    assert "--norm=linf needs --epsilon in its own unit" in capsys.readouterr().err
    assert not seen


def test_the_commit_of_the_authors_code_is_kept_and_compared(run, tmp_path, peer, ours):
    clone = tmp_path / "clone"
    git = ["git", "-C", str(clone), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "init", "-q", str(clone)], check=True)
    commit = [*git, "commit", "-q", "--allow-empty", "-m", "one"]
    (clone / "code.py").touch()
    subprocess.run(commit, check=True)
    seen = peer(0, part="pma", names=("fgsm",), clone=tool.Clone("owner/code", "code.py"))
    arguments = (*_arguments(run, tmp_path), "--parts=pma", f"--pma={clone}")
    for _ in range(2):
        assert _compare(*arguments) == 0
    assert len(seen) == 1
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    inputs = json.loads((tmp_path / "pma.json").read_text())["inputs"]
    assert inputs["clone_commit"] == head.stdout.strip()

    subprocess.run(commit, check=True)
    assert _compare(*arguments) == 0
    assert len(seen) == 2


def test_a_difference_is_told_and_fails(run, tmp_path, peer, ours, capsys):
    peer(1, most=24.0)
    assert _compare(*_arguments(run, tmp_path)) == 1
    error = capsys.readouterr().err
    assert "robust accuracies differ: numpy by 25.0 points, at most 24.0" in error
    peer(1, most=25.0)
    assert _compare(*_arguments(run, tmp_path)) == 0


def test_attacks_one_after_the_other_are_judged_by_what_they_leave(run, tmp_path, peer, ours):
    seen = peer(0.5, cumulative=True, most=1.0)
    _compare(*_arguments(run, tmp_path))
    (_, first), (_, second) = seen
    assert second == first // 2
    assert not ours[0].evaluation.standalone

    theirs = json.loads((tmp_path / "numpy.json").read_text())["attacks"]
    left = theirs["pgd2"]["accuracy"]
    attacks = [
        {"name": "fgsm", "accuracy": 1.0, "seconds": 1},
        {"name": "pgd2", "accuracy": left + 0.01, "seconds": 1},
    ]
    rows, difference = tool._compare("numpy", tool._PARTS["numpy"], {"attacks": attacks}, theirs)
    assert difference == pytest.approx(1)
    assert [row[1] for row in rows] == ["fgsm", "pgd2"]


@pytest.fixture(scope="module")
def task(run):
    """The classifier attacked where it answers right, by an epsilon that fools some."""
    flag_values = tool._flags()
    flag_values(["tool", f"--run_dir={run}", "--num_examples=40", "--batch_size=20"])
    task = tool._task(flag_values, *tool._ball(flag_values))
    return dataclasses.replace(
        task, labels=answers(task, task.images).astype(np.int32), epsilon=8e-3
    )


def test_only_feasible_images_fool(task):
    images, labels = task.images[:1], task.labels[:1]
    wrong = (labels + 1) % len(NAMES)
    for adversarial, fools in (
        (images, True),
        (np.clip(images + task.epsilon, 0, 1), True),
        (np.clip(images + 2 * task.epsilon, 0, 1), False),
        (images - task.epsilon / 2, False),
        (images * np.nan, False),
    ):
        assert fooled(task, adversarial.astype(np.float32), images, wrong) == fools
    assert not fooled(task, images, images, labels)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ["--run_dir"]),
        (("--run_dir=x", "--parts=foolbox"), ["foolbox", "pip install -r requirements-peers.txt"]),
        (("--run_dir=x", "--parts=torch"), ["foolbox, art, auto_attack, pma, a3"]),
        (("--run_dir=x", "--parts=auto_attack"), ["pip install -r requirements-peers.txt"]),
    ],
)
def test_what_is_missing_is_told_in_one_line(arguments, words, capsys, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert _compare(*arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert all(word in error for word in words), error


@pytest.mark.parametrize(
    ("part", "repository"),
    [
        ("auto_attack", "fra31/auto-attack"),
        ("pma", "xieyong0/PMA"),
        ("a3", "liuye6666/adaptive_auto_attack"),
    ],
)
def test_a_folder_without_the_authors_code_is_told_in_one_line(
    part, repository, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    for folder in ((), (f"--{part}={tmp_path}",)):
        assert _compare("--run_dir=x", f"--parts={part}", *folder) == 2
        error = capsys.readouterr().err
        assert f"git clone https://github.com/{repository} FOLDER" in error
        assert error.count("\n") == 1


def _accuracies_of_ours(task, names):
    from fsgan_tf.attacks.registry import by_names
    from fsgan_tf.evaluation.engine import Evaluator
    from fsgan_tf.threat_model import ThreatModel

    evaluator = Evaluator(task.restored.model, ThreatModel(task.epsilon), task.batch_size)
    attacks = by_names(names, task.epsilon)
    result = evaluator.attack(task.images, task.labels, attacks, standalone=True)
    return {name: result.accuracy(name) for name in names}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("part", ["foolbox", "art"])
def test_peers_are_as_strong_as_ours(part, task):
    pytest.importorskip(part)
    ours = _accuracies_of_ours(task, ["pgd20", "cw20"])
    assert all(0.1 < accuracy < 0.9 for accuracy in ours.values())
    for name, attack in tool._PARTS[part].attacks(task).items():
        found = attack(task.images, task.labels)
        assert np.mean(~found) == pytest.approx(ours[name], abs=0.05)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@authors_code.needs("AutoAttack")
def test_auto_attack_is_as_strong_as_ours(task):
    few = _first(8, task, auto_attack=authors_code.AUTO_ATTACK)
    ours = _accuracies_of_ours(few, ["apgd_ce"])["apgd_ce"]
    found = auto_attack.attacks(few)["apgd_ce"](few.images, few.labels)
    assert np.mean(~found) == pytest.approx(ours, abs=0.13)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@authors_code.needs("PMA")
def test_pma_is_as_strong_as_its_authors(task):
    few = _first(24, task, pma=authors_code.PMA)
    ours = _accuracies_of_ours(few, ["pma"])["pma"]
    assert 0.1 < ours < 0.9
    found = pma.attacks(few)["pma"](few.images, few.labels)
    assert np.mean(~found) == pytest.approx(ours, abs=0.05)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@authors_code.needs("A3")
def test_a3_is_as_strong_as_its_authors(task):
    few = _first(8, task, a3=authors_code.A3)
    ours = _accuracies_of_ours(few, ["a3"])["a3"]
    assert 0.1 < ours < 0.9
    found = a3.attacks(few)["a3"](few.images, few.labels)
    assert np.mean(~found) == pytest.approx(ours, abs=0.13)


def _first(count, task, **clones):
    """The task of the first images, and where the authors' code is."""
    return dataclasses.replace(
        task, images=task.images[:count], labels=task.labels[:count], clones=clones
    )


@pytest.mark.slow
@pytest.mark.parametrize(("depth", "width"), [(10, 1), (16, 2)])
def test_the_network_is_the_same_in_pytorch(depth, width):
    torch = pytest.importorskip("torch")
    from fsgan_tf.networks.classifiers import wide_resnet

    model = wide_resnet.build(
        wide_resnet.Settings(classifier_depth=depth, classifier_width=width),
        num_classes=7,
        image_shape=(32, 32, 3),
    )
    generator = np.random.default_rng(0)
    for variable in model.variables:
        if variable.path.endswith(("gamma", "beta", "moving_mean", "moving_variance")):
            variable.assign(generator.uniform(0.5, 1.5, variable.shape))
    images = generator.uniform(0, 1, (3, 32, 32, 3)).astype(np.float32)
    logits = pytorch.logits_fn(torch, model)(torch.tensor(channels_first(images)))
    np.testing.assert_allclose(logits, model(images, training=False), rtol=0, atol=1e-4)
