"""Flag files as people write them."""

import pytest

from fsgan_tf import evaluate, train
from fsgan_tf.cli import training_flags
from tests.commands import call


def _never(values, words):
    raise AssertionError("the command must not start")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('--run_dir="runs/mine"', ["--run_dir", "quotes"]),
        ("--run_dir='runs/mine'", ["--run_dir", "quotes"]),
        ('--run_dir="runs/mine"  # my first run', ["--run_dir", "comment"]),
        ("--epochs=3 # few", ["--epochs", "comment"]),
        ("--epochs=3 // few", ["--epochs", "comment"]),
        ("--dry_run  # only look", ["--dry_run", "comment"]),
    ],
)
def test_quotes_and_comments_after_a_value_are_refused_by_file_and_line(
    line, words, tmp_path, capsys
):
    file = tmp_path / "my.flags"
    file.write_text(f"# mine\n\n{line}\n--seed=1\n")
    for command in (train, evaluate):
        assert call(command, f"--flagfile={file}", main=_never) == 2
        (told,) = capsys.readouterr().err.strip().splitlines()
        assert all(word in told for word in [f"{file}, line 3", *words]), told


def test_what_only_looks_like_it_is_a_value(tmp_path):
    file = tmp_path / "my.flags"
    file.write_text("  # indented\n--run_dir=runs/bob's#1\n--dataset=http://x\n", "utf-8")
    configured = training_flags.parse([f"--flagfile={file}"])
    assert configured.training.run_dir == "runs/bob's#1"
    assert configured.data.dataset == "http://x"


def test_a_byte_order_mark_is_skipped(tmp_path):
    file = tmp_path / "my.flags"
    for text in ("--epochs=3\n", "# few\n--epochs=3\n"):
        file.write_text(text, "utf-8-sig")
        assert training_flags.parse([f"--flagfile={file}"]).training.epochs == 3


def test_a_flag_file_may_name_others_but_not_itself(tmp_path, capsys):
    inner, outer = tmp_path / "inner.flags", tmp_path / "outer.flags"
    inner.write_text("--epochs=3\n--seed=1\n")
    outer.write_text(f"--flagfile={inner}\n--seed=2\n")
    configured = training_flags.parse([f"--flagfile={outer}"])
    assert (configured.training.epochs, configured.training.seed) == (3, 2)
    inner.write_text(f"--flagfile={outer}\n")
    assert call(train, f"--flagfile={outer}", main=_never) == 2
    assert "names itself" in capsys.readouterr().err


def test_a_flag_file_that_is_no_text_is_named(tmp_path, capsys):
    file = tmp_path / "my.flags"
    file.write_bytes(b"--epochs=\xff\n")
    for path in (file, tmp_path / "none", tmp_path):
        assert call(train, f"--flagfile={path}", main=_never) == 2
        assert str(path) in capsys.readouterr().err
