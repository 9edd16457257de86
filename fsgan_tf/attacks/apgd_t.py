"""APGD on the targeted DLR loss, as AutoAttack runs it: at the 9 likeliest wrong classes."""

from fsgan_tf.attacks.parts.attack import Attack, Wanted
from fsgan_tf.attacks.parts.auto_pgd import AutoPGD
from fsgan_tf.settings import Settings

NAME = "apgd_t"
HELP = "AutoAttack's APGD at the 9 likeliest wrong classes"
ACCESS = "gradients"


def make(wanted: Wanted, settings: Settings) -> list[Attack]:
    """See `fsgan_tf.attacks`."""
    del settings  # There are none.
    return [AutoPGD(wanted.name, loss="targeted_dlr", num_steps=100, restarts=9)]
