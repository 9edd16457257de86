"""Signs that a robust accuracy should not be believed, each with a verdict and one line of advice.

The 23 checks come from Carlini et al., On Evaluating Adversarial Robustness (arXiv:1902.06705),
AutoAttack's flags (`flags_doc.md` of fra31/auto-attack) and Pintor et al., Indicators of Attack
Failure (arXiv:2106.09947); each says where it is from.

Most run on one batch of examples, and those that ask whether an attack more would lower the figure
on one batch of what was left standing. Where the longest attacks take N steps (of which 100 count
at most) and an undefended source is given, all together take about 90 + 6 N gradients and 180 + 4 N
forward passes of a batch; images that are fooled at once are not attacked further.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fsgan_tf.attacks.parts.attack import Attack
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
from fsgan_tf.evaluation.checks.evidence import Evidence, skipped
from fsgan_tf.evaluation.engine import Evaluator
from fsgan_tf.evaluation.result import Check, Diagnosis, EpsilonCurve, LossCurve, Result
from fsgan_tf.evaluation.state import EvaluationState
from fsgan_tf.progress_bar import progress_bar

# Images the checks should look at: enough to see what would mislead anybody, and cheap.
SAMPLE_SIZE = 64

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


def cost(attacks: Sequence[Attack], mode: str = "full") -> int:
    """Gradients that the checks of a mode take of each image of their sample, at most.

    An answer counts as half a gradient, which is about what it lasts.
    """
    if mode != "full":
        return {"fast": 10, "none": 0}[mode]
    steps = min(100, max((getattr(attack, "num_steps", 20) for attack in attacks), default=20))
    return (90 + 6 * steps) + (180 + 4 * steps) // 2


def diagnose(
    evaluator: Evaluator,
    images: np.ndarray,
    labels: np.ndarray,
    attacks: Sequence[Attack],
    result: Result,
    sources: Sequence[Source] = (),
    *,
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
      mode: `full`; `fast` leaves out the checks that attack anew, and the curves; `none` all.
      state: of this evaluation; checks that it holds are not made again, and new ones join them.
      progress: show a progress bar on a terminal, one line elsewhere.

    Returns:
      The verdicts, and the curves that they were drawn from.
    """
    if mode == "none":
        return Diagnosis(mode=mode)
    kept = state.kept if state else _computed
    with evaluator.classifier.on_its_device():
        evidence = Evidence(evaluator, images, labels, attacks, result, sources)
        bar = progress_bar(_CHECKS, desc="checks", unit="check", shown=progress)
        checks = tuple(_made(check, evidence, mode, kept) for check in bar)
        checks += tuple(
            sampled.rest_is_bounded(result, attack, attack.sample)
            for attack in result.attacks
            if attack.sample is not None
        )
        if progress and bar.disable:
            _tell(checks)
        if mode == "fast" or not evaluator.classifier.differentiable:
            return Diagnosis(checks, mode=mode)
        epsilon_curve = kept("epsilon_curve", lambda: dataclasses.asdict(evidence.epsilon_curve))
        drawn = kept("loss_curves", lambda: [dataclasses.asdict(c) for c in _drawn(evidence)])
    return Diagnosis(
        checks,
        EpsilonCurve(**{name: _unlisted(value) for name, value in epsilon_curve.items()}),
        tuple(LossCurve(curve["attack"], tuple(curve["losses"])) for curve in drawn),
        mode,
    )


def _made(
    check: Callable[[Evidence], Check], evidence: Evidence, mode: str, kept: Callable[..., Any]
) -> Check:
    """One check, made now or before a kill; or why it is not made."""
    if mode == "fast" and check not in _FAST:
        return skipped(
            check.__name__,
            "It attacks anew, which --checks=fast leaves out.",
            advice="Make every check (--checks=full) before you rely on the figure.",
        )
    if not evidence.evaluator.classifier.differentiable and check in _CLIMBING:
        return skipped(
            check.__name__,
            "The classifier has no gradients, and this check follows them.",
            advice="Evaluate the model that it was converted from, whose gradients attacks can "
            "use.",
        )

    def make() -> dict[str, Any]:
        start = time.monotonic()
        evidence.restart_draws(check.__name__)
        made = check(evidence)
        return dataclasses.asdict(dataclasses.replace(made, seconds=time.monotonic() - start))

    return Check(**kept(f"check_{check.__name__}", make))


def _computed(name: str, compute: Callable[[], Any]) -> Any:
    """What `EvaluationState.kept` does, with nothing on disk."""
    del name
    return compute()


def _drawn(evidence: Evidence) -> list[LossCurve]:
    found = [curves.loss_curve(attack, traced) for attack, traced in evidence.traces]
    return [curve for curve in found if curve is not None]


def _unlisted(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _tell(checks: Sequence[Check]) -> None:
    made = sum(check.verdict != "skipped" for check in checks)
    objecting = sum(check.verdict in ("fail", "warn") for check in checks)
    seconds = sum(check.seconds for check in checks)
    print(f"checks: {made} made in {seconds:.1f} s, {objecting} object", flush=True)
