"""FGSM: one step of length epsilon from the image (Goodfellow et al. 2015, arXiv:1412.6572).

The FS-GAN paper cites this source and names no start. Feature-Scatter's code, from which some of
its tables' numbers come, starts at random within the ball; the original has no random start.

In l_2 and l_1 this is one step of PGD's, of length epsilon too; in l_2 it is also called FGM.
"""

from fsgan_tf.attacks.parts.attack import Attack, Wanted
from fsgan_tf.attacks.parts.projected_gradient import ProjectedGradient
from fsgan_tf.settings import Settings

NAME = "fgsm"
HELP = "one step up the cross-entropy from the image itself, without a random start"
ACCESS = "gradients"
NORMS = ("linf", "l2", "l1")


def make(wanted: Wanted, settings: Settings) -> list[Attack]:
    """See `fsgan_tf.attacks`."""
    del settings  # There are none.
    return [
        ProjectedGradient(
            wanted.name,
            loss="cross_entropy",
            num_steps=1,
            step_size=wanted.epsilon,
            random_start=False,
            restarts=1,
        )
    ]
