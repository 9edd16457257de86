"""APGD on the targeted DLR loss, as AutoAttack runs it: at the 9 likeliest wrong classes.

In l_1 its standard version has 5 targets.
"""

from fsgan_tf.attacks.parts.attack import Attack, Wanted
from fsgan_tf.attacks.parts.auto_pgd import AutoPGD
from fsgan_tf.settings import Settings

NAME = "apgd_t"
HELP = "AutoAttack's APGD at the 9 likeliest wrong classes"
ACCESS = "gradients"
NORMS = ("linf", "l2", "l1")


def make(wanted: Wanted, settings: Settings) -> list[Attack]:
    """See `fsgan_tf.attacks`."""
    del settings  # There are none.
    targets = 5 if wanted.norm == "l1" else 9
    return [AutoPGD(wanted.name, loss="targeted_dlr", num_steps=100, restarts=targets)]
