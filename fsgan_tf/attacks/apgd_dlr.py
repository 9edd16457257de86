"""APGD on the DLR loss, without a target: half of AutoAttack's version for random classifiers.

Source: Croce and Hein 2020 (arXiv:2003.01690); `version='rand'` in `autoattack/autoattack.py` of
fra31/auto-attack at a392200 runs this and APGD on the cross-entropy, once each, with every gradient
averaged over 20 calls.

Deviations of `--suite=random`, which runs the two, from that version:
- Theirs compares losses, to choose the step size and the best iterate, by the last of the 20 calls;
  ours by the mean over all of them.
- Theirs counts an iterate as fooling where that one call errs, and no call judges it anew. Ours
  ends an attack only where all calls err, at least 10, and majorities of fresh calls judge the
  image that it returns (`evaluation.repeated_calls`).
- In l_1 this is the climb of `apgd_ce`, through larger balls, which theirs leaves out, and
  `apgd_ce` keeps the 5 restarts of the standard version.
"""

from fsgan_tf.attacks.parts.attack import Attack, Wanted
from fsgan_tf.attacks.parts.auto_pgd import AutoPGD
from fsgan_tf.settings import Settings

NAME = "apgd_dlr"
HELP = "AutoAttack's APGD on the lead relative to the logits' spread"
ACCESS = "gradients"
NORMS = ("linf", "l2", "l1")


def make(wanted: Wanted, settings: Settings) -> list[Attack]:
    """See `fsgan_tf.attacks`."""
    del settings  # There are none.
    return [AutoPGD(wanted.name, loss="dlr", num_steps=100, restarts=1)]
