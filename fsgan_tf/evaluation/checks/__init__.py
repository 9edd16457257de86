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
from typing import Any

import numpy as np

from fsgan_tf.attacks.parts.attack import Attack, Climbing
from fsgan_tf.attacks.parts.source import Source
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
from fsgan_tf.evaluation.checks.evidence import LARGEST_SAMPLE, Evidence, block, skipped
from fsgan_tf.evaluation.engine import Evaluator
from fsgan_tf.evaluation.progress_bar import progress_bar
from fsgan_tf.evaluation.result import Result
from fsgan_tf.evaluation.state import EvaluationState
from fsgan_tf.results.findings import Check, Diagnosis, EpsilonCurve, LossCurve

# Images that most checks look at: enough to see what would mislead anybody, and at first one for
# each so many gradients that the attacks took, so that checks cost a part of what they check.
_FEWEST, _GRADIENTS_AN_IMAGE = 10, 300

# From what makes every figure void to what makes one doubtful.
_CHECKS: tuple[Callable[[Evidence], Check], ...] = (
    clean_accuracy.answers_are_numbers,
    clean_accuracy.clean_accuracy_above_chance,
    outputs.logits_not_probabilities,
    outputs.same_output_twice,
    radius.epsilon_zero_equals_clean,
    soundness.successes_verified,
    soundness.undefended_twin_falls,
    gradients.gradients_exist,
    gradients.loss_is_smooth,
    radius.single_step_below_clean,
    radius.accuracy_falls_with_epsilon,
    radius.epsilon_curve_reaches_zero,
    radius.unbounded_attack_fools_all,
    convergence.best_iterate_returned,
    convergence.loss_converged,
    convergence.iterative_beats_single_step,
    convergence.more_steps_gain_nothing,
    convergence.more_restarts_gain_nothing,
    rivals.white_box_beats_black_box,
    rivals.white_box_beats_random_noise,
    rivals.white_box_beats_transfer,
    rivals.margin_agrees_with_cross_entropy,
    soundness.successes_survive_rounding,
)

# They need an answer or a gradient of an image, and attack nothing anew.
_FAST = frozenset(
    {
        clean_accuracy.answers_are_numbers,
        clean_accuracy.clean_accuracy_above_chance,
        outputs.logits_not_probabilities,
        outputs.same_output_twice,
        soundness.successes_verified,
        gradients.gradients_exist,
        gradients.loss_is_smooth,
        radius.single_step_below_clean,
        rivals.margin_agrees_with_cross_entropy,
        soundness.successes_survive_rounding,
    }
)

# They climb the classifier's gradient, or ask whether attacks that do beat those that do not.
_CLIMBING = frozenset(
    {
        radius.epsilon_zero_equals_clean,
        gradients.gradients_exist,
        radius.single_step_below_clean,
        radius.accuracy_falls_with_epsilon,
        radius.epsilon_curve_reaches_zero,
        radius.unbounded_attack_fools_all,
        convergence.best_iterate_returned,
        convergence.loss_converged,
        convergence.iterative_beats_single_step,
        convergence.more_steps_gain_nothing,
        convergence.more_restarts_gain_nothing,
        rivals.white_box_beats_black_box,
        rivals.white_box_beats_transfer,
    }
)

# They judge the curve of radii, or that of losses.
_OF_RADII = frozenset(
    {
        radius.epsilon_zero_equals_clean,
        radius.accuracy_falls_with_epsilon,
        radius.epsilon_curve_reaches_zero,
        radius.unbounded_attack_fools_all,
    }
)
_OF_LOSSES = frozenset({convergence.loss_converged})


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
    sources: Sequence[Source] = (),
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
        made = {check: _made(check, narrow, wide, mode, kept) for check in bar}
        checks = tuple(one for one, _ in made.values())
        checks += tuple(
            sampled.rest_is_bounded(result, attack, attack.sample)
            for attack in result.attacks
            if attack.sample is not None
        )
        if progress and bar.disable:
            _tell(checks)
        if mode == "fast" or not evaluator.classifier.differentiable:
            return Diagnosis(checks, mode=mode)
        # The curves are those that the checks judged last.
        of_radii, of_losses = (
            wide if any(made[check][1] for check in made.keys() & group) else narrow
            for group in (_OF_RADII, _OF_LOSSES)
        )
        epsilon_curve = kept("epsilon_curve", lambda: dataclasses.asdict(of_radii.epsilon_curve))
        drawn = kept("loss_curves", lambda: [dataclasses.asdict(c) for c in _drawn(of_losses)])
    return Diagnosis(
        checks,
        EpsilonCurve(**{name: _unlisted(value) for name, value in epsilon_curve.items()}),
        tuple(LossCurve(curve["attack"], tuple(curve["losses"])) for curve in drawn),
        mode,
    )


def _made(
    check: Callable[[Evidence], Check],
    narrow: Evidence,
    wide: Evidence,
    mode: str,
    kept: Callable[..., Any],
) -> tuple[Check, bool]:
    """One check, made now or before a kill, and whether it took the wide evidence."""
    if mode == "fast" and check not in _FAST:
        left_out = skipped(
            check.__name__,
            "It attacks anew, which --checks=fast leaves out.",
            advice="Make every check (--checks=full) before you rely on the figure.",
        )
        return left_out, False
    if not wide.evaluator.classifier.differentiable and check in _CLIMBING:
        left_out = skipped(
            check.__name__,
            "The classifier has no gradients, and this check follows them.",
            advice="Evaluate the model that it was converted from, whose gradients attacks can "
            "use.",
        )
        return left_out, False

    def make() -> dict[str, Any]:
        start = time.monotonic()
        found = _with_its_draws(check, narrow)
        widened = found.verdict in ("fail", "warn") and narrow.sample.count < wide.sample.count
        if widened:
            found = _with_its_draws(check, wide)
        seconds = time.monotonic() - start
        return {
            "check": dataclasses.asdict(dataclasses.replace(found, seconds=seconds)),
            "widened": widened,
        }

    record = kept(f"check_{check.__name__}", make)
    return Check(**record["check"]), record["widened"]


def _with_its_draws(check: Callable[[Evidence], Check], evidence: Evidence) -> Check:
    """What a check finds, by draws that do not depend on which check took the sample first."""
    _ = evidence.sample
    evidence.restart_draws(check.__name__)
    return check(evidence)


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
