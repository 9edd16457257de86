"""Attacks and suites of attacks by name."""

import re
from collections.abc import Sequence

from fsgan_tf.attacks.attack import Attack
from fsgan_tf.attacks.auto_pgd import AutoPGD
from fsgan_tf.attacks.fab import FastAdaptiveBoundary
from fsgan_tf.attacks.projected_gradient import ProjectedGradient
from fsgan_tf.attacks.spsa import SPSA
from fsgan_tf.attacks.square import Square
from fsgan_tf.attacks.transfer import Source, Transfer
from fsgan_tf.errors import UserError

# As AutoAttack's standard version runs them (arXiv:2003.01690); the targeted ones aim at the 9
# likeliest wrong classes.
_STANDARD: dict[str, Attack] = {
    "apgd_ce": AutoPGD("apgd_ce", loss="cross_entropy", num_steps=100, restarts=1),
    "apgd_t": AutoPGD("apgd_t", loss="targeted_dlr", num_steps=100, restarts=9),
    "fab_t": FastAdaptiveBoundary(
        "fab_t", num_steps=100, alpha_max=0.1, eta=1.05, beta=0.9, restarts=9
    ),
    "square": Square("square", num_queries=5000, rescaled_schedule=False),
}
_LOSS_OF_FAMILY = {"pgd": "cross_entropy", "cw": "margin"}
_ITERATIVE = re.compile(r"(pgd|cw|spsa)([1-9]\d{0,4})")
_TRANSFER = "transfer_"
_KNOWN = (
    f"fgsm, pgdN, cwN and spsaN for N steps (pgd20, cw100, spsa1000, ...), {', '.join(_STANDARD)}, "
    "and transfer_ before fgsm, pgdN and cwN"
)

# Names and restarts. The white-box attacks of the paper's tables use 10 restarts, and so do those
# it transfers.
_SUITES: dict[str, tuple[tuple[str, ...], int]] = {
    "quick": (("fgsm", "pgd20", "cw20"), 1),
    "strong": (tuple(_STANDARD), 1),
    "paper_white_box": (("fgsm", "pgd10", "pgd20", "pgd100", "cw20", "cw100"), 10),
    "paper_black_box": (
        (
            "transfer_fgsm",
            "transfer_pgd10",
            "transfer_pgd20",
            "transfer_pgd100",
            "transfer_cw20",
            "spsa1000",
        ),
        10,
    ),
}


def suite_names() -> list[str]:
    """Names that `suite` takes."""
    return list(_SUITES)


def suite(
    name: str,
    epsilon: float,
    *,
    restarts: int | None = None,
    step_size: float | None = None,
    sources: Sequence[Source] = (),
) -> list[Attack]:
    """The attacks of a suite.

    Args:
      name: one of `suite_names()`.
      epsilon: radius of the ball, pixel units.
      restarts: of pgdN and cwN; the suite's own by default.
      step_size: of pgdN and cwN, pixel units; epsilon/4 by default, which is 2/255 at 8/255 as in
        the paper.
      sources: classifiers that `paper_black_box` transfers from.

    Returns:
      The attacks.

    Raises:
      UserError: the name is unknown, the step size does not fit, or sources are missing.
    """
    if name not in _SUITES:
        raise UserError(f"unknown suite {name!r}; there are {', '.join(_SUITES)}")
    names, default_restarts = _SUITES[name]
    return by_names(
        names,
        epsilon,
        restarts=restarts or default_restarts,
        step_size=step_size,
        sources=sources,
    )


def by_names(
    names: Sequence[str],
    epsilon: float,
    *,
    restarts: int = 1,
    step_size: float | None = None,
    sources: Sequence[Source] = (),
) -> list[Attack]:
    """Attacks by their names; each once.

    Args:
      names: `fgsm`, `pgdN`, `cwN` or `spsaN` for N steps, `apgd_ce`, `apgd_t`, `fab_t`, `square`;
        `transfer_fgsm`, `transfer_pgdN` or `transfer_cwN` for one attack from each source.
      epsilon: radius of the ball, pixel units.
      restarts: of pgdN and cwN, at least 1.
      step_size: of pgdN and cwN, pixel units; epsilon/4 by default.
      sources: classifiers to transfer from.

    Returns:
      The attacks.

    Raises:
      UserError: a name is unknown, the step size does not fit, or sources are missing.
    """
    if step_size is None:
        step_size = epsilon / 4
    if not 0 < step_size <= epsilon:
        raise UserError(
            f"the step size is {step_size:g}; it must be above 0 and at most epsilon ({epsilon:g})"
        )
    if not names:
        raise UserError(f"no attack is named; there are {_KNOWN}")
    unique = dict.fromkeys(name.strip() for name in names)
    attacks: list[Attack] = []
    for name in unique:
        climbing = _attack(name.removeprefix(_TRANSFER), epsilon, restarts, step_size)
        if not name.startswith(_TRANSFER):
            attacks.append(climbing)
            continue
        if not isinstance(climbing, ProjectedGradient):
            raise UserError(f"unknown attack {name!r}; there are {_KNOWN}")
        if not sources:
            raise UserError(
                f"{name} attacks by images made against another classifier; name one with "
                "--source=RUN_DIR, or a SavedModel's folder or a .keras file"
            )
        attacks += [Transfer(climbing, source) for source in sources]
    return attacks


def _attack(name: str, epsilon: float, restarts: int, step_size: float) -> Attack:
    if name in _STANDARD:
        return _STANDARD[name]
    if name == "fgsm":
        return ProjectedGradient(
            name,
            loss="cross_entropy",
            num_steps=1,
            step_size=epsilon,
            random_start=False,
            restarts=1,
        )
    match = _ITERATIVE.fullmatch(name)
    if match is None:
        raise UserError(f"unknown attack {name!r}; there are {_KNOWN}")
    family, num_steps = match.groups()
    if family == "spsa":
        return SPSA(name, num_steps=int(num_steps))
    return ProjectedGradient(
        name,
        loss=_LOSS_OF_FAMILY[family],
        num_steps=int(num_steps),
        step_size=step_size,
        random_start=True,
        restarts=restarts,
    )
