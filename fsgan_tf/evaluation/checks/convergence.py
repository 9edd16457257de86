"""Have the iterative attacks done what they can, and do they return the best of it?"""

import numpy as np

from fsgan_tf.attacks.parts.attack import Climbing
from fsgan_tf.attacks.parts.attacked_classifier import is_misclassified
from fsgan_tf.attacks.parts.projected_gradient import ProjectedGradient
from fsgan_tf.evaluation import curves
from fsgan_tf.evaluation.checks.evidence import Evidence, climbs
from fsgan_tf.evaluation.checks.gain import is_notable, judged_gain
from fsgan_tf.evaluation.checks.verdicts import Finding, judged, level, skipped

# Share of the images fooled by one step that an iterative attack may miss by bad luck.
_BAD_LUCK, _WEAKER = 0.02, 0.10
# Pintor et al., arXiv:2106.09947: the running best loss, rescaled to [0, 1], moves by more over the
# last 10 steps. Shorter attacks are held to their second half. Above 0.25 it has not levelled off.
_MOVING, _CLIMBING = 0.05, 0.25
_LAST_STEPS = 10
# Share of the sample whose returned image does not fool though an iterate did.
_SILENT = 0.01


def iterative_beats_single_step(evidence: Evidence) -> Finding:
    """What one step fools, many smaller steps must fool (arXiv:1902.06705, section 4.2)."""
    attack = next(
        (
            attack
            for attack in sorted(evidence.attacks, key=lambda attack: attack.cost)
            if climbs(attack) and attack.loss == "cross_entropy"
        ),
        None,
    )
    if attack is None:
        return skipped(
            "No iterative attack on the cross-entropy ran.",
            advice="Add pgd20 or apgd_ce to the attacks.",
        )
    fooled = evidence.sample.indices[evidence.fooled_by_one_step & evidence.sample.correct]
    withstood = int(np.sum(~evidence.fooled_by(fooled, attack)))
    return judged(
        level(withstood, withstood / max(len(fooled), 1), _BAD_LUCK, _WEAKER),
        f"Of {len(fooled)} images that FGSM fools, {attack.name} fails on {withstood}.",
        holds="Iterative attacks fool what one step fools.",
        doubt="Iterating should only help: the gradient is masked, or the step size does not fit.",
    )


def more_steps_gain_nothing(evidence: Evidence) -> Finding:
    """On what stands, the strongest attack with twice the steps (arXiv:1902.06705, section 4.2)."""
    attack, found = evidence.strongest, evidence.twice_the_steps
    if attack is None:
        return _no_iterative_attack()
    if found is None:
        return skipped(
            f"{attack.name} already takes {attack.num_steps} steps; twice as many cost too much.",
            advice="Give it more steps once and see whether the figure moves.",
        )
    where = _where_once(attack)
    return judged_gain(
        evidence,
        found,
        f"{attack.name} with {2 * attack.num_steps} steps{where}",
        holds=f"More steps{where} would hardly lower the figure.",
        doubt="The figure still falls with more steps: attack with more (cw100, apgd_t) until it "
        "does not.",
    )


def more_restarts_gain_nothing(evidence: Evidence) -> Finding:
    """On what stands, the strongest attack from other random starts (arXiv:1902.06705)."""
    attack, found = evidence.strongest, evidence.twice_the_steps
    if attack is None:
        return _no_iterative_attack()
    if found is None:
        return skipped(
            f"{attack.name} takes {attack.num_steps} steps; another restart costs too much.",
            advice="Raise --restarts once and see whether the figure moves.",
        )
    # Twice the steps were taken from another start; where they hardly find more, so do fewer.
    steps, where = f" with {2 * attack.num_steps} steps", _where_once(attack)
    if is_notable(found, evidence):
        found, steps = evidence.further(attack.once(attack.num_steps)), ""
    return judged_gain(
        evidence,
        found,
        f"{attack.name}{steps} from another random start{where}",
        holds=f"More restarts{where} would hardly lower the figure.",
        doubt="The figure still falls with more restarts: raise --restarts until it does not.",
    )


def loss_converged(evidence: Evidence) -> Finding:
    """Pintor et al.'s incomplete optimization, on the images that withstand the attack."""
    if evidence.traced is None:
        return _no_path()
    attack, traced = evidence.traced
    movement, standing = _movement(attack, traced)
    return judged(
        "fail" if movement > _CLIMBING else "warn" if movement > _MOVING else "pass",
        f"On {standing} images not fooled, {attack.name}'s best loss moves by {movement:.1%} of "
        f"its range over the last {_last_steps(attack)} of {curves.traced_steps(attack)} steps.",
        holds="The attack's loss has levelled off, so its steps suffice.",
        doubt="The loss was still rising when the attack ended: give it more steps or larger ones.",
    )


def best_iterate_returned(evidence: Evidence) -> Finding:
    """Pintor et al.'s silent success: an iterate fools, and the image returned does not."""
    if evidence.traced is None:
        return _no_path()
    attack, traced = evidence.traced
    if evidence.evaluator.classifier.draws:
        return skipped(
            "Which iterate fools a random classifier is decided by its draws.",
            advice="Attacks return the iterate of the highest mean loss, which is judged afresh.",
        )
    num_steps = min(_LAST_STEPS, attack.num_steps)
    correct = evidence.correct
    if not len(correct):
        return skipped(
            "No image of the sample is classified correctly.",
            advice="Look at the clean accuracy first.",
        )
    path = evidence.climb(correct, attack.loss, num_steps=num_steps, step_size=attack.step_size)
    _, labels = evidence.evaluator.take(evidence.images, evidence.labels, correct)
    logits = evidence.batched(evidence.evaluator.classifier.logits, path.best)
    wrong = is_misclassified(logits, labels).numpy()
    on_path = traced.fooled[: num_steps + 1].any(axis=0)
    silent = int(np.sum(on_path & ~wrong))
    lost = int(np.sum(on_path & ~traced.fooled[num_steps]))
    return judged(
        level(silent, silent / len(correct), 0, _SILENT),
        f"On {int(on_path.sum())} of {len(correct)} images one of the first {num_steps} iterates "
        f"of {attack.name} fools, and on {silent} of them not the one returned; returning the last "
        f"one would lose {lost}.",
        holds="No adversarial image on an attack's path goes unnoticed.",
        doubt="The attack found adversarial images and dropped them: return the best iterate.",
    )


def _where_once(attack: Climbing) -> str:
    """Where `once` leaves out targets of an attack, the one that it keeps."""
    return " at the likeliest wrong class alone" if attack.loss == "targeted_dlr" else ""


def _no_path() -> Finding:
    return skipped(
        "No iterative PGD or C&W ran, whose path this check follows.",
        advice="Judge by more_steps_gain_nothing, or add cw20 to the attacks.",
    )


def _no_iterative_attack() -> Finding:
    return skipped(
        "No iterative attack on a loss ran.",
        advice="Add cw20, pgd20 or the strong suite's attacks.",
    )


def _movement(attack: ProjectedGradient, traced: curves.Trace) -> tuple[float, int]:
    """Of the mean best loss of images never fooled, rescaled; and how many these are."""
    standing = ~traced.fooled.any(axis=0)
    best = curves.best_so_far(curves.Trace(traced.losses[:, standing], traced.fooled[:, standing]))
    if not best.size:
        return 0.0, 0
    mean = best.mean(axis=1, dtype=np.float64)
    span = mean[-1] - mean[0]
    late = mean[-1] - mean[-1 - _last_steps(attack)]
    return float(late / span) if span else 0.0, best.shape[1]


def _last_steps(attack: ProjectedGradient) -> int:
    return min(_LAST_STEPS, curves.traced_steps(attack) // 2)
