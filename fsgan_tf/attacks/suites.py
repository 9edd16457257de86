"""Lists of attacks by name. Imports no TensorFlow."""

from typing import Any, NamedTuple


class Suite(NamedTuple):
    """Attacks that are run together.

    Attributes:
      attacks: their names.
      settings: what is set otherwise than by default, for those of the attacks that have it.
      standalone: whether each attack sees every image unless something else is asked for, since
        the accuracies are read as columns of a table.
      eot: calls over which gradients are averaged unless `--eot` says so; None where answers are
        taken not to differ from call to call.
    """

    attacks: tuple[str, ...]
    settings: dict[str, Any]
    standalone: bool = False
    eot: int | None = None


# The white-box attacks of the paper's tables use 10 restarts, and so do those it transfers.
_PAPER = {"restarts": 10}

SUITES = {
    "quick": Suite(("fgsm", "pgd20", "cw20"), {}),
    # AutoAttack's standard version (arXiv:2003.01690).
    "strong": Suite(("apgd_ce", "apgd_t", "fab_t", "square"), {}),
    # Its version for classifiers whose answers differ from call to call.
    "random": Suite(("apgd_ce", "apgd_dlr"), {}, eot=20),
    "strongest": Suite(("pma", "a3", "square_sample"), {}),
    "paper_white_box": Suite(
        ("fgsm", "pgd10", "pgd20", "pgd100", "cw20", "cw100"), _PAPER, standalone=True
    ),
    "paper_black_box": Suite(
        (
            "transfer_fgsm",
            "transfer_pgd10",
            "transfer_pgd20",
            "transfer_pgd100",
            "transfer_cw20",
            "transfer_cw100",
            "spsa1000",
        ),
        _PAPER,
    ),
}


def runs_standalone(suite: str | None, asked: bool | None) -> bool:
    """Whether every attack sees every image.

    Args:
      suite: name of one of `SUITES`; None where attacks are named instead.
      asked: what was asked for; None to have it as the suite does.
    """
    if asked is not None:
        return asked
    return suite is not None and SUITES[suite].standalone


def averages_over(suite: str | None, asked: int | None) -> int | None:
    """The calls over which gradients are averaged; None where answers are taken not to differ.

    Args:
      suite: name of one of `SUITES`; None where attacks are named instead.
      asked: what was asked for; None to have it as the suite does.
    """
    if asked is not None or suite is None:
        return asked
    return SUITES[suite].eot
