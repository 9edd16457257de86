import dataclasses
import runpy
import sys
import types
from importlib import metadata

import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf.attacks.parts.attack import Attempt
from fsgan_tf.attacks.parts.attacked_classifier import AttackedClassifier
from fsgan_tf.attacks.parts.random_draws import with_own_seeds
from fsgan_tf.attacks.registry import by_names
from fsgan_tf.attacks.square_sample import SampledSquare
from fsgan_tf.errors import RunError
from fsgan_tf.evaluation import checks
from fsgan_tf.evaluation.engine import Evaluator
from fsgan_tf.evaluation.outcome import Outcome, Task
from fsgan_tf.evaluation.request import Request
from fsgan_tf.evaluation.state import EvaluationState, fingerprint
from fsgan_tf.threat_model import ThreatModel

from .test_engine import assert_same


def _fingerprint(**changes):
    options = {
        "classifier_sha256": "12" * 32,
        "dataset_sha256": "34" * 32,
        "model_options": {},
    }
    attacks = by_names(changes.pop("attacks", ["pgd3"]), 0.05)
    threat_model = ThreatModel(changes.pop("epsilon", 0.05))
    how = {
        name: changes.pop(name) for name in ("batch_size", "seed", "standalone") if name in changes
    }
    return fingerprint(Request(threat_model, attacks, **how), **{**options, **changes})


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "new" / ".state"


@pytest.fixture
def task():
    (attack,) = by_names(["pgd3"], 0.05)
    return Task(dataclasses.replace(attack, name="transfer_pgd3@runs/a"), 2, 7, np.array([3, 5, 3]))


@pytest.fixture
def outcome():
    return Outcome(
        indices=np.array([3, 5]),
        claimed=np.array([True, True]),
        fooled=np.array([False, True]),
        fooled_8bit=np.array([False, False]),
        images=np.full((1, 2, 2, 1), 0.25, np.float32),
        predictions=np.array([4], np.int32),
        seconds=1.5,
    )


def test_an_outcome_is_read_as_it_was_written(folder, task, outcome, capsys):
    state = EvaluationState(folder, _fingerprint())
    assert state.read(task, (2, 2, 1)) is None
    state.write(task, outcome)
    assert capsys.readouterr().out == ""
    found = EvaluationState(folder, _fingerprint()).read(task, (2, 2, 1))
    assert capsys.readouterr().out == f"resuming from {state.folder}, batches done: 1\n"
    for name, value in outcome._asdict().items():
        np.testing.assert_array_equal(getattr(found, name), value)
    assert state.read(task._replace(number=8), (2, 2, 1)) is None
    assert state.read(task._replace(restart=1), (2, 2, 1)) is None
    state.remove()
    assert not folder.exists()


@pytest.mark.parametrize(
    "change",
    [
        {"indices": np.array([3, 6])},
        {"claimed": np.array([True])},
        {"fooled": np.array([True, True])},
        {"images": np.zeros((1, 2, 2, 1))},
        {"images": np.zeros((1, 2, 2, 3), np.float32)},
        {"predictions": np.zeros(0, np.int32)},
        {"seconds": np.array("soon")},
        {"indices": np.array([None, "code"])},
    ],
)
def test_an_outcome_of_something_else_is_not_read(change, folder, task, outcome):
    state = EvaluationState(folder, _fingerprint())
    np.savez(state._file(task), **{**outcome._asdict(), **change})
    assert state.read(task, (2, 2, 1)) is None


def test_damaged_files_are_not_read(folder, task, outcome):
    state = EvaluationState(folder, _fingerprint())
    state.write(task, outcome)
    (file,) = folder.glob("*/*.npz")
    content = file.read_bytes()
    generator = np.random.default_rng(0)
    for length in generator.integers(0, len(content), 20):
        file.write_bytes(content[:length])
        assert state.read(task, (2, 2, 1)) is None
    for position in generator.integers(0, len(content), 100):
        flipped = bytearray(content)
        flipped[position] ^= 255
        file.write_bytes(flipped)
        found = state.read(task, (2, 2, 1))
        # A flip in the archive's dates and names of systems is no damage.
        assert found is None or np.array_equal(found.images, outcome.images)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"classifier_sha256": "56" * 32}, "classifier"),
        ({"model_options": {"input_range": "0,255"}}, "classifier"),
        ({"dataset_sha256": "56" * 32}, "examples"),
        ({"attacks": ["pgd3", "cw3"]}, "attacks"),
        ({"attacks": ["pgd4"]}, "attacks"),
        ({"epsilon": 0.06}, "threat model"),
        ({"batch_size": 9}, "batch size"),
        ({"seed": 1}, "seed"),
        ({"standalone": True}, "standalone"),
    ],
)
def test_another_evaluation_leaves_the_state_of_a_killed_one(
    change, name, folder, task, outcome, capsys
):
    killed = EvaluationState(folder, _fingerprint())
    killed.write(task, outcome)
    state = EvaluationState(folder, _fingerprint(**change))
    assert capsys.readouterr().out == (
        f"another unfinished evaluation is kept in {killed.folder}; it differs in: {name}\n"
    )
    assert state.read(task, (2, 2, 1)) is None
    state.write(task, outcome)
    state.remove()
    assert list(folder.iterdir()) == [killed.folder]
    again = EvaluationState(folder, _fingerprint())
    assert again.read(task, (2, 2, 1)) is not None
    again.remove()
    assert not folder.exists()


def test_the_state_of_other_code_is_not_read(tmp_path, folder, task, outcome, capsys):
    """An attack of one's own that was mended, and this package after an update."""
    file = tmp_path / "own_attack.py"
    file.write_text("class Own:\n    name, parameters = 'own', {}\n")
    namespace = runpy.run_path(str(file), run_name="own_attack")
    sys.modules["own_attack"] = types.SimpleNamespace(__file__=str(file))

    def state():
        request = Request(ThreatModel(0.05), (namespace["Own"](),))
        hashes = {"classifier_sha256": "", "dataset_sha256": ""}
        return EvaluationState(folder, fingerprint(request, model_options={}, **hashes))

    try:
        state().write(task, outcome)
        assert state().read(task, (2, 2, 1)) is not None
        file.write_text(file.read_text() + "# mended\n")
        capsys.readouterr()
        assert state().read(task, (2, 2, 1)) is None
    finally:
        del sys.modules["own_attack"]
    assert capsys.readouterr().out.endswith("it differs in: code\n")


@pytest.mark.parametrize("package", ["tensorflow", "keras", "cleverhans"])
def test_the_state_of_other_versions_is_another(package, monkeypatch):
    before = _fingerprint()
    version = metadata.version
    monkeypatch.setattr(
        metadata, "version", lambda name: "0.0" if name == package else version(name)
    )
    after = _fingerprint()
    assert after.pop("versions") != before.pop("versions")
    assert after == before


@pytest.mark.parametrize("content", [None, b"", b"[1]", b"\xff", b"{}"])
def test_a_state_of_unknown_origin_is_named(content, folder, capsys):
    unknown = EvaluationState(folder, _fingerprint()).folder
    file = unknown / "fingerprint.json"
    file.unlink() if content is None else file.write_bytes(content)
    EvaluationState(folder, _fingerprint(seed=1))
    assert f"kept in {unknown}; it differs in: " in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot write"):
        EvaluationState(tmp_path / "file" / ".state", _fingerprint())


class Killed(BaseException):
    pass


class Mortal:
    """PGD that counts its runs, and is killed in one of them."""

    def __init__(self, attack, killed_in=None):
        self.name, self.restarts = attack.name, attack.restarts
        self.cost, self.parameters = attack.cost, attack.parameters
        self.runs = 0
        self._attack, self._killed_in = attack, killed_in

    def run(self, *args, **kwargs) -> Attempt:
        if self.runs == self._killed_in:
            raise Killed
        self.runs += 1
        return self._attack.run(*args, **kwargs)


def test_a_killed_evaluation_goes_on_with_the_same_result(network, network_labels, images, folder):
    (pgd, cw) = by_names(["pgd1", "cw2"], 0.02, restarts=3)
    evaluator = Evaluator(network, ThreatModel(0.02), 5)

    def evaluate(attacks, state=None):
        return evaluator.attack(images, network_labels, attacks, state=state)

    whole = [Mortal(pgd), Mortal(cw)]
    expected = evaluate(whole)
    assert len(expected.examples.indices) > 2
    runs = [attack.runs for attack in whole]
    assert runs[1] > 4
    with pytest.raises(Killed):
        evaluate([Mortal(pgd), Mortal(cw, killed_in=2)], EvaluationState(folder, _fingerprint()))
    files = sorted(folder.glob("*/*.npz"))
    assert len(files) == runs[0] + 2
    files[0].write_bytes(files[0].read_bytes()[:-9])
    files[-1].unlink()
    again = [Mortal(pgd), Mortal(cw)]
    found = evaluate(again, EvaluationState(folder, _fingerprint()))
    assert_same(found, expected)
    assert sum(attack.runs for attack in again) == sum(runs) - len(files) + 2


@pytest.mark.slow
def test_a_killed_evaluation_of_a_random_classifier_draws_on(honest, images, labels, folder):
    def noisy(pixels, seed):
        return honest(pixels + 0.2 * tf.random.stateless_normal(tf.shape(pixels), seed))

    evaluator = Evaluator(with_own_seeds(noisy), ThreatModel(0.1), 5, eot=2)
    (pgd, cw) = by_names(["pgd2", "cw2"], 0.1)
    expected = evaluator.attack(images, labels, [pgd, cw])
    with pytest.raises(Killed):
        evaluator.attack(
            images,
            labels,
            [Mortal(pgd), Mortal(cw, killed_in=1)],
            state=EvaluationState(folder, _fingerprint()),
        )
    assert list(folder.glob("*/*.npz"))
    found = evaluator.attack(
        images, labels, [pgd, cw], state=EvaluationState(folder, _fingerprint())
    )
    assert_same(found, expected)
    for name, counted in dataclasses.asdict(expected.randomness).items():
        np.testing.assert_array_equal(getattr(found.randomness, name), counted)


def _noisy(logits_fn):
    """Draws by a generator, whose state any call moves."""
    generator = tf.random.Generator.from_seed(1)
    return lambda pixels: logits_fn(pixels + 0.1 * generator.normal(tf.shape(pixels)))


def test_a_resumed_sample_of_a_random_classifier_is_the_same(honest, images, labels, folder):
    attacks = [
        *by_names(["pgd1"], 0.001),
        SampledSquare("square_sample", num_queries=9, rescaled_schedule=True, nearest=3, drawn=3),
    ]
    evaluator = Evaluator(_noisy(honest), ThreatModel(0.001), 12, eot=1)
    state = EvaluationState(folder, {})

    def sampled():
        return evaluator.attack(images, labels, attacks, state=state).attacks[1].samples[0]

    fresh = sampled()
    assert len(fresh.nearest) == 3
    for file in state.folder.glob("square_sample_*"):
        file.unlink()
    resumed = sampled()
    np.testing.assert_array_equal(resumed.nearest, fresh.nearest)
    np.testing.assert_array_equal(resumed.drawn, fresh.drawn)


def test_resumed_checks_of_a_random_classifier_are_the_same(
    honest, images, labels, folder, monkeypatch
):
    drawing = (
        checks.outputs.same_output_twice,
        checks.gradients.gradients_exist,
        checks.gradients.loss_is_smooth,
        checks.radius.single_step_below_clean,
        checks.convergence.loss_converged,
        checks.rivals.white_box_beats_random_noise,
    )
    monkeypatch.setattr(checks, "_CHECKS", tuple(map(checks.Rule, drawing)))
    attacks = by_names(["cw2"], 0.03)
    evaluator = Evaluator(_noisy(honest), ThreatModel(0.03), 12, eot=1)
    evaluated = (images, labels, attacks, evaluator.attack(images, labels, attacks))
    state = EvaluationState(folder, {})

    def seen():
        diagnosis = checks.diagnose(evaluator, *evaluated, first=12, state=state)
        return (
            {check.name: (check.verdict, check.detail) for check in diagnosis.checks},
            diagnosis.epsilon_curve,
            diagnosis.loss_curves,
        )

    fresh = seen()
    made = sorted(state.folder.glob("*.json"))
    for lost in (made[::2], made[1::2]):
        for file in lost:
            file.unlink(missing_ok=True)
        assert seen() == fresh


def test_seconds_count_what_ran_before_the_kill(honest, images, labels, threat_model, folder):
    (fgsm,) = by_names(["fgsm"], threat_model.epsilon)
    evaluator = Evaluator(honest, threat_model, 24)
    state = EvaluationState(folder, _fingerprint())
    first = evaluator.attack(images, labels, [fgsm], state=state)
    task = Task(fgsm, 0, 0, np.resize(np.flatnonzero(first.clean_correct), 24))
    state.write(task, state.read(task, (8, 8, 1))._replace(seconds=1000.0))
    assert evaluator.attack(images, labels, [fgsm], state=state).attacks[0].seconds == 1000


def test_a_state_works_on_several_devices(network, network_labels, images, ball, folder):
    devices = [device.name for device in tf.config.list_logical_devices("CPU")]
    (fgsm,) = by_names(["fgsm"], ball.epsilon)
    alone = Evaluator(network, ball, 5).attack(images, network_labels, [fgsm])
    copies = [AttackedClassifier(network, device) for device in devices]
    results = []
    for attack in (Mortal(fgsm, killed_in=2), Mortal(fgsm)):
        state = EvaluationState(folder, _fingerprint())
        try:
            evaluator = Evaluator(copies, ball, 5)
            results.append(evaluator.attack(images, network_labels, [attack], state=state))
        except Killed:
            assert len(list(folder.glob("*/*.npz"))) == 2
    assert_same(results[0], alone)
