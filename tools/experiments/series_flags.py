"""Flags that every series of trainings has."""

from __future__ import annotations

from absl import flags

from fsgan_tf.evaluation.settings import CHECKS


def define(
    *, runs: str, scale: str, data: str = "data", runs_help: str = "Folder for the runs."
) -> flags.FlagValues:
    """The data, the folder, the scale and the seeds of a series; its own flags come on top.

    Args:
      runs: default folder.
      scale: default training flags.
      data: what the data folder holds, for the help.
      runs_help: what `--runs` takes.
    """
    values = flags.FlagValues()
    flags.DEFINE_string("data_dir", None, f"Folder of TFDS {data}.", flag_values=values)
    flags.DEFINE_string("runs", runs, runs_help, flag_values=values)
    flags.DEFINE_string(
        "scale", scale, "Training flags of every run, to train less.", flag_values=values
    )
    flags.DEFINE_list("seeds", ["0"], "Seeds to train with.", flag_values=values)
    flags.register_validator(
        "seeds",
        lambda seeds: (
            bool(seeds)
            and all(seed.isdecimal() for seed in seeds)
            and len(set(map(int, seeds))) == len(seeds)
        ),
        "must be different whole numbers separated by commas, such as 0,1,2",
        flag_values=values,
    )
    return values


def define_checks(values: flags.FlagValues, default: str = "fast") -> None:
    """How much an evaluation checks after its attacks; `fast` costs no attack."""
    flags.DEFINE_enum(
        "checks",
        default,
        CHECKS,
        "Checks of every evaluation, as of fsgan_tf.evaluate.",
        flag_values=values,
    )


def checks_in_name(values: flags.FlagValues) -> str:
    """What `--checks` adds to the name of a measurement's folder: nothing by default."""
    return "" if values.checks == values["checks"].default else f"{values.checks}_checks"


def data(values: flags.FlagValues) -> list[str]:
    """`--data_dir` for a command of the package, where it was given."""
    return [f"--data_dir={values.data_dir}"] if values.data_dir else []
