"""`python -m fsgan_tf` lists the commands."""

import fsgan_tf
from fsgan_tf.cli import runner

_COMMANDS = """\
FS-GAN and its baselines: robust image classifiers ({version}).

  python -m fsgan_tf.train      trains a classifier              (also fsgan-train)
  python -m fsgan_tf.evaluate   measures how robust one is       (also fsgan-evaluate)
  python -m fsgan_tf.export     writes a SavedModel or LiteRT    (also fsgan-export)
  python -m fsgan_tf.predict    says what is in image files      (also fsgan-predict)

Each explains its flags with --help. What they write is watched with tensorboard --logdir=runs."""

if __name__ == "__main__":
    with runner.reader_may_leave():
        print(_COMMANDS.format(version=fsgan_tf.__version__))
