"""The run directory: its lock and its recorded flags."""

import sys

import pytest

from fsgan_tf.cli import training_flags
from fsgan_tf.errors import UserError
from fsgan_tf.runs.directory import RunDirectory
from tests.commands import Process


def _values(*arguments):
    return training_flags.parse(["--method=standard", *arguments])


_HOLD = """
import sys, time
from fsgan_tf.runs.directory import RunDirectory
with RunDirectory(sys.argv[1]).lock():
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.slow
def test_a_second_training_is_refused_until_the_first_is_dead(tmp_path):
    run = RunDirectory(tmp_path / "run")
    with Process(sys.executable, "-c", _HOLD, run.path) as holder:
        holder.wait_until(lambda: "held\n" in holder.output)
        number = holder.process.pid
        refusal = pytest.raises(UserError, match=f"process {number} on .*--run_dir")
        with refusal, run.lock():
            pass
    with run.lock():
        pass
    with run.lock():
        pass


def test_other_flags_are_refused_by_name(tmp_path):
    run = RunDirectory(tmp_path / "run")
    run.prepare(_values("--epochs=3"))
    with pytest.raises(UserError, match="--momentum was 0.9 and is now 0.5"):
        run.prepare(_values("--epochs=3", "--momentum=0.5"))
    run.prepare(_values("--epochs=4"))
    assert run.read_configuration().training.epochs == 4


def test_flags_file_is_itself_a_flagfile(tmp_path):
    run = RunDirectory(tmp_path / "run")
    run.prepare(_values("--epsilon=8/255"))
    assert _values(f"--flagfile={run.flags_file}").training.epsilon == 8 / 255


def test_a_run_directory_that_is_a_file_is_a_user_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot make the folder .*--run_dir"):
        RunDirectory(tmp_path / "file" / "run").prepare(_values())


def test_a_schedule_over_the_whole_length_fixes_the_length(tmp_path):
    run = RunDirectory(tmp_path / "run")
    run.prepare(_values("--epochs=3", "--schedule=cosine"))
    with pytest.raises(UserError, match="--epochs was 3 and is now 4"):
        run.prepare(_values("--epochs=4", "--schedule=cosine"))


def test_a_consistency_that_rises_over_the_whole_length_fixes_it(tmp_path):
    rising = ["--method=single_step_consistency"]
    run = RunDirectory(tmp_path / "run")
    run.prepare(_values("--epochs=3", *rising))
    with pytest.raises(UserError, match="--epochs was 3 and is now 4"):
        run.prepare(_values("--epochs=4", *rising))
    fixed = RunDirectory(tmp_path / "fixed")
    fixed.prepare(_values("--epochs=3", "--consistency_ramp_steps=9", *rising))
    fixed.prepare(_values("--epochs=4", "--consistency_ramp_steps=9", *rising))


def _with_a_checkpoint(run):
    run.prepare(_values("--epochs=3"))
    (run.checkpoints.folder / "epoch_0002_step_000000.npz").touch()
    return run


def test_checkpoints_whose_flags_are_gone_are_not_trained_on(tmp_path):
    run = _with_a_checkpoint(RunDirectory(tmp_path / "run"))
    run.flags_file.unlink()
    with pytest.raises(UserError, match=r"flags.txt is missing.*starts.jsonl has the command"):
        run.prepare(_values("--epochs=3"))
    assert not run.flags_file.exists()


def test_epochs_without_a_checkpoint_are_not_trained_anew(tmp_path):
    run = RunDirectory(tmp_path / "run")
    run.prepare(_values("--epochs=3"))
    run.metrics.append({"epoch": 0, "step": 4, "images_per_second": 9.0})
    with pytest.raises(UserError, match="epochs in metrics.jsonl and no checkpoint to resume from"):
        run.prepare(_values("--epochs=3"))


def test_fewer_epochs_than_are_done_hide_no_other_difference(tmp_path):
    run = _with_a_checkpoint(RunDirectory(tmp_path / "run"))
    with pytest.raises(UserError, match="has trained for 2 epochs, which --epochs=1"):
        run.prepare(_values("--epochs=1"))
    with pytest.raises(UserError, match="--momentum was 0.9 and is now 0.5"):
        run.prepare(_values("--epochs=1", "--momentum=0.5"))
