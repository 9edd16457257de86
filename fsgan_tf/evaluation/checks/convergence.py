"""Have the iterative attacks done what they can, and do they return the best of it?"""

import dataclasses

import numpy as np

from fsgan_tf.attacks.parts.attacked_classifier import is_misclassified
from fsgan_tf.attacks.parts.projected_gradient import ProjectedGradient
from fsgan_tf.evaluation import curves
from fsgan_tf.evaluation.checks.evidence import Evidence, climbs, judged, level, skipped
from fsgan_tf.evaluation.checks.gain import gain
from fsgan_tf.evaluation.result import Check

# Share of the images fooled by one step that an iterative attack may miss by bad luck.
_BAD_LUCK, _WEAKER = 0.02, 0.10
# Steps of an attack that is run again with twice as many. Longer ones have had their chance, and
# twice their steps on a batch would outlast the evaluation of a few.
_MOST_STEPS = 100
# Pintor et al., arXiv:2106.09947: the running best loss, rescaled to [0, 1], moves by more over the
# last 10 steps. Shorter attacks are held to their second half. Above 0.25 it has not levelled off.
_MOVING, _CLIMBING = 0.05, 0.25
_LAST_STEPS = 10
# Share of the sample whose returned image does not fool though an iterate did.
_SILENT = 0.01


def iterative_beats_single_step(evidence: Evidence) -> Check:
    """What one step fools, many smaller steps must fool (arXiv:1902.06705, section 4.2)."""
    name = "iterative_beats_single_step"
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
            name,
            "No iterative attack on the cross-entropy ran.",
            advice="Add pgd20 or apgd_ce to the attacks.",
        )
    fooled = np.flatnonzero(evidence.fooled_by_one_step & evidence.sample.correct)
    withstood = int(np.sum(~evidence.fooled_by(fooled, attack)))
    return judged(
        name,
        level(withstood, withstood / max(len(fooled), 1), _BAD_LUCK, _WEAKER),
        f"Of {len(fooled)} images that FGSM fools, {attack.name} fails on {withstood}.",
        holds="Iterative attacks fool what one step fools.",
        doubt="Iterating should only help: the gradient is masked, or the step size does not fit.",
    )


def more_steps_gain_nothing(evidence: Evidence) -> Check:
    """On what stands, the strongest attack with twice the steps (arXiv:1902.06705, section 4.2)."""
    name = "more_steps_gain_nothing"
    attack = evidence.strongest
    if attack is None:
        return _no_iterative_attack(name)
    if attack.num_steps > _MOST_STEPS:
        return skipped(
            name,
            f"{attack.name} already takes {attack.num_steps} steps; twice as many cost too much.",
            advice="Judge by its loss curve and by loss_converged.",
        )
    twice = dataclasses.replace(attack, num_steps=2 * attack.num_steps, restarts=1)
    return gain(
        name,
        evidence,
        twice,
        f"{attack.name} with {twice.num_steps} steps",
        holds="More steps would hardly lower the figure.",
        doubt="The figure still falls with more steps: attack with more (cw100, apgd_t) until it "
        "does not.",
    )


def more_restarts_gain_nothing(evidence: Evidence) -> Check:
    """On what stands, the strongest attack from other random starts (arXiv:1902.06705)."""
    name = "more_restarts_gain_nothing"
    attack = evidence.strongest
    if attack is None:
        return _no_iterative_attack(name)
    if attack.num_steps > _MOST_STEPS:
        return skipped(
            name,
            f"{attack.name} takes {attack.num_steps} steps; another restart costs too much.",
            advice="Raise --restarts once and see whether the figure moves.",
        )
    return gain(
        name,
        evidence,
        dataclasses.replace(attack, restarts=1),
        f"{attack.name} from another random start",
        holds="More restarts would hardly lower the figure.",
        doubt="The figure still falls with more restarts: raise --restarts until it does not.",
    )


def loss_converged(evidence: Evidence) -> Check:
    """Pintor et al.'s incomplete optimization, on the images that withstand the attack."""
    movements = [(attack, *_movement(attack, traced)) for attack, traced in evidence.traces]
    worst = max(movement for _, movement, _ in movements)
    seen = "; ".join(
        f"{attack.name}'s best loss moves by {movement:.1%} of its range over the last "
        f"{_last_steps(attack)} of {curves.traced_steps(attack)} steps ({standing} images)"
        for attack, movement, standing in movements
    )
    return judged(
        "loss_converged",
        "fail" if worst > _CLIMBING else "warn" if worst > _MOVING else "pass",
        f"On images not fooled, {seen}.",
        holds="The attacks' losses have levelled off, so their steps suffice.",
        doubt="The loss was still rising when the attack ended: give it more steps or larger ones.",
    )


def best_iterate_returned(evidence: Evidence) -> Check:
    """Pintor et al.'s silent success: an iterate fools, and the image returned does not."""
    attack, traced = evidence.traces[-1]
    sample = evidence.sample
    if evidence.evaluator.classifier.draws:
        return skipped(
            "best_iterate_returned",
            "Which iterate fools a random classifier is decided by its draws.",
            advice="Attacks return the iterate of the highest mean loss, which is judged afresh.",
        )
    num_steps = min(_LAST_STEPS, attack.num_steps)
    path = evidence.climb(attack.loss, num_steps=num_steps, step_size=attack.step_size)
    wrong = is_misclassified(evidence.evaluator.classifier.logits(path.best), sample.labels)
    on_path = traced.fooled[: num_steps + 1].any(axis=0)
    silent = int(np.sum(on_path & ~sample.rows(wrong)))
    lost = int(np.sum(on_path & ~traced.fooled[num_steps]))
    return judged(
        "best_iterate_returned",
        level(silent, silent / sample.count, 0, _SILENT),
        f"On {int(on_path.sum())} of {sample.count} images one of the first {num_steps} iterates "
        f"of {attack.name} fools, and on {silent} of them not the one returned; returning the last "
        f"one would lose {lost}.",
        holds="No adversarial image on an attack's path goes unnoticed.",
        doubt="The attack found adversarial images and dropped them: return the best iterate.",
    )


def _no_iterative_attack(name: str) -> Check:
    return skipped(
        name,
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
