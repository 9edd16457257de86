"""Several radii from one run, from the largest to the smallest.

What is fooled within a radius is fooled within every larger one. At the largest radius every image
is attacked; at a smaller one, those that the next larger one fooled. The others withstood the same
attacks with more room, and are taken to withstand them with less. Since an attack can fail in a
large ball where it would succeed in a small one, a tenth of the others, at most 64 and drawn by
chance, are attacked all the same; where one of them is fooled, all are.

What a smaller radius finds counts at the larger ones too, so that no accuracy rises with the
radius.
"""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from fsgan_tf import norms
from fsgan_tf.attacks.parts.sample import Sample
from fsgan_tf.evaluation.checks import sampled
from fsgan_tf.evaluation.engine import Evaluator
from fsgan_tf.evaluation.request import Request
from fsgan_tf.evaluation.result import Result
from fsgan_tf.evaluation.score import recounted
from fsgan_tf.evaluation.state import EvaluationState
from fsgan_tf.results import intervals
from fsgan_tf.results.findings import AdversarialExamples, Check, SmallerRadius
from fsgan_tf.results.randomness import Randomness
from fsgan_tf.threat_model import ThreatModel

# Of the images taken to withstand a radius, how many are attacked all the same.
_SHARE, _MOST = 0.1, 64


def with_smaller(
    result: Result,
    evaluator: Evaluator,
    images: np.ndarray,
    labels: np.ndarray,
    request: Request,
    *,
    state: EvaluationState | None = None,
    progress: bool = False,
) -> Result:
    """Attacks at the smaller radii of a request, the largest of them first.

    Args:
      result: what was found at the largest radius.
      evaluator: the classifier, at the largest radius.
      images: see `Evaluator.attack`.
      labels: see `Evaluator.attack`.
      request: how to attack.
      state: see `Evaluator.attack`.
      progress: see `Evaluator.attack`.

    Returns:
      The result at the largest radius, with those at the smaller ones.
    """
    attacked = functools.partial(
        Evaluator.attack,
        images=images,
        labels=labels,
        seed=request.seed,
        standalone=request.standalone,
        progress=progress,
    )
    results = [result]
    how = []
    for number, radius in enumerate(request.smaller):
        larger = results[-1]
        drawn = _drawn(larger, request.seed, number)
        if progress:
            fooled = int(np.sum(larger.clean_correct & ~larger.robust))
            print(
                f"epsilon {_text(radius.threat_model)}, on the {fooled} images that "
                f"{_text(larger.threat_model)} fooled and {len(drawn)} of the others:",
                flush=True,
            )
        chosen = _to_attack(larger, drawn, request.standalone)
        at_radius = Evaluator(evaluator.copies, radius.threat_model, evaluator.batch_size)
        part = state and state.part(f"radius_{number + 1}")
        found = attacked(at_radius, attacks=radius.attacks, among=chosen, state=part)
        fooled = int(np.sum(~found.robust[drawn]))
        if fooled:
            rest = {name: ~mask for name, mask in chosen.items()}
            part = state and state.part(f"radius_{number + 1}_rest")
            rest_found = attacked(at_radius, attacks=radius.attacks, among=rest, state=part)
            found = _merged(found, rest_found)
        results.append(_with_draws_of(larger, found))
        how.append((0 if fooled else int(larger.robust.sum()) - len(drawn), len(drawn), fooled))
    counted = _counted_upwards(results)
    smaller = [SmallerRadius(one, *numbers) for one, numbers in zip(counted[1:], how, strict=True)]
    return dataclasses.replace(counted[0], smaller=tuple(reversed(smaller)))


def _text(threat_model: ThreatModel) -> str:
    return norms.radius_text(threat_model.norm, threat_model.epsilon)


def checks(result: Result) -> list[Check]:
    """What the smaller radii say of the attacks, and of images that no sampling attack saw."""
    bounds = [
        (_text(radius.result.threat_model), sampled.rest_is_bounded(radius.result, attack, sample))
        for radius in result.smaller
        for attack in radius.result.attacks
        if (sample := attack.sample) is not None
    ]
    return [
        _smaller_radii_find_no_more(result),
        *(
            dataclasses.replace(bound, name=f"{bound.name}_at_{epsilon}")
            for epsilon, bound in bounds
        ),
    ]


def _smaller_radii_find_no_more(result: Result) -> Check:
    """Whether what withstood a radius withstood the smaller ones, as it must."""
    drawn = sum(radius.drawn for radius in result.smaller)
    fooled = sum(radius.drawn_fooled for radius in result.smaller)
    return Check(
        "smaller_radii_find_no_more",
        "warn" if fooled else "pass",
        f"Of {drawn} images that withstood a radius, drawn by chance and attacked at the next "
        f"smaller one too, {fooled} were fooled there.{_bounds(result)}",
        "The attacks fail in a large ball where they succeed in a small one: give them more steps, "
        "smaller ones, or --suite=strong. At that radius every image was attacked."
        if fooled
        else "Images that withstood a radius were taken to withstand the smaller ones.",
    )


def _bounds(result: Result) -> str:
    """What the draws say of the images that were taken to withstand a radius.

    A bound a radius, since at each another share was drawn. Each holds with so much confidence that
    all hold together with 95%.
    """
    confidence = 1 - 0.05 / len(result.smaller)
    bounds = [
        f"{intervals.most_fooled(0, radius.drawn, confidence):.1%} of the {radius.assumed} at "
        f"{_text(radius.result.threat_model)}"
        for radius in result.smaller
        if radius.assumed
    ]
    if not bounds:
        return ""
    return (
        " Of those that were not attacked again at most so many would be, with 95% confidence for "
        f"all radii together: {', '.join(bounds)}."
    )


def _drawn(larger: Result, seed: int, number: int) -> np.ndarray:
    """Positions of a random share of what withstands every attack."""
    robust = np.flatnonzero(larger.robust)
    count = min(_MOST, int(np.ceil(_SHARE * len(robust))))
    return np.sort(np.random.default_rng((seed, number)).permutation(robust)[:count])


def _to_attack(larger: Result, drawn: np.ndarray, standalone: bool) -> dict[str, np.ndarray]:
    """Of each attack by name, which examples it is to attack, bool `[n]`."""
    is_drawn = np.zeros(larger.num_examples, bool)
    is_drawn[drawn] = True
    return {
        attack.name: (attack.fooled if standalone else ~larger.robust) | is_drawn
        for attack in larger.attacks
    }


def _merged(first: Result, second: Result) -> Result:
    """Of two runs of the same attacks on different examples."""
    attacks = [
        dataclasses.replace(
            one,
            seconds=one.seconds + other.seconds,
            fooled=one.fooled | other.fooled,
            fooled_8bit=one.fooled_8bit | other.fooled_8bit,
            refused=one.refused + other.refused,
            sample=one.sample and other.sample and _both(one.sample, other.sample),
        )
        for one, other in zip(first.attacks, second.attacks, strict=True)
    ]
    return dataclasses.replace(
        first,
        attacks=recounted(first.clean_correct, attacks),
        examples=_joined(first.examples, second.examples),
        randomness=_most_wrong(first, second),
    )


def _most_wrong(first: Result, second: Result) -> Randomness | None:
    """Of a classifier whose answers differ: what fools it more, of two runs."""
    if not first.randomness or not second.randomness:
        return first.randomness
    wrong = np.maximum(first.randomness.attacked_wrong, second.randomness.attacked_wrong)
    return dataclasses.replace(first.randomness, attacked_wrong=wrong)


def _both(one: Sample, other: Sample) -> Sample:
    return Sample(
        np.sort(np.concatenate([one.nearest, other.nearest])),
        np.sort(np.concatenate([one.drawn, other.drawn])),
        one.num_others + other.num_others,
    )


def _with_draws_of(larger: Result, found: Result) -> Result:
    """Of a classifier whose answers differ: what was not attacked, as at the larger radius."""
    if not found.randomness or not larger.randomness:
        return found
    wrong = np.where(larger.robust, larger.randomness.attacked_wrong, 0)
    wrong = np.maximum(wrong, found.randomness.attacked_wrong)
    randomness = dataclasses.replace(found.randomness, attacked_wrong=wrong)
    return dataclasses.replace(found, randomness=randomness)


def _counted_upwards(results: Sequence[Result]) -> list[Result]:
    """Results at falling radii, where what a smaller radius fools counts at the larger ones."""
    counted = [results[-1]]
    for larger in reversed(results[:-1]):
        smaller = counted[0]
        attacks = [
            dataclasses.replace(
                one,
                fooled=one.fooled | other.fooled,
                fooled_8bit=one.fooled_8bit | other.fooled_8bit,
            )
            for one, other in zip(larger.attacks, smaller.attacks, strict=True)
        ]
        counted.insert(
            0,
            dataclasses.replace(
                larger,
                attacks=recounted(larger.clean_correct, attacks),
                examples=_joined(larger.examples, smaller.examples),
                randomness=_most_wrong(larger, smaller),
            ),
        )
    return counted


def _joined(first: AdversarialExamples, second: AdversarialExamples) -> AdversarialExamples:
    """The first ones, and those of examples that they do not have."""
    new = ~np.isin(second.indices, first.indices)
    order = np.argsort(np.concatenate([first.indices, second.indices[new]]), kind="stable")

    def join(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return np.concatenate([one, other[new]])[order]

    names = join(np.array(first.attacks, object), np.array(second.attacks, object))
    return AdversarialExamples(
        indices=join(first.indices, second.indices),
        attacks=tuple(names.tolist()),
        images=join(first.images, second.images),
        clean_images=join(first.clean_images, second.clean_images),
        labels=join(first.labels, second.labels),
        predictions=join(first.predictions, second.predictions),
    )
