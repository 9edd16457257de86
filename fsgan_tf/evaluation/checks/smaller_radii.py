"""Do the attacks find in a large ball what they find in a small one, as they must?"""

import dataclasses
from collections.abc import Iterator

from fsgan_tf.evaluation.checks import sampled
from fsgan_tf.results.findings import Check, Findings
from fsgan_tf.results.intervals import most_unseen_fooled


def checks(result: Findings) -> list[Check]:
    """What the smaller radii say of the attacks, and of images that no sampling attack saw.

    None where there is one radius alone.
    """
    if not result.smaller:
        return []
    return [_smaller_radii_find_no_more(result), *_bounds_of_samples(result)]


def _bounds_of_samples(result: Findings) -> Iterator[Check]:
    for radius in result.smaller:
        for attack in radius.result.attacks:
            if attack.samples:
                bound = sampled.rest_is_bounded(radius.result, attack)
                name = f"{bound.name}_at_{radius.result.threat_model.radius_text}"
                yield dataclasses.replace(bound, name=name)


def _smaller_radii_find_no_more(result: Findings) -> Check:
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


def _bounds(result: Findings) -> str:
    """What the draws say of the images that were taken to withstand a radius.

    A bound a radius, since at each another share was drawn. Each holds with so much confidence that
    all hold together with 95%.
    """
    confidence = 1 - 0.05 / len(result.smaller)
    bounds = [
        f"{most_unseen_fooled(0, radius.drawn, radius.drawn + radius.assumed, confidence)} of the "
        f"{radius.assumed} at {radius.result.threat_model.radius_text}"
        for radius in result.smaller
        if radius.assumed
    ]
    if not bounds:
        return ""
    return (
        " Of those that were not attacked again at most so many would be fooled"
        f"{_but_for_samples(result)}, with 95% confidence for all radii together: "
        f"{', '.join(bounds)}."
    )


def _but_for_samples(result: Findings) -> str:
    """Names the attacks of which the bounds do not speak: those that did not see a whole draw."""
    names = [attack.name for attack in result.attacks if attack.samples]
    if not names:
        return ""
    return f" (not counting {' and '.join(names)}, which did not see all images)"
