"""The attacks, one file each; `registry` finds them, `suites` names lists of them.

A file with a `NAME` is an attack:

    NAME: as in `--attacks`; a final N stands for a number of steps, a final ATTACK for another
      attack's name.
    HELP: a phrase for `--help`.
    ACCESS: what it asks of the classifier, see `parts.attack.Access`.
    NORMS: in which it attacks, of `norms.NAMES`; l_inf alone where left out.
    Settings: what of it can be chosen by flags; left out where nothing can.
    make: (Wanted, Settings) to the attacks that the name stands for.

`parts` has what attacks are made of. A file of yours joins them from anywhere on Python's path:
with FOLDER in PYTHONPATH, FOLDER/fsgan_tf/attacks/mine.py is an attack. Listing the attacks imports
no TensorFlow.
"""

from fsgan_tf.settings.registry import extended_path

__path__ = extended_path(__path__, __name__)
