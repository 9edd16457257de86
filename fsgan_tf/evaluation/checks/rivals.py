"""Do attacks that know less, or use it worse, win? Where they do, the gradient is masked."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from fsgan_tf.attacks.parts.attack import Access, Attack, Attempt, parameters_of
from fsgan_tf.attacks.parts.attacked_classifier import AttackedClassifier, is_misclassified
from fsgan_tf.attacks.parts.projected_gradient import random_start
from fsgan_tf.attacks.square import Square
from fsgan_tf.attacks.transfer import Transfer
from fsgan_tf.evaluation.checks.evidence import Evidence
from fsgan_tf.evaluation.checks.gain import gain
from fsgan_tf.evaluation.checks.verdicts import Finding, judged, level, skipped
from fsgan_tf.threat_model import ThreatModel

# Points of accuracy, as a share. AutoAttack raises its flag where Square takes 0.2 points from what
# its white-box attacks left; Feature-Scatter loses 27 to a hard-label attack.
_FLAG, _BEATEN = 0.002, 0.02
# Gap between margin and cross-entropy attacks. Adversarially trained classifiers show 1 to 3
# points; Feature-Scatter, which AutoAttack takes from 60.6% to 36.6%, shows 9.
_NOTABLE_GAP, _LARGE_GAP = 0.05, 0.15
# Square's queries where no black-box attack ran: enough for its coarse squares, no more.
_QUERIES = 50
# Carlini et al., arXiv:1902.06705, draw 10,000 times; what fools more than one image of a batch in
# these few was no needle.
_DRAWS, _DRAWS_TOGETHER = 25, 5
_WARNING = (
    "The white-box attacks were misled: look for masked gradients, attack the defence's own "
    "mechanism, and do not publish the figure."
)


@dataclasses.dataclass(frozen=True)
class _RandomNoise:
    """Uniform noise in the ball."""

    name: str
    num_draws: int
    restarts: int = 1

    access: ClassVar[Access] = "none"

    @property
    def cost(self) -> int:
        return self.num_draws

    @property
    def parameters(self) -> dict[str, Any]:
        return parameters_of(self)

    def run(
        self,
        classifier: AttackedClassifier,
        threat_model: ThreatModel,
        images: tf.Tensor,
        labels: tf.Tensor,
        seeds: tf.Tensor,
        restart: int,
    ) -> Attempt:
        del restart  # There is one.
        found, success = images, tf.zeros_like(labels, tf.bool)
        for first in range(0, self.num_draws, _DRAWS_TOGETHER):
            draws = range(first, min(first + _DRAWS_TOGETHER, self.num_draws))
            noisy = random_start(
                threat_model,
                tf.tile(images, [len(draws), 1, 1, 1]),
                tf.concat([seeds + tf.constant([draw, 0], tf.int64) for draw in draws], 0),
            )
            wrong = is_misclassified(classifier.logits(noisy), tf.tile(labels, [len(draws)]))
            for tried, fools in zip(
                tf.split(noisy, len(draws)), tf.split(wrong, len(draws)), strict=True
            ):
                found = tf.where((fools & ~success)[:, None, None, None], tried, found)
                success |= fools
        return Attempt(found, success)


def white_box_beats_black_box(evidence: Evidence) -> Finding:
    """AutoAttack's flag for Square; arXiv:1902.06705, section 4.2."""
    holds = "Knowing the gradient helps, as it should."
    rivals = [attack for attack in evidence.attacks if attack.access == "outputs"]
    if rivals:
        return _missed_by_white_box(evidence, rivals, holds=holds)
    return gain(
        evidence,
        Square("square", num_queries=_QUERIES, rescaled_schedule=True),
        f"Square with {_QUERIES} queries",
        holds=holds,
        doubt=_WARNING,
        notable=_FLAG,
    )


def white_box_beats_random_noise(evidence: Evidence) -> Finding:
    """arXiv:1902.06705, section 4.2."""
    return gain(
        evidence,
        _RandomNoise("random_noise", _DRAWS),
        f"uniform noise, drawn {_DRAWS} times,",
        holds="Random noise fools none of the images that withstood the attacks.",
        doubt=_WARNING,
        notable=_FLAG,
    )


def white_box_beats_transfer(evidence: Evidence) -> Finding:
    """Athalye et al., arXiv:1802.00420, section 3.1."""
    holds = "Images made against the classifier itself fool it best, as they should."
    rivals = [attack for attack in evidence.attacks if isinstance(attack, Transfer)]
    if rivals:
        return _missed_by_white_box(evidence, rivals, holds=holds)
    source = evidence.undefended
    if source is None:
        return skipped(
            "No undefended source was given.",
            advice="Train the same network with --method=standard and name its run in --source.",
        )
    attack = evidence.stand_in
    return gain(
        evidence,
        Transfer(attack, source),
        f"{attack.name} on {source.name}",
        holds=holds,
        doubt=_WARNING,
        notable=_FLAG,
    )


def margin_agrees_with_cross_entropy(evidence: Evidence) -> Finding:
    """A large gap is a sign of masking: the paper's relatives showed it before they fell."""
    pairs = [
        (blunt, sharp)
        for position, blunt in enumerate(evidence.result.attacks)
        for sharp in evidence.result.attacks[position + 1 :]
        if sharp.name == _on_the_margin(blunt.name)
    ]
    if not pairs:
        return skipped(
            "No attack on the cross-entropy was followed by its like on the margin.",
            advice="Add pgd20 and cw20, or apgd_ce and apgd_t.",
        )
    blunt, sharp = pairs[-1]
    missed = sharp.fooled & ~blunt.fooled
    gap = float(np.mean(missed))
    return judged(
        level(int(missed.sum()), gap, _NOTABLE_GAP, _LARGE_GAP),
        f"{sharp.name} fools images that {blunt.name} could not, {gap:.1%} of all.",
        holds="The choice of the loss decides little.",
        doubt="Cross-entropy attacks overstate this classifier: believe --suite=strong alone, and "
        "expect attacks made for the defence to lower even that.",
    )


def _on_the_margin(name: str) -> str:
    """Of an attack on the cross-entropy, the name of its like on the margin."""
    return "apgd_t" if name == "apgd_ce" else name.replace("pgd", "cw", 1)


def _missed_by_white_box(evidence: Evidence, rivals: Sequence[Attack], *, holds: str) -> Finding:
    """Whether attacks without the classifier's gradient fool what those with it do not."""
    white_box = [attack for attack in evidence.attacks if attack.access == "gradients"]
    if not white_box:
        return skipped("No white-box attack ran.", advice="Add cw20 or the strong suite.")
    results = {attack.name: attack for attack in evidence.result.attacks}
    order = list(results)
    first = min(order.index(attack.name) for attack in rivals)
    missed = np.any([results[attack.name].fooled for attack in rivals], axis=0)
    missed &= ~np.any([results[attack.name].fooled for attack in white_box], axis=0)
    # A later attack saw only what still stood, unless stand-alone; now it sees the rivals' victims.
    late = [
        attack
        for attack in white_box
        if order.index(attack.name) > first and not results[attack.name].standalone
    ]
    some = evidence.drawn(np.flatnonzero(missed), evidence.size)
    withstood = float(np.mean(~evidence.fooled_by(some, *late))) if len(some) else 0.0
    share = withstood * float(np.mean(missed))
    number = round(share * len(missed))
    return judged(
        level(number, share, _FLAG, _BEATEN),
        f"Of {len(missed)} images, {' and '.join(attack.name for attack in rivals)} fooled "
        f"{number} ({100 * share:.1f} points) that no white-box attack fools.",
        holds=holds,
        doubt=_WARNING,
    )
