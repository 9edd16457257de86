"""Trains a robust image classifier, measures it and exports it.

    python -m fsgan_tf.train --flagfile=configs/svhn.flags [--run_dir=runs/NAME] [flags]

The last value given for a flag wins, so flags after --flagfile override it. Run again with the
same --run_dir, it resumes where it stopped.
"""

import os
import sys

from absl import flags

from fsgan_tf.cli import quiet, runner, training_flags


def main(flag_values: flags.FlagValues, words: list[str]) -> None:
    """Trains, or says what that would cost; see `fsgan_tf.training.loop.train`.

    TensorFlow is imported once the flags are known to be good.

    Args:
      flag_values: as made by `training_flags.training_flags`.
      words: none are taken.
    """
    del words
    configuration = training_flags.configuration(flag_values)
    notes = training_flags.notes(flag_values, configuration)
    quiet.start_tensorflow()
    from fsgan_tf.training import dry_run, loop
    from fsgan_tf.training.stop_request import StopRequest

    if configuration.training.dry_run:
        dry_run.print_plan(configuration, notes)
        return
    with StopRequest() as stop:
        loop.train(configuration, stop, notes)


def run() -> int:
    """Runs the command of the process's own command line, and returns its exit code.

    After a failure the process ends here.
    """
    code = runner.run(
        main,
        training_flags.training_flags(),
        description=__doc__ or "",
        help_text=training_flags.help_text,
    )
    if code:
        # Threads that still read images in Python could make a normal end wait for ever.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


if __name__ == "__main__":
    sys.exit(run())
