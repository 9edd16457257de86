"""The way from the command to the algorithm is short."""

import traceback
from pathlib import Path

from fsgan_tf import train
from fsgan_tf.methods.standard import Standard
from tests.commands import call

PACKAGE = Path(train.__file__).parent
FRAMES = 6


def test_from_the_command_to_a_step_it_is_a_handful_of_frames(tmp_path, monkeypatch):
    """The stack when a step is traced, which leads through the same functions of ours as a run."""
    stacks, step = [], Standard.train_step

    def train_step(self, data):
        stacks.append(traceback.extract_stack())
        return step(self, data)

    monkeypatch.setattr(Standard, "train_step", train_step)
    arguments = ["--train_examples=16", "--batch_size=16", "--epochs=1", "--eval_examples=0"]
    arguments += ["--precision=float32", "--validation_examples=1", "--method=standard"]
    assert call(train, *arguments, f"--run_dir={tmp_path / 'run'}") == 0
    for stack in stacks:
        ours = [
            f"{Path(frame.filename).relative_to(PACKAGE)}:{frame.name}"
            for frame in stack
            if Path(frame.filename).is_relative_to(PACKAGE)
        ]
        ours = [*ours[ours.index("train.py:main") :], "methods/standard.py:train_step"]
        assert ours[:2] == ["train.py:main", "training/loop.py:train"]
        assert len(ours) <= FRAMES, ours


def test_the_method_is_told_how_many_steps_the_whole_training_has(tmp_path, monkeypatch):
    told, step = [], Standard.train_step

    def train_step(self, data):
        told.append(self.total_steps)
        return step(self, data)

    monkeypatch.setattr(Standard, "train_step", train_step)
    arguments = ["--train_examples=32", "--batch_size=16", "--epochs=2", "--eval_examples=0"]
    arguments += ["--precision=float32", "--validation_examples=1", "--method=standard"]
    assert call(train, *arguments, f"--run_dir={tmp_path / 'run'}") == 0
    assert set(told) == {2 * 2}
