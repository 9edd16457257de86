"""APGD on the cross-entropy, as AutoAttack runs it (Croce and Hein 2020, arXiv:2003.01690)."""

from fsgan_tf.attacks.parts.attack import Attack, Wanted
from fsgan_tf.attacks.parts.auto_pgd import AutoPGD
from fsgan_tf.settings import Settings

NAME = "apgd_ce"
HELP = "AutoAttack's APGD on the cross-entropy"
ACCESS = "gradients"


def make(wanted: Wanted, settings: Settings) -> list[Attack]:
    """See `fsgan_tf.attacks`."""
    del settings  # There are none.
    return [AutoPGD(wanted.name, loss="cross_entropy", num_steps=100, restarts=1)]
