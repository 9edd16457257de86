"""Several radii from one run, from the largest to the smallest.

What is fooled within a radius is fooled within every larger one. At the largest radius every image
is attacked; at a smaller one, those that the next larger one fooled. The others withstood the same
attacks with more room, and are taken to withstand them with less. Since an attack can fail in a
large ball where it would succeed in a small one, a tenth of the others, at most 64 and drawn by
chance, are attacked all the same (by an attack that runs on a sample, those that it takes); where
one of them is fooled, all are.

What a smaller radius finds counts at the larger ones too, so that no accuracy rises with the
radius.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from fsgan_tf.attacks.parts.attack import Attack
from fsgan_tf.evaluation.engine import Evaluator
from fsgan_tf.evaluation.request import Request
from fsgan_tf.evaluation.result import Result
from fsgan_tf.evaluation.score import recounted
from fsgan_tf.evaluation.state import EvaluationState
from fsgan_tf.results.findings import AdversarialExamples, SmallerRadius
from fsgan_tf.results.randomness import Randomness

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

    def attacked(
        at_radius: Evaluator, attacks: Sequence[Attack], among: dict[str, np.ndarray], part: str
    ) -> Result:
        return at_radius.attack(
            images,
            labels,
            attacks,
            seed=request.seed,
            standalone=request.standalone,
            among=among,
            state=state and state.part(part),
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
                f"epsilon {radius.threat_model.radius_text}, on the {fooled} images that "
                f"{larger.threat_model.radius_text} fooled and {len(drawn)} of the others:",
                flush=True,
            )
        chosen = _to_attack(larger, drawn, request.standalone)
        at_radius = Evaluator(evaluator.copies, radius.threat_model, evaluator.batch_size)
        found = attacked(at_radius, radius.attacks, chosen, f"radius_{number + 1}")
        fooled = int(np.sum(~found.robust[drawn]))
        if fooled:
            rest = {name: ~mask for name, mask in chosen.items()}
            found_of_rest = attacked(at_radius, radius.attacks, rest, f"radius_{number + 1}_rest")
            found = _merged(found, found_of_rest)
        results.append(_with_draws_of(larger, found))
        how.append((0 if fooled else int(larger.robust.sum()) - len(drawn), len(drawn), fooled))
    counted = _counted_upwards(results)
    smaller = [SmallerRadius(one, *numbers) for one, numbers in zip(counted[1:], how, strict=True)]
    return dataclasses.replace(counted[0], smaller=tuple(reversed(smaller)))


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
            refused=one.refused | other.refused,
            samples=one.samples + other.samples,
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
