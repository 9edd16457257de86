"""Signs that a robust accuracy should not be believed, each with a verdict and one line of advice.

The 23 checks come from Carlini et al., On Evaluating Adversarial Robustness (arXiv:1902.06705),
AutoAttack's flags (`flags_doc.md` of fra31/auto-attack) and Pintor et al., Indicators of Attack
Failure (arXiv:2106.09947); each says where it is from.

Most look at 10 to 64 images drawn by chance, the more the longer the attacks took; one that objects
to these looks at 64 before it says so. Those that ask whether an attack more would lower the figure
attack up to 64 of the images that were left standing, drawn likewise: a block of at least 8 after
another, the nearest to an error first, until at most one of a block falls. The batch size decides
none of this, only how many images are computed at once. What several checks need is computed once:
gradients, the curve of radii, the path of an attack, and the run with more steps, which is a
restart too.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from fsgan_tf.attacks.parts.attack import Attack, Climbing
from fsgan_tf.attacks.parts.source import TransferSource
from fsgan_tf.evaluation import curves
from fsgan_tf.evaluation.checks import (
    clean_accuracy,
    convergence,
    gradients,
    outputs,
    radius,
    rivals,
    sampled,
    soundness,
)
from fsgan_tf.evaluation.checks.evidence import LARGEST_SAMPLE, Evidence, block
from fsgan_tf.evaluation.checks.verdicts import Finding, skipped
from fsgan_tf.evaluation.engine import Evaluator
from fsgan_tf.evaluation.progress_bar import progress_bar
from fsgan_tf.evaluation.result import Result
from fsgan_tf.evaluation.state import EvaluationState
from fsgan_tf.results.findings import Check, Diagnosis, EpsilonCurve, LossCurve

# Images that most checks look at: enough to see what would mislead anybody, and at first one for
# each so many gradients that the attacks took, so that checks cost a part of what they check.
_FEWEST, _GRADIENTS_AN_IMAGE = 10, 300


class Rule(NamedTuple):
    """A check, and where it has a place.

    Attributes:
      check: what finds the verdict; the check has this function's name.
      fast: whether it needs an answer or a gradient of an image, and attacks nothing anew.
      climbs: whether it climbs the classifier's gradient, or asks whether attacks that do beat
        those that do not.
      judges: the curve of `Diagnosis` that it judges, `epsilon_curve` or `loss_curves`; else None.
    """

    check: Callable[[Evidence], Finding]
    fast: bool = False
    climbs: bool = False
    judges: str | None = None

    @property
    def name(self) -> str:
        """The check's."""
        return self.check.__name__


# From what makes every figure void to what makes one doubtful.
_CHECKS = (
    Rule(clean_accuracy.answers_are_numbers, fast=True),
    Rule(clean_accuracy.clean_accuracy_above_chance, fast=True),
    Rule(outputs.logits_not_probabilities, fast=True),
    Rule(outputs.same_output_twice, fast=True),
    Rule(radius.epsilon_zero_equals_clean, climbs=True, judges="epsilon_curve"),
    Rule(soundness.successes_verified, fast=True),
    Rule(soundness.undefended_twin_falls),
    Rule(gradients.gradients_exist, fast=True, climbs=True),
    Rule(gradients.loss_is_smooth, fast=True),
    Rule(radius.single_step_below_clean, fast=True, climbs=True),
    Rule(radius.accuracy_falls_with_epsilon, climbs=True, judges="epsilon_curve"),
    Rule(radius.epsilon_curve_reaches_zero, climbs=True, judges="epsilon_curve"),
    Rule(radius.unbounded_attack_fools_all, climbs=True, judges="epsilon_curve"),
    Rule(convergence.best_iterate_returned, climbs=True),
    Rule(convergence.loss_converged, climbs=True, judges="loss_curves"),
    Rule(convergence.iterative_beats_single_step, climbs=True),
    Rule(convergence.more_steps_gain_nothing, climbs=True),
    Rule(convergence.more_restarts_gain_nothing, climbs=True),
    Rule(rivals.white_box_beats_black_box, climbs=True),
    Rule(rivals.white_box_beats_random_noise),
    Rule(rivals.white_box_beats_transfer, climbs=True),
    Rule(rivals.margin_agrees_with_cross_entropy, fast=True),
    Rule(soundness.successes_survive_rounding, fast=True),
)


def sample_size(gradients: int) -> int:
    """How many images most checks look at first.

    Args:
      gradients: that the attacks took, about.
    """
    return max(_FEWEST, min(LARGEST_SAMPLE, gradients // _GRADIENTS_AN_IMAGE))


def cost(attacks: Sequence[Attack], gradients: int, mode: str = "full") -> int:
    """Gradients that the checks of a mode take in all, about.

    An answer counts as half a gradient, which is about what it lasts.

    Args:
      attacks: those that run.
      gradients: that these take.
      mode: `full`, `fast` or `none`.
    """
    looked_at = sample_size(gradients)
    if mode != "full":
        return {"fast": 10 * looked_at, "none": 0}[mode]
    steps = [attack.num_steps for attack in attacks if isinstance(attack, Climbing)]
    longest = min(100, max(steps, default=20))
    # Of a block or two, beside radii, path and answers.
    return (80 + longest) * looked_at + 2 * block(looked_at) * (2 * longest + 45)


def diagnose(
    evaluator: Evaluator,
    images: np.ndarray,
    labels: np.ndarray,
    attacks: Sequence[Attack],
    result: Result,
    sources: Sequence[TransferSource] = (),
    *,
    first: int | None = None,
    mode: str = "full",
    state: EvaluationState | None = None,
    progress: bool = False,
) -> Diagnosis:
    """Checks a finished evaluation.

    Of a classifier known to have no gradients those that climb one are skipped, and no curves are
    drawn.

    Args:
      evaluator: the classifier and the threat model.
      images: those evaluated, `[n, h, w, c]`, float32 in [0, 1] or uint8.
      labels: integer `[n]`.
      attacks: those that ran.
      result: what they found.
      sources: other classifiers; one whose method is `standard` is the undefended twin.
      first: images that a check looks at first. Only what objects to these is judged anew, and
        finally, by 64. By default 64 at once.
      mode: `full`; `fast` leaves out the checks that attack anew, and the curves; `none` all.
      state: of this evaluation; checks that it holds are not made again, and new ones join them.
      progress: show a progress bar on a terminal, one line elsewhere.

    Returns:
      The verdicts, and the curves that they were drawn from.
    """
    if mode == "none":
        return Diagnosis(mode=mode)
    kept = state.kept if state else _computed
    evaluated = (images, labels, attacks, result, sources)
    wide = Evidence(evaluator, *evaluated)
    size = min(first or LARGEST_SAMPLE, LARGEST_SAMPLE)
    few = Evaluator(evaluator.copies, evaluator.threat_model, min(size, evaluator.batch_size))
    narrow = Evidence(few, *evaluated, size)
    with evaluator.classifier.on_its_device():
        bar = progress_bar(_CHECKS, desc="checks", unit="check", shown=progress)
        made = [_made(rule, narrow, wide, mode, kept) for rule in bar]
        checks = tuple(check for check, _ in made)
        checks += tuple(
            sampled.rest_is_bounded(result, attack) for attack in result.attacks if attack.samples
        )
        if progress and bar.disable:
            _tell(checks)
        if mode == "fast" or not evaluator.classifier.differentiable:
            return Diagnosis(checks, mode=mode)
        # The curves are those that the checks judged last.
        last = {rule.judges for rule, (_, widened) in zip(_CHECKS, made, strict=True) if widened}
        of_radii = wide if "epsilon_curve" in last else narrow
        of_losses = wide if "loss_curves" in last else narrow
        epsilon_curve = kept("epsilon_curve", lambda: dataclasses.asdict(of_radii.epsilon_curve))
        drawn = kept("loss_curves", lambda: [dataclasses.asdict(c) for c in _drawn(of_losses)])
    return Diagnosis(
        checks,
        EpsilonCurve(**{name: _unlisted(value) for name, value in epsilon_curve.items()}),
        tuple(LossCurve(curve["attack"], tuple(curve["losses"])) for curve in drawn),
        mode,
    )


def _made(
    rule: Rule,
    narrow: Evidence,
    wide: Evidence,
    mode: str,
    kept: Callable[..., Any],
) -> tuple[Check, bool]:
    """One check, made now or before a kill, and whether it took the wide evidence."""
    if mode == "fast" and not rule.fast:
        left_out = skipped(
            "It attacks anew, which --checks=fast leaves out.",
            advice="Make every check (--checks=full) before you rely on the figure.",
        )
        return Check(rule.name, *left_out), False
    if not wide.evaluator.classifier.differentiable and rule.climbs:
        left_out = skipped(
            "The classifier has no gradients, and this check follows them.",
            advice="Evaluate the model that it was converted from, whose gradients attacks can "
            "use.",
        )
        return Check(rule.name, *left_out), False

    def make() -> dict[str, Any]:
        start = time.monotonic()
        found = _with_its_draws(rule, narrow)
        widened = found.verdict in ("fail", "warn") and narrow.sample.count < wide.sample.count
        if widened:
            found = _with_its_draws(rule, wide)
        check = Check(rule.name, *found, seconds=time.monotonic() - start)
        return {"check": dataclasses.asdict(check), "widened": widened}

    record = kept(f"check_{rule.name}", make)
    return Check(**record["check"]), record["widened"]


def _with_its_draws(rule: Rule, evidence: Evidence) -> Finding:
    """What a check finds, by draws that do not depend on which check took the sample first."""
    _ = evidence.sample
    evidence.restart_draws(rule.name)
    return rule.check(evidence)


def _computed(name: str, compute: Callable[[], Any]) -> Any:
    """What `EvaluationState.kept` does, with nothing on disk."""
    del name
    return compute()


def _drawn(evidence: Evidence) -> list[LossCurve]:
    curve = curves.loss_curve(*evidence.traced) if evidence.traced else None
    return [] if curve is None else [curve]


def _unlisted(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _tell(checks: Sequence[Check]) -> None:
    made = sum(check.verdict != "skipped" for check in checks)
    objecting = sum(check.verdict in ("fail", "warn") for check in checks)
    seconds = sum(check.seconds for check in checks)
    print(f"checks: {made} made in {seconds:.1f} s, {objecting} object", flush=True)
