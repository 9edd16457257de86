"""Tables I to IV of the FS-GAN paper: what each measures, and the paper's own figures."""

from __future__ import annotations

from typing import NamedTuple


class Table(NamedTuple):
    """A table of the paper.

    Attributes:
      number: as in the paper, Roman.
      data: stem of its files in configs/.
      attacks: by column of the paper, our name of the attack.
      figures: by method, percentages of clean accuracy and of each column.
      transferred: whether the attacks are made against a copy of the victim, or against itself.
    """

    number: str
    data: str
    attacks: dict[str, str]
    figures: dict[str, tuple[float, ...]]
    transferred: bool = False


TITLES = {
    "fs_gan": "FS-GAN",
    "feature_scatter": "Feature-Scatter",
    "l2l_da": "L2L-DA",
    "l2l": "L2L",
    "pgd_at": "PGD10",
    "standard": "Clean model",
}
_WHITE_BOX = {
    "PGD10": "pgd10",
    "PGD20": "pgd20",
    "PGD100": "pgd100",
    "FGSM": "fgsm",
    "CW20": "cw20",
    "CW100": "cw100",
}
TABLES = {
    1: Table(
        "I",
        "cifar10",
        {
            "PGD10": "transfer_pgd10",
            "PGD20": "transfer_pgd20",
            "PGD100": "transfer_pgd100",
            "FGSM": "transfer_fgsm",
            "SPSA": "spsa1000",
        },
        {
            "fs_gan": (92.99, 92.97, 93.08, 93.08, 93.13, 85.43),
            "feature_scatter": (95.04, 81.60, 81.00, 80.95, 82.35, 79.41),
            "standard": (94.59, 0.09, 0.08, 0.08, 24.34, 7.11),
        },
        transferred=True,
    ),
    2: Table(
        "II",
        "cifar10",
        _WHITE_BOX,
        {
            "fs_gan": (93.73, 70.07, 66.44, 61.34, 79.58, 70.49, 64.97),
            "feature_scatter": (94.90, 69.61, 63.52, 55.66, 84.46, 62.40, 60.06),
            "l2l_da": (80.43, 40.2, 39.13, 38.66, 46.42, 56.86, 39.48),
            "l2l": (86.43, 30.27, 25.74, 22.49, 63.54, 49.90, 24.27),
            "pgd_at": (84.82, 47.37, 45.98, 45.52, 55.51, 45.70, 47.42),
        },
    ),
    3: Table(
        "III",
        "svhn",
        _WHITE_BOX,
        {
            "fs_gan": (96.37, 70.69, 64.98, 56.78, 82.26, 66.94, 55.30),
            "feature_scatter": (96.46, 70.01, 61.76, 51.27, 85.79, 61.4, 50.38),
            "l2l_da": (91.50, 50.54, 48.60, 47.86, 60.73, 66.06, 44.81),
            "l2l": (94.07, 27.92, 19.17, 12.03, 83.30, 59.63, 18.11),
            "pgd_at": (92.78, 48.77, 47.91, 46.89, 68.27, 48.70, 47.28),
        },
    ),
    4: Table(
        "IV",
        "cifar100",
        _WHITE_BOX,
        {
            "fs_gan": (74.28, 45.65, 45.05, 44.38, 51.09, 39.01, 29.43),
            "feature_scatter": (75.66, 44.25, 43.20, 41.32, 58.00, 34.00, 27.05),
            "l2l_da": (53.89, 20.20, 19.56, 19.28, 23.14, 29.48, 19.13),
            "l2l": (61.63, 19.60, 17.74, 16.44, 35.99, 32.65, 17.92),
            "pgd_at": (60.40, 24.82, 23.88, 23.53, 29.14, 23.20, 23.00),
        },
    ),
}
