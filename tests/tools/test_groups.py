"""Runs made anywhere become rows of one table, if they are of one scale."""

import json

import pytest
from experiments import groups

from fsgan_tf.cli import training_flags
from fsgan_tf.errors import UserError
from fsgan_tf.runs.directory import RunDirectory

ROW = {"step": 10, "images_per_second": 100.0}


@pytest.fixture
def made(tmp_path):
    """Makes run directories that look finished."""

    def make(name, *flags, epochs_done=None):
        run = RunDirectory(tmp_path / name)
        values = training_flags.parse(["--epochs=2", *flags, f"--run_dir={run.path}"])
        run.prepare(values)
        for epoch in range(epochs_done or values.training.epochs):
            run.metrics.append({"epoch": epoch, **ROW})
        run.saved_model.mkdir()
        return groups.read(run.path)

    return make


def test_seeds_share_a_row_and_settings_make_rows_of_their_own(made):
    runs = [
        made("a", "--method=pgd_at"),
        made("b", "--method=pgd_at", "--seed=1", "--eval_examples=0", "--data_dir=elsewhere"),
        made("c", "--method=pgd_at", "--ema_decay=0.9995"),
        made("d", "--method=standard"),
        made("e", "--method=l2l_da", "--init_from=runs/a"),
        made("f", "--method=l2l_da", "--init_from=runs/b", "--seed=1"),
    ]
    groups.require_one_scale(runs)
    rows = groups.labelled(runs)
    assert {name: [run.path.name for run in row] for name, row in rows.items()} == {
        "pgd_at --ema_decay=0.0": ["a", "b"],
        "pgd_at --ema_decay=0.9995": ["c"],
        "standard": ["d"],
        "l2l_da": ["e", "f"],
    }


def test_what_the_machine_chose_and_packaged_starts_make_rows(made):
    runs = [
        made("a", "--method=standard"),
        made("b", "--method=standard", "--seed=1"),
        made("c", "--method=standard"),
        made("d", "--method=standard", "--init_from=digits_fs_gan"),
        made("e", "--method=standard", "--init_from=runs/a"),
    ]
    starts = [
        {"replicas": 1, "precision": "float32"},
        {"replicas": 1, "precision": "mixed_bfloat16"},
        {"replicas": 2, "precision": "float32"},
        *[{"replicas": 1, "precision": "float32"}] * 2,
    ]
    for run, start in zip(runs, starts, strict=True):
        RunDirectory(run.path).starts_file.write_text(f"{json.dumps(start)}\n")
    runs = [groups.read(run.path) for run in runs]
    groups.require_one_scale(runs)
    rows = groups.labelled(runs)
    assert [run.path.name for (run,) in rows.values()] == list("abcde")
    names = list(rows)
    assert names[0] == "standard no --init_from --precision=float32 (replicas: 1)"
    assert "--precision=mixed_bfloat16" in names[1]
    assert "(replicas: 2)" in names[2]
    assert "--init_from=digits_fs_gan" in names[3]
    assert "--init_from=..." in names[4]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--epochs=1"], ["--epochs=2", "--epochs=1"]),
        (["--train_examples=100"], ["no --train_examples", "--train_examples=100"]),
        (["--classifier_width=2"], ["--classifier_width=1", "--classifier_width=2"]),
        (["--epsilon=8/255"], ["--epsilon=13/255", "--epsilon=8/255"]),
        ([], ["same training", "seed 0"]),
    ],
)
def test_runs_of_another_scale_and_one_twice_are_refused_in_one_line(made, flags, words):
    runs = [made("a", "--method=standard"), made("b", "--method=standard", *flags)]
    with pytest.raises(UserError) as caught:
        groups.require_one_scale(runs)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in [*words, str(runs[0].path), str(runs[1].path)])


def test_a_training_that_has_not_ended_is_refused(made):
    with pytest.raises(UserError, match="has not ended; python -m fsgan_tf.train --run_dir="):
        made("a", "--method=standard", epochs_done=1)
