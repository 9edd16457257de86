"""The run directory: where each file of one training is, its lock and its flags."""

from __future__ import annotations

import contextlib
from pathlib import Path

from fsgan_tf.errors import UserError
from fsgan_tf.files import make_folder, sole_writer, write_atomically
from fsgan_tf.runs.checkpoints import Checkpoints
from fsgan_tf.runs.configuration import CHANGEABLE, TrainingConfiguration
from fsgan_tf.runs.metrics import Metrics


class RunDirectory:
    """One run directory.

    Attributes:
      path: the folder.
      flags_file: every flag of the training, itself a flagfile.
      architecture_file: a copy of the Keras file that `--architecture` named.
      metrics: `metrics.jsonl`, an object an epoch.
      starts_file: `starts.jsonl`, an object for each start of the training: when, from where, by
        which command and commit, on which machine.
      checkpoints: the folder of the newest checkpoints.
      tensorboard: folder of event files.
      saved_model: folder of the exported classifier.
      evaluation: folder of results.json and the reports.
    """

    def __init__(self, path: str | Path):
        """Names the directory; `prepare` makes it."""
        self.path = Path(path)
        self.flags_file = self.path / "flags.txt"
        self.architecture_file = self.path / "architecture.keras"
        self.metrics = Metrics(self.path / "metrics.jsonl")
        self.starts_file = self.path / "starts.jsonl"
        self.checkpoints = Checkpoints(self.path / "checkpoints")
        self.tensorboard = self.path / "tensorboard"
        self.saved_model = self.path / "saved_model"
        self.evaluation = self.path / "evaluation"

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """Makes the directory and keeps other trainings out of it until the block ends.

        Raises:
          UserError: where the directory cannot be made, or another process trains in it.
        """
        return sole_writer(self.path, activity="training", flag="run_dir")

    def prepare(self, configuration: TrainingConfiguration) -> None:
        """Makes the directory and records the flags, or checks them against the recorded ones.

        Raises:
          UserError: where the directory cannot be written, or `require_same_run` refuses it.
        """
        self.require_same_run(configuration)
        make_folder(self.checkpoints.folder, "run_dir")
        write_atomically(self.flags_file, configuration.to_flags().encode())
        own = self.architecture(configuration)
        if own.endswith(".keras") and own != str(self.architecture_file):
            write_atomically(self.architecture_file, Path(own).read_bytes())

    def architecture(self, configuration: TrainingConfiguration) -> str:
        """The name of the network to build: the run's copy, where it is a user's file."""
        name = configuration.training.architecture
        is_copied = name.endswith(".keras") and self.architecture_file.is_file()
        return str(self.architecture_file) if is_copied else name

    def read_configuration(self) -> TrainingConfiguration:
        """The recorded settings.

        Raises:
          UserError: where there are none, or they are not this package's.
        """
        if not self.flags_file.is_file():
            raise UserError(
                f"{self.path} is not a run directory: it has no flags.txt; give the --run_dir of a "
                "training"
            )
        try:
            return TrainingConfiguration.from_flag_file(self.flags_file.read_text("utf-8"))
        except (UserError, OSError, ValueError) as error:
            raise UserError(f"cannot read {self.flags_file}: {error}") from error

    def require_same_run(self, configuration: TrainingConfiguration) -> None:
        """Looks at what is there before a training starts in it, or goes on.

        Raises:
          UserError: it is a training of other flags, or a part of it is gone or damaged.
        """
        if self.flags_file.exists():
            self.refuse_other_flags(configuration)
        elif self.checkpoints.exist():
            raise UserError(
                f"{self.flags_file} is missing, so that nothing says with which flags the "
                f"checkpoints beside it were trained; put it back ({self.starts_file.name} has "
                "the command), or give another --run_dir"
            )
        if self.metrics.read() and not self.checkpoints.exist():
            raise UserError(
                f"{self.path} holds epochs in {self.metrics.file.name} and no checkpoint to resume "
                f"from in {self.checkpoints.folder}; put the checkpoints back, or give another "
                "--run_dir to start again"
            )

    def refuse_other_flags(self, configuration: TrainingConfiguration) -> None:
        """Compares the settings with the recorded ones.

        Raises:
          UserError: where one differs that changes the training.
        """
        recorded, asked = self.read_configuration().values(), configuration.values()
        # Whatever is spread over the whole training would change shape if its length did: every
        # schedule but steps, and a consistency weight that rises to the last step.
        rises = "consistency_ramp_steps" in recorded and not recorded["consistency_ramp_steps"]
        fixed = ("epochs",) if rises or recorded["schedule"] != "steps" else ()
        changeable = set(CHANGEABLE) - set(fixed)
        differences = [
            f"--{name} was {recorded.get(name)} and is now {asked[name]}"
            for name in sorted(asked)
            if name not in changeable and recorded.get(name) != asked[name]
        ]
        if differences:
            raise UserError(
                f"{self.path} holds a run of other flags: {'; '.join(differences)}; give --run_dir "
                "alone or the same flags to resume it, or another --run_dir"
            )
        if asked["epochs"] < self.checkpoints.epochs_done:
            raise UserError(
                f"{self.path} has trained for {self.checkpoints.epochs_done} epochs, which "
                f"--epochs={asked['epochs']} does not take back; give as many or more"
            )
