"""What the measures of a learnt adversary warn of."""

from __future__ import annotations

from typing import Any

# Below or above these a generator's figures are warned of. A trained one moves by tens of percent.
_LEAST_DISPLACEMENT = 0.03
_MOST_SIGN_COSINE = 0.99
_LEAST_OT_RATIO = 0.8
_LEAST_LATENT_SHARE = 0.05
_LEAST_DIVERSITY_SHARE = 0.01


def warnings_of_generator(row: dict[str, Any], settings: Any = None) -> list[str]:
    """Whether FS-GAN's generator learns, attacks, and makes of z what the paper says.

    Args:
      row: an epoch's figures; those that are not in it are not judged.
      settings: of the method; without them everything is judged.

    Returns:
      One line for each figure that a generator which works would not have.
    """
    # A control, which has no generator at work.
    frozen = getattr(settings, "generator_update", None) == "frozen_sign"
    lines = [] if frozen else _of_generator(row)
    # Probabilities and centred logits do not see an offset.
    if getattr(settings, "ot_on", "logits") == "logits":
        lines += _of_offset(row)
    return lines


def _of_generator(row: dict[str, Any]) -> list[str]:
    lines = []
    moved, cosine = row.get("generator_displacement"), row.get("validation_sign_cosine", 0.0)
    if moved is not None and moved < _LEAST_DISPLACEMENT:
        lines.append(
            f"the generator is inert: its weights have moved by {moved:.2%} of their initial norm"
        )
    if cosine > _MOST_SIGN_COSINE:
        lines.append(
            f"the generator is inert: its output is the gradient's sign (cosine {cosine:.4f})"
        )
    if "validation_generator_ot" in row:
        reached, sign = row["validation_generator_ot"], row["validation_replaced_sign_ot"]
        if reached < _LEAST_OT_RATIO * sign:
            lines.append(
                f"the generator reaches an OT distance of {reached:.4f}, below {_LEAST_OT_RATIO} "
                f"of a sign step's {sign:.4f} in its place: its images are a weaker adversary"
            )
        share, spread = row["validation_latent_share"], row["diversity_share"]
        if share < _LEAST_LATENT_SHARE or spread < _LEAST_DIVERSITY_SHARE:
            lines.append(
                f"no diversity: z alone moves the logits by {share:.1%} of what the perturbation "
                f"does, and perturbations by {spread:.1%} of what they can differ"
            )
    return lines


def _of_offset(row: dict[str, Any]) -> list[str]:
    if "validation_logit_offset" not in row:
        return []
    offset, deviation = row["validation_logit_offset"], row["validation_logit_spread"]
    if abs(offset) <= deviation:
        return []
    return [
        f"the logits have a common offset of {offset:.2f} beside a deviation of {deviation:.2f}: "
        "an OT distance of logits is small for any images then"
    ]
