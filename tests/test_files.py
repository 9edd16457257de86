"""Folders with one writer, and hashes of files."""

import hashlib
import os
from pathlib import Path

import pytest

from fsgan_tf.errors import UserError
from fsgan_tf.files import (
    files_sha256,
    printable,
    require_outside,
    sole_writer,
    written_sha256,
)


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("föld er/a'1.png", "föld er/a'1.png"),
        ("a\n\x1b[2Jfake.png", r"a\n\x1b[2Jfake.png"),
        ("a\u202egnp.exe\x9b2J\x7f", r"a\u202egnp.exe\x9b2J\x7f"),
        (os.fsdecode(b"caf\xe9"), "caf\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_a_printable_path_is_one_line_that_steers_nothing(path, shown):
    assert printable(path) == printable(Path(path)) == shown


@pytest.mark.parametrize(
    ("activity", "flag"), [("training", "run_dir"), ("evaluation", "output_dir")]
)
def test_a_second_writer_is_told_who_the_first_is_and_may_come_after_it(tmp_path, activity, flag):
    folder = tmp_path / "a" / "b"
    with sole_writer(folder, activity=activity, flag=flag):
        with (
            pytest.raises(UserError) as refused,
            sole_writer(folder, activity=activity, flag=flag),
        ):
            pass
        for words in (
            f"another {activity} writes to {folder} (process {os.getpid()} on ",
            f"give another --{flag}",
        ):
            assert words in str(refused.value)
    with sole_writer(folder, activity=activity, flag=flag):
        pass


def test_the_lock_is_free_again_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), sole_writer(tmp_path, activity="training", flag="a"):
        raise ZeroDivisionError
    with sole_writer(tmp_path, activity="training", flag="a"):
        pass


def test_the_lock_holds_where_its_note_cannot_be_written(tmp_path, monkeypatch):
    def full_disk(descriptor, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full_disk)
    writer = {"activity": "training", "flag": "run_dir"}
    with sole_writer(tmp_path, **writer):
        refused = pytest.raises(UserError, match="another training writes to")
        with refused, sole_writer(tmp_path, **writer):
            pass


@pytest.mark.parametrize("blocker", ["file/below", "taken"])
def test_a_folder_that_cannot_be_made_or_written_names_the_flag(tmp_path, blocker):
    (tmp_path / "file").touch()
    (tmp_path / "taken" / ".lock").mkdir(parents=True)
    refused = pytest.raises(UserError, match="cannot .* the folder .* choose another with --out")
    with refused, sole_writer(tmp_path / blocker, activity="evaluation", flag="out"):
        pass


def test_hashes_are_of_the_contents_one_after_the_other(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_bytes(b"x" * (2**20 + 1))
    second.write_bytes(b"y")
    whole = hashlib.sha256(b"x" * (2**20 + 1) + b"y").hexdigest()
    assert files_sha256([first, second]) == whole
    assert files_sha256([second, first]) != whole


def test_a_file_in_writing_is_hashed_whole_and_goes_on_at_its_end(tmp_path):
    with (tmp_path / "a").open("w+b") as file:
        file.write(b"abc")
        assert written_sha256(file) == hashlib.sha256(b"abc").hexdigest()
        file.write(b"d")
    assert (tmp_path / "a").read_bytes() == b"abcd"


def test_nothing_is_written_among_images(tmp_path):
    (tmp_path / "images" / "cat").mkdir(parents=True)
    images = str(tmp_path / "images")
    for folder in (images, f"{images}/run", f"{images}/cat/../run"):
        with pytest.raises(UserError, match="lies in the folder of images"):
            require_outside(folder, images, "run_dir")
    for folder, data in ((tmp_path / "runs", images), (tmp_path, images), (images, "digits")):
        require_outside(folder, data, "run_dir")
