"""APGD on the cross-entropy, as AutoAttack runs it (Croce and Hein 2020, arXiv:2003.01690).

In l_1 its standard version has 5 restarts.
"""

from fsgan_tf.attacks.parts.attack import Attack, Wanted
from fsgan_tf.attacks.parts.auto_pgd import AutoPGD
from fsgan_tf.settings import Settings

NAME = "apgd_ce"
HELP = "AutoAttack's APGD on the cross-entropy"
ACCESS = "gradients"
NORMS = ("linf", "l2", "l1")


def make(wanted: Wanted, settings: Settings) -> list[Attack]:
    """See `fsgan_tf.attacks`."""
    del settings  # There are none.
    restarts = 5 if wanted.norm == "l1" else 1
    return [AutoPGD(wanted.name, loss="cross_entropy", num_steps=100, restarts=restarts)]
