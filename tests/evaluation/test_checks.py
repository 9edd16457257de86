"""Each check is tripped by a classifier built for it or by a broken attack, not by honest ones.

Most tests gather the evidence of an evaluation and put one check to it.
"""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

from fsgan_tf.attacks.parts.attack import Attempt
from fsgan_tf.attacks.parts.attacked_classifier import AttackedClassifier
from fsgan_tf.attacks.parts.auto_pgd import AutoPGD
from fsgan_tf.attacks.parts.source import TransferSource
from fsgan_tf.attacks.registry import by_names
from fsgan_tf.attacks.square import Square
from fsgan_tf.attacks.transfer import Transfer
from fsgan_tf.evaluation import checks, curves
from fsgan_tf.evaluation.checks import (
    convergence,
    evidence,
    gradients,
    outputs,
    radius,
    rivals,
    soundness,
    verdicts,
)
from fsgan_tf.evaluation.engine import Evaluator
from fsgan_tf.evaluation.result import Result
from fsgan_tf.evaluation.run_and_diagnose import evaluate
from fsgan_tf.evaluation.state import EvaluationState
from fsgan_tf.results.findings import EpsilonCurve
from fsgan_tf.threat_model import ThreatModel
from tests.results.test_findings import attack_result, no_examples

EPSILON = 0.05
QUICK = ("fgsm", "pgd20", "cw20")
SHORT_SQUARE = Square("square", num_queries=60, rescaled_schedule=True)
STRONG = (
    AutoPGD("apgd_ce", loss="cross_entropy", num_steps=10, restarts=1),
    AutoPGD("apgd_t", loss="targeted_dlr", num_steps=10, restarts=3),
    SHORT_SQUARE,
)


def _gather(logits_fn, images, labels, attacks=QUICK, *, epsilon=EPSILON, sources=(), **options):
    if attacks and isinstance(attacks[0], str):
        attacks = by_names(attacks, epsilon)
    evaluator = Evaluator(logits_fn, ThreatModel(epsilon), len(labels))
    result = evaluator.attack(images, labels, attacks, **options)
    return evidence.Evidence(evaluator, images, labels, attacks, result, sources)


def _source(logits_fn, method="standard"):
    return TransferSource("twin", (AttackedClassifier(logits_fn),), "runs/twin", "ab", method)


@pytest.fixture(scope="module")
def fragile(images, labels):
    """Knows the images by heart, and nothing else: 0.02 of mean change, and it answers wrongly."""
    known = tf.constant(images.reshape(24, -1))

    def logits_fn(pixels):
        flat = tf.reshape(pixels, [-1, 1, 64])
        distances = tf.reduce_mean(tf.abs(flat - known), axis=2)
        nearest = tf.one_hot(tf.gather(labels, tf.argmin(distances, axis=1)), 4)
        return 20 * nearest * (0.02 - tf.reduce_min(distances, axis=1, keepdims=True))

    return logits_fn


@pytest.fixture(scope="module")
def grey():
    """24 images whose brightness is 0.5 in the mean, and their only class."""
    pixels = np.random.default_rng(0).uniform(-0.1, 0.1, (24, 8, 8, 1))
    pixels = 0.5 + pixels - pixels.mean(axis=(1, 2, 3), keepdims=True)
    return pixels.astype(np.float32), np.zeros(24, np.int32)


def _of_brightness(lead):
    """Two classes; the first leads by a function of the brightness less 0.5."""

    def logits_fn(pixels):
        leads = lead(tf.reduce_mean(pixels, axis=[1, 2, 3]) - 0.5)
        return tf.stack([leads, tf.zeros_like(leads)], axis=1)

    return logits_fn


def _quantised(honest):
    """No gradient, though the errors are all there."""
    return lambda pixels: honest(tf.round(pixels * 20) / 20)


def _with_gradient(function):
    """The identity, through which the gradient flows as `function` has it."""

    @tf.custom_gradient
    def identity(pixels):
        return tf.identity(pixels), function

    return identity


def _diagnose(gathered):
    return checks.diagnose(
        gathered.evaluator,
        gathered.images,
        gathered.labels,
        gathered.attacks,
        gathered.result,
        gathered.sources,
    )


@pytest.mark.parametrize(("attacks", "standalone"), [(QUICK, False), (STRONG, True)])
def test_an_honest_classifier_passes_all(attacks, standalone, honest, fragile, images, labels):
    images = np.round(images * 255).astype(np.uint8)
    sources = [_source(honest, "pgd_at"), _source(fragile)]
    gathered = _gather(honest, images, labels, attacks, sources=sources, standalone=standalone)
    diagnosis = _diagnose(gathered)
    verdicts = {check.name: check.verdict for check in diagnosis.checks}
    unmade = {name for name, verdict in verdicts.items() if verdict != "pass"}
    followed = attacks == QUICK
    assert unmade == (set() if followed else {"best_iterate_returned", "loss_converged"})
    assert len(verdicts) == 23
    assert diagnosis.epsilon_curve.num_examples == 24
    assert [curve.attack for curve in diagnosis.loss_curves] == (["cw20"] if followed else [])


def test_every_check_has_one_sentence_of_what_was_seen_and_one_of_advice(honest, images, labels):
    for logits_fn in (honest, _quantised(honest)):
        for check in _diagnose(_gather(logits_fn, images, labels, ["cw2"])).checks:
            assert check.verdict in ("pass", "warn", "fail", "skipped")
            for text in (check.detail, check.advice):
                assert text.endswith(".")
                assert ". " not in text


def test_a_classifier_that_answers_little_is_diagnosed_all_the_same(images, labels):
    def logits_fn(pixels):
        is_first = tf.reduce_all(pixels[:, :1, 0] == images[0, 0, 0], axis=-1)
        return tf.where(is_first, [[0.0, 1.0, 0.0, 0.0]], np.nan)

    gathered = _gather(logits_fn, images[:2], np.zeros_like(labels[:2]))
    diagnosis = _diagnose(gathered)
    # A gradient of NaN gives no step: the loss of the one image that is answered stays as it is.
    assert all(len(set(curve.losses)) == 1 for curve in diagnosis.loss_curves)
    assert set(diagnosis.epsilon_curve.accuracies) == {0.0}
    json.dumps(dataclasses.asdict(diagnosis), allow_nan=False)


def test_checks_that_climb_are_skipped_without_gradients(honest, fragile, images, labels):
    def gathered(differentiable):
        copies = [AttackedClassifier(_quantised(honest), differentiable=differentiable)]
        return _gather(copies, images, labels, [SHORT_SQUARE], sources=[_source(fragile)])

    without = _diagnose(gathered(differentiable=False))
    verdicts = {check.name: check.verdict for check in without.checks}
    assert len(verdicts) == 23
    assert "fail" not in verdicts.values()
    climbing = {check.name for check in without.checks if "has no gradients" in check.detail}
    assert {"gradients_exist", "epsilon_curve_reaches_zero", "loss_converged"} < climbing
    assert all(verdicts[name] == "skipped" for name in climbing)
    assert verdicts["successes_verified"] == verdicts["undefended_twin_falls"] == "pass"
    assert (without.epsilon_curve, without.loss_curves) == (None, ())
    hidden = _diagnose(gathered(differentiable=True))
    assert next(c for c in hidden.checks if c.name == "gradients_exist").verdict == "fail"


@pytest.mark.parametrize("attacks", [["apgd_ce"], ["fgsm"]])
def test_no_attack_that_did_not_run_decides(attacks, honest, images, labels, monkeypatch):
    """A path that rises to its end stands for none but the attack that took it."""
    monkeypatch.setattr(curves, "trace", None)
    gathered = _gather(honest, images, labels, attacks)
    for check in (convergence.loss_converged, convergence.best_iterate_returned):
        found = check(gathered)
        assert found.verdict == "skipped"
        assert "No iterative PGD or C&W ran" in found.detail
    assert checks._drawn(gathered) == []


def test_a_small_batch_leaves_the_checks_as_they_are(honest, images, labels):
    """A batch holds fewer images at once; the checks look at as many as ever."""
    gathered = _gather(honest, images, labels, QUICK, sources=[_source(honest)])
    small = Evaluator(honest, ThreatModel(EPSILON), 5)
    together = dataclasses.replace(gathered, evaluator=small)
    for made in (*(rule.check for rule in checks._CHECKS), checks._drawn):
        assert made(together) == made(gathered)
    assert together.epsilon_curve == gathered.epsilon_curve


def test_one_image_at_a_time_does_not_pass_for_certainty(grey):
    """Much of what stands falls to noise, which a single image would not tell from chance."""
    cliff = _of_brightness(lambda shift: tf.where(shift > 0.002, -1.0, 1.0))
    alone = Evaluator(cliff, ThreatModel(EPSILON), 1)
    result = alone.attack(*grey, [])
    gathered = evidence.Evidence(alone, *grey, [], result, [])
    assert rivals.white_box_beats_random_noise(gathered).verdict == "fail"
    assert [checks.block(count) for count in (1, 10, 32, 64)] == [8, 8, 8, 16]


def test_an_evaluation_of_small_batches_checks_as_many_images(honest, images, labels):
    found = evaluate(honest, images, labels, epsilon=EPSILON, attacks=["fgsm"], batch_size=2)
    seen = {check.name: check.detail for check in found.checks}
    assert seen["same_output_twice"].startswith("Two calls on the same 10 images")
    assert seen["white_box_beats_random_noise"].startswith("Of the 8 nearest") or (
        seen["white_box_beats_random_noise"].startswith(f"Of {int(found.robust.sum())} images")
    )


def test_images_are_drawn_by_chance_where_there_are_more(honest, images, labels):
    """Of sorted classes the first images would all be of one."""
    order = np.argsort(labels, kind="stable")
    images, labels = np.repeat(images[order], 6, axis=0), np.repeat(labels[order], 6)
    gathered = _gather(honest, images, labels, [])
    assert len(gathered.standing) == gathered.sample.count == 64
    for drawn in (gathered.standing, gathered.sample.indices):
        assert set(labels[drawn]) == {0, 1, 2, 3}
        assert len(set(drawn)) == 64
    leads = gathered.evaluator.leads(images, labels, gathered.standing)
    assert (np.diff(leads) >= 0).all()
    again = dataclasses.replace(gathered)
    np.testing.assert_array_equal(again.standing, gathered.standing)
    few = dataclasses.replace(gathered, size=10)
    assert set(few.sample.indices) < set(gathered.sample.indices)
    np.testing.assert_array_equal(few.sample.labels, labels[few.sample.indices])
    other = dataclasses.replace(gathered.result, seed=1)
    other = dataclasses.replace(gathered, result=other)
    assert set(other.standing) != set(gathered.standing)
    assert radius.epsilon_zero_equals_clean(gathered).verdict == "pass"
    of_all = f"64 images drawn from the {gathered.result.robust.sum()} that withstood every attack"
    assert of_all in rivals.white_box_beats_random_noise(gathered).detail


def test_what_objects_to_a_few_images_is_judged_by_a_batch(honest, images, labels):
    """Of the first 4 images drawn 2 hide their gradients, of all 24 no others."""
    images = images.copy()
    hidden = np.random.default_rng(0).permutation(24)[:2]
    images[hidden, ...] = 0.9
    images[hidden, 4:, 4:] = 0.95

    def blind_to_bright_images(pixels):
        bright = tf.reduce_min(pixels, axis=[1, 2, 3], keepdims=True) > 0.8
        return honest(tf.where(bright, tf.stop_gradient(pixels), pixels))

    labels = honest(images).numpy().argmax(axis=1).astype(np.int32)
    gathered = _gather(blind_to_bright_images, images, labels)
    evaluated = (gathered.images, gathered.labels, gathered.attacks, gathered.result)
    diagnosis = checks.diagnose(gathered.evaluator, *evaluated, first=4)
    found = {check.name: check for check in diagnosis.checks}
    assert found["gradients_exist"].detail.startswith("Of 24 images")
    assert found["same_output_twice"].detail.startswith("Two calls on the same 4 images")


def test_fast_checks_attack_nothing(honest, images, labels):
    gathered = _gather(honest, images, labels)
    evaluated = (gathered.images, gathered.labels, gathered.attacks, gathered.result)
    gathered.evaluator.attack = None
    fast = checks.diagnose(gathered.evaluator, *evaluated, mode="fast")
    assert fast.mode == "fast"
    assert fast.epsilon_curve is None
    assert sum(check.verdict == "pass" for check in fast.checks) == 10
    left_out = {check.name for check in fast.checks if "--checks=fast" in check.detail}
    assert left_out == {check.name for check in fast.checks if check.verdict == "skipped"}
    assert {"white_box_beats_black_box", "loss_converged"} < left_out
    assert checks.diagnose(gathered.evaluator, *evaluated, mode="none").checks == ()


def test_checks_are_resumed_after_a_kill(honest, images, labels, tmp_path, monkeypatch):
    gathered = _gather(honest, images, labels)
    evaluated = (
        *(gathered.evaluator, gathered.images, gathered.labels),
        *(gathered.attacks, gathered.result),
    )

    def kill(evidence):
        raise KeyboardInterrupt

    state = EvaluationState(tmp_path / "state", {})
    made, last = checks._CHECKS, checks._CHECKS[-1]
    monkeypatch.setattr(checks, "_CHECKS", (*made[:-1], checks.Rule(kill)))
    with pytest.raises(KeyboardInterrupt):
        checks.diagnose(*evaluated, state=state)
    before = {file.name: file.read_bytes() for file in state.folder.glob("check_*")}
    assert len(before) == 22
    monkeypatch.setattr(checks, "_CHECKS", (*made[:-1], last))
    with monkeypatch.context() as broken:
        broken.setattr(evidence, "climb", None)
        broken.setattr(evidence.curves, "sweep", None)
        with pytest.raises(TypeError):  # Only the curves are left to draw.
            checks.diagnose(*evaluated, state=state)
    resumed = checks.diagnose(*evaluated, state=state)
    again = checks.diagnose(*evaluated, state=state)
    assert resumed == again
    plain = _diagnose(gathered)
    for first, second in zip(plain.checks, resumed.checks, strict=True):
        assert dataclasses.replace(first, seconds=0) == dataclasses.replace(second, seconds=0)
    assert plain.epsilon_curve == resumed.epsilon_curve
    assert plain.loss_curves == resumed.loss_curves


def _constant(honest):
    return lambda pixels: 0 * honest(pixels) + [1.0, 0.0, 0.0, 0.0]


def _softmaxed(honest):
    return lambda pixels: tf.nn.softmax(honest(pixels))


def _randomised(honest):
    def logits_fn(pixels):
        logits = honest(pixels)
        return logits + tf.random.normal(tf.shape(logits), stddev=0.1)

    return logits_fn


def _saturated(honest):
    """Cross-entropy is 0 to the last bit, and so is its gradient; the margin sees through."""
    return lambda pixels: 1e4 * honest(pixels)


def _shattered(honest):
    """Leads change with the last bits of the pixels."""

    def logits_fn(pixels):
        brightness = tf.reduce_mean(pixels, axis=[1, 2, 3])
        return honest(pixels) * tf.exp(2 * tf.sin(1e5 * brightness))[:, None]

    return logits_fn


def _without_answers_nearby(honest):
    """NaN between the levels of 8 bits."""

    def logits_fn(pixels):
        levels = 255 * pixels
        between = tf.reduce_any(tf.abs(levels - tf.round(levels)) > 0.01, axis=[1, 2, 3])
        return tf.where(between[:, None], np.nan, honest(pixels))

    return logits_fn


def _tied(honest):
    """All logits are alike, so that the first class leads by 0 everywhere."""
    return lambda pixels: 0 * honest(pixels)


def _not_a_number(honest):
    spoiled = _with_gradient(lambda upstream: upstream * np.nan)
    return lambda pixels: honest(spoiled(pixels))


def _reversed(honest):
    turned = _with_gradient(lambda upstream: -upstream)
    return lambda pixels: honest(turned(pixels))


@pytest.mark.parametrize(
    ("check", "spoil", "verdict"),
    [
        (outputs.logits_not_probabilities, _softmaxed, "fail"),
        (outputs.logits_not_probabilities, _saturated, "pass"),
        (outputs.same_output_twice, _randomised, "fail"),
        (gradients.gradients_exist, _quantised, "fail"),
        (gradients.gradients_exist, _constant, "fail"),
        (gradients.gradients_exist, _saturated, "fail"),
        (gradients.gradients_exist, _not_a_number, "fail"),
        (gradients.loss_is_smooth, _shattered, "fail"),
        (radius.single_step_below_clean, _reversed, "fail"),
        (radius.accuracy_falls_with_epsilon, _quantised, "pass"),
        (radius.epsilon_curve_reaches_zero, _quantised, "fail"),
        (radius.epsilon_curve_reaches_zero, _constant, "fail"),
        (radius.unbounded_attack_fools_all, _quantised, "fail"),
    ],
)
def test_spoiled_classifiers(check, spoil, verdict, honest, images, labels):
    # A few images that are misclassified, which a helpful attack would put right.
    labels = labels.copy()
    logits = honest(images).numpy()
    close = np.argsort(np.ptp(logits, axis=1))[:3]
    labels[close] = np.argsort(logits[close], axis=1)[:, -2]
    assert check(_gather(spoil(honest), images, labels, [])).verdict == verdict
    assert check(_gather(honest, images, labels, [])).verdict == "pass"


@pytest.mark.parametrize(("wrong", "verdict"), [(1, "pass"), (2, "fail")])
def test_one_image_that_a_step_puts_right_is_chance(wrong, verdict, honest, images):
    logits = honest(images).numpy()
    labels = logits.argmax(axis=1)
    close = np.argsort(np.ptp(logits, axis=1))[:wrong]
    labels[close] = np.argsort(logits[close], axis=1)[:, -2]
    found = _gather(_reversed(honest), images, labels, [])
    assert found.sample.correct.sum() == len(labels) - wrong
    assert not found.fooled_by_one_step.any()
    assert radius.single_step_below_clean(found).verdict == verdict


@pytest.mark.parametrize(
    ("spoil", "change", "verdict"),
    [(_without_answers_nearby, "100.0%", "fail"), (_tied, "0.0%", "pass")],
)
def test_no_answer_nearby_is_a_change_and_a_tie_that_stays_is_none(
    spoil, change, verdict, honest, images
):
    images = (np.round(images * 255) / 255).astype(np.float32)
    labels = spoil(honest)(images).numpy().argmax(axis=1).astype(np.int32)
    check = gradients.loss_is_smooth(_gather(spoil(honest), images, labels, []))
    assert (check.verdict, check.detail.split(" by ")[1][: len(change)]) == (verdict, change)


def test_a_few_zero_gradients_are_a_warning(honest, images, labels):
    images = images.copy()
    images[3, ...] = 0.9
    images[3, 4:, 4:] = 0.95

    def blind_to_bright_images(pixels):
        bright = tf.reduce_min(pixels, axis=[1, 2, 3], keepdims=True) > 0.8
        return honest(tf.where(bright, tf.stop_gradient(pixels), pixels))

    check = gradients.gradients_exist(_gather(blind_to_bright_images, images, labels, []))
    assert check.verdict == "warn"
    assert "1 have a cross-entropy gradient of exactly zero, 1 such a margin" in check.detail


def test_a_classifier_that_looks_at_the_batch(honest, images, labels):
    """Layers in training mode do; here an image alone gets no answer but the first class."""

    def against_the_mean(pixels):
        logits = honest(pixels)
        return logits - tf.reduce_mean(logits, axis=0, keepdims=True)

    gathered = _gather(against_the_mean, images, labels, [])
    assert radius.epsilon_zero_equals_clean(gathered).verdict == "pass"
    alone = Evaluator(against_the_mean, ThreatModel(EPSILON), 1).attack(images, labels, [])
    gathered = dataclasses.replace(gathered, result=alone)
    assert radius.epsilon_zero_equals_clean(gathered).verdict == "fail"


def _band(shift):
    """Wrong between 0.02 and 0.04 alone, with a gradient that leads beyond."""
    return tf.where((shift > 0.02) & (shift < 0.04), -1.0, 1.0) - 0.1 * shift


def test_errors_that_long_steps_leap_over(grey):
    check = radius.accuracy_falls_with_epsilon(_gather(_of_brightness(_band), *grey, []))
    assert check.verdict == "fail"
    assert "rises by 100.0% at most, from 0.1 to 0.2" in check.detail


@pytest.mark.parametrize(
    ("at_half", "unbounded", "reaches_zero", "fools_all"),
    [
        (6, 0, "pass", "pass"),
        (7, 0, "pass", "pass"),
        (8, 0, "warn", "pass"),
        (9, 0, "fail", "pass"),
        (6, 2, "warn", "warn"),
        (6, 3, "fail", "fail"),
    ],
)
def test_what_may_be_left_at_large_radii(
    at_half, unbounded, reaches_zero, fools_all, honest, images, labels
):
    """Of 24 images of 4 classes, 6 may be right at half the range and none at last, or 1 more."""
    gathered = _gather(honest, images, labels, [])
    accuracies = (1.0, 0.5, at_half / 24, unbounded / 24)
    gathered.__dict__["epsilon_curve"] = EpsilonCurve("", (0.0, EPSILON, 0.5, 1.0), accuracies, 24)
    assert radius.epsilon_curve_reaches_zero(gathered).verdict == reaches_zero
    assert radius.unbounded_attack_fools_all(gathered).verdict == fools_all


def test_a_moat_that_small_steps_cannot_cross(grey):
    """The gradient turns back after a short way; beyond the moat the classifier is wrong."""

    def moat(shift):
        return tf.where(shift > 0.045, -1.0, 1 - 10 * tf.minimum(shift, 0.02 - shift))

    gathered = _gather(_of_brightness(moat), *grey, ["pgd20"])
    assert convergence.iterative_beats_single_step(gathered).verdict == "fail"


def test_an_attack_of_too_few_and_small_steps(honest, images, labels):
    few = by_names(["pgd4", "cw4"], EPSILON, step_size=EPSILON / 8)
    gathered = _gather(honest, images, labels, few)
    assert convergence.loss_converged(gathered).verdict == "fail"
    assert convergence.more_steps_gain_nothing(gathered).verdict == "fail"


def test_one_target_of_several_is_named(honest, images, labels):
    gathered = _gather(honest, images, labels, STRONG)
    for check in (convergence.more_steps_gain_nothing, convergence.more_restarts_gain_nothing):
        found = check(gathered)
        assert found.verdict == "pass"
        assert "at the likeliest wrong class alone" in found.detail
        assert "at the likeliest wrong class alone" in found.advice
    gathered = _gather(honest, images, labels, STRONG[:1])
    assert "likeliest" not in convergence.more_steps_gain_nothing(gathered).detail


def test_an_attack_whose_start_decides(grey):
    """From darker starts the margin leads on to what is darker still, and never wrong."""

    def fork(shift):
        return tf.where(shift > 0, 1 - 40 * shift, 1 + 10 * shift)

    gathered = _gather(_of_brightness(fork), *grey, ["cw20"])
    assert 0 < gathered.result.worst_case_accuracy < 1
    assert convergence.more_restarts_gain_nothing(gathered).verdict == "fail"


def test_further_attacks_start_elsewhere(honest, images, labels):
    """Also where every image stands, so that none has moved to another place."""
    (attack,) = by_names(["cw1"], EPSILON)
    seen = []

    class Spy:
        name, cost, restarts, parameters = attack.name, attack.cost, 1, attack.parameters

        def run(self, classifier, threat_model, images, labels, seeds, restart):
            seen.append(seeds.numpy())
            return Attempt(images, tf.zeros_like(labels, tf.bool))

    gathered = _gather(honest, images, honest(images).numpy().argmax(axis=1), [Spy()])
    gathered.fooled_by(np.arange(24), Spy())
    first, further = seen
    assert np.all(first != further, axis=0).tolist() == [True, False]


def test_attacks_of_many_steps_are_not_run_again(honest, images, labels):
    gathered = _gather(honest, images, labels, [])
    gathered = dataclasses.replace(gathered, attacks=by_names(["cw101"], EPSILON))
    assert convergence.more_steps_gain_nothing(gathered).verdict == "skipped"
    assert convergence.more_restarts_gain_nothing(gathered).verdict == "skipped"


def test_an_attack_that_returns_its_last_iterate(grey, monkeypatch):
    gathered = _gather(_of_brightness(_band), *grey, ["cw20"])
    check = convergence.best_iterate_returned(gathered)
    assert check.verdict == "pass"
    assert "On 24 of 24 images" in check.detail
    assert "the last one would lose 24" in check.detail
    climb = evidence.climb

    def returning_the_last(*args, **options):
        path = climb(*args, **options)
        return path._replace(best=path.last)

    monkeypatch.setattr(evidence, "climb", returning_the_last)
    assert convergence.best_iterate_returned(gathered).verdict == "fail"


@pytest.mark.parametrize("attacks", [["cw5"], [*by_names(["cw5"], EPSILON), SHORT_SQUARE]])
@pytest.mark.parametrize(("spoil", "verdict"), [(_quantised, "fail"), (lambda fn: fn, "pass")])
def test_black_box_attacks(attacks, spoil, verdict, honest, images, labels):
    gathered = _gather(spoil(honest), images, labels, attacks)
    assert rivals.white_box_beats_black_box(gathered).verdict == verdict


def test_black_box_attacks_alone_beat_nothing(honest, images, labels):
    gathered = _gather(honest, images, labels, [SHORT_SQUARE])
    assert rivals.white_box_beats_black_box(gathered).verdict == "skipped"


def test_errors_that_noise_finds(grey):
    """A step without slope: one start in twelve is beyond it, and no gradient leads there."""
    cliff = _of_brightness(lambda shift: tf.where(shift > 0.005, -1.0, 1.0))
    gathered = _gather(cliff, *grey, ["cw20"])
    assert rivals.white_box_beats_random_noise(gathered).verdict == "fail"


@pytest.mark.parametrize("ran", [False, True])
@pytest.mark.parametrize(("spoil", "verdict"), [(_quantised, "fail"), (lambda fn: fn, "pass")])
def test_transfer_from_an_undefended_twin(ran, spoil, verdict, honest, images, labels):
    """Where transfer attacks ran, they ran before C&W, which is then given what they fooled."""
    source = _source(honest)
    attacks = by_names(["cw20"], EPSILON)
    if ran:
        attacks += [Transfer(fgsm, source) for fgsm in by_names(["fgsm"], EPSILON)]
    gathered = _gather(spoil(honest), images, labels, attacks, sources=[source])
    check = rivals.white_box_beats_transfer(gathered)
    assert check.verdict == verdict
    assert ("transfer_fgsm@twin" in check.detail) == ran


def test_an_undefended_twin_that_stands(honest, images, labels):
    gathered = _gather(honest, images, labels, ["cw20"], sources=[_source(_quantised(honest))])
    assert soundness.undefended_twin_falls(gathered).verdict == "fail"


def test_what_is_lacking_is_skipped(honest, images, labels):
    gathered = _gather(honest, images, labels, ["fgsm"], sources=[_source(honest, "pgd_at")])
    verdicts = {check.name: check.verdict for check in _diagnose(gathered).checks}
    assert {name for name, verdict in verdicts.items() if verdict == "skipped"} == {
        "best_iterate_returned",
        "iterative_beats_single_step",
        "loss_converged",
        "more_steps_gain_nothing",
        "more_restarts_gain_nothing",
        "white_box_beats_transfer",
        "undefended_twin_falls",
        "margin_agrees_with_cross_entropy",
    }


def test_saturated_logits_open_a_gap_between_the_losses(honest, images, labels):
    gathered = _gather(_saturated(honest), images, labels, ["pgd20", "cw20"])
    assert rivals.margin_agrees_with_cross_entropy(gathered).verdict == "fail"
    # With C&W first, PGD never sees what C&W fooled: nothing to compare.
    gathered = _gather(honest, images, labels, ["cw5", "pgd5"])
    assert rivals.margin_agrees_with_cross_entropy(gathered).verdict == "skipped"


def _reckoned(*attacks):
    """Evidence of 100 examples of which only the attacks' results matter."""
    result = Result(ThreatModel(0.1), 0, np.ones(100, bool), attacks, no_examples())
    evaluator = Evaluator(lambda pixels: tf.zeros([2, 2]), ThreatModel(0.1), 2)
    return evidence.Evidence(evaluator, None, None, (), result, ())


@pytest.mark.parametrize("pair", [("pgd20", "cw20"), ("apgd_ce", "apgd_t")])
@pytest.mark.parametrize(("points", "verdict"), [(5, "pass"), (9, "warn"), (16, "fail")])
def test_gap_between_margin_and_cross_entropy(pair, points, verdict):
    blunt, sharp = pair
    gathered = _reckoned(
        attack_result(blunt, np.zeros(100)), attack_result(sharp, np.arange(100) < points)
    )
    assert rivals.margin_agrees_with_cross_entropy(gathered).verdict == verdict


@pytest.mark.parametrize(
    ("refused", "verdict"),
    [([], "pass"), ([3], "warn"), ([3, 4], "fail"), ([0, 1, 2], "pass"), ([0, 3], "warn")],
)
def test_refused_successes(refused, verdict):
    """Images 0 to 2 are fooled; an image whose claims were refused twice is one all the same."""
    gathered = _reckoned(
        attack_result("pgd20", np.zeros(100), refused=refused),
        attack_result("cw20", np.arange(100) < 3, refused=refused),
    )
    assert soundness.successes_verified(gathered).verdict == verdict


@pytest.mark.parametrize(
    ("spoil", "seen"),
    [
        (lambda examples: examples.images + 0.01, "leave the ball"),
        (lambda examples: examples.images * np.float32(np.nan), "leave the ball"),
        (lambda examples: examples.clean_images, "no longer fool the classifier."),
    ],
)
def test_images_that_are_not_what_they_were_taken_for(spoil, seen, honest, images, labels):
    gathered = _gather(honest, images, labels, ["cw5"])
    examples = gathered.result.examples
    count = len(examples.labels)
    examples = dataclasses.replace(examples, images=spoil(examples))
    result = dataclasses.replace(gathered.result, examples=examples)
    check = soundness.successes_verified(dataclasses.replace(gathered, result=result))
    assert check.verdict == "fail"
    assert f"{count} {seen}" in check.detail


def test_errors_between_two_levels_of_8_bits(images, labels):
    """The classifier errs for pixels that no file can hold."""
    images = (np.round(images * 255) / 255).astype(np.float32)

    def between(pixels):
        levels = 255 * pixels
        rest = tf.reduce_mean(tf.abs(levels - tf.stop_gradient(tf.round(levels))), axis=[1, 2, 3])
        return tf.one_hot(tf.zeros_like(rest, tf.int32), 4) * (0.1 - rest)[:, None]

    gathered = _gather(between, images, np.zeros_like(labels), ["cw5"], epsilon=1.2 / 255)
    check = soundness.successes_survive_rounding(gathered)
    assert check.verdict == "warn"
    assert "is 0.0%, and at most 100.0% with pixels rounded" in check.detail


@pytest.mark.parametrize(
    ("number", "share", "verdict"),
    [(1, 1.0, "pass"), (2, 0.1, "pass"), (2, 0.11, "warn"), (2, 0.2, "warn"), (2, 0.21, "fail")],
)
def test_one_image_and_a_notable_share_pass(number, share, verdict):
    assert verdicts.level(number, share, notable=0.1, large=0.2) == verdict


def test_the_strongest_attack_is_the_dearest_that_climbs(honest, images, labels):
    gathered = _gather(honest, images, labels, [])

    def strongest(*names):
        attacks = by_names(names, EPSILON)
        return dataclasses.replace(gathered, attacks=attacks).strongest

    assert strongest("cw20", "pgd20", "fgsm").name == "cw20"
    assert strongest("cw20", "pgd50").name == "pgd50"
    assert strongest("apgd_ce", "apgd_t", "fab_t", "square").name == "apgd_t"
    assert strongest("fgsm", "square") is None


@pytest.mark.parametrize("name", ["pgd20", "cw20", "apgd_ce", "apgd_t", "pma", "a3"])
def test_attacks_that_climb_are_known_by_what_they_declare(name):
    (attack,) = by_names([name], EPSILON)
    assert evidence.climbs(attack)
    once = attack.once(30)
    assert (once.num_steps, once.restarts) == (30, 1)
    assert 30 <= once.cost <= 31


@pytest.mark.parametrize("name", ["fgsm", "fab_t", "square", "spsa20"])
def test_attacks_that_do_not_climb_step_by_step_are_not(name):
    assert not evidence.climbs(*by_names([name], EPSILON))


@pytest.mark.parametrize("name", ["pma", "a3"])
def test_the_strongest_suites_attacks_are_asked_for_more_steps(name, honest, images, labels):
    (attack,) = by_names([name], EPSILON)
    gathered = _gather(honest, images, labels, [attack.once(4)])
    check = convergence.more_steps_gain_nothing(gathered)
    assert f"{name} with 8 steps fools" in check.detail
