"""Lists of attacks by name. Imports no TensorFlow."""

from typing import Any, NamedTuple


class Suite(NamedTuple):
    """Attacks that are run together.

    Attributes:
      attacks: their names.
      settings: what is set otherwise than by default, for those of the attacks that have it.
    """

    attacks: tuple[str, ...]
    settings: dict[str, Any]


# The white-box attacks of the paper's tables use 10 restarts, and so do those it transfers.
_PAPER = {"restarts": 10}

SUITES = {
    "quick": Suite(("fgsm", "pgd20", "cw20"), {}),
    # AutoAttack's standard version (arXiv:2003.01690).
    "strong": Suite(("apgd_ce", "apgd_t", "fab_t", "square"), {}),
    "strongest": Suite(("pma", "a3", "square_sample"), {}),
    "paper_white_box": Suite(("fgsm", "pgd10", "pgd20", "pgd100", "cw20", "cw100"), _PAPER),
    "paper_black_box": Suite(
        (
            "transfer_fgsm",
            "transfer_pgd10",
            "transfer_pgd20",
            "transfer_pgd100",
            "transfer_cw20",
            "spsa1000",
        ),
        _PAPER,
    ),
}
