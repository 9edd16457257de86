"""The commit that figures are recorded with."""

import subprocess

import pytest

import fsgan_tf
from fsgan_tf.reporting import manifest


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package's place in a folder of its own; its commit is not known yet."""
    (tmp_path / "fsgan_tf").mkdir()
    monkeypatch.setattr(fsgan_tf, "__file__", str(tmp_path / "fsgan_tf" / "__init__.py"))
    manifest.commit.cache_clear()
    yield tmp_path
    manifest.commit.cache_clear()


def _git(folder, *words: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    command = ["git", "-C", str(folder), *who, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize(
    "left_out",
    [
        "--attacks=pgd20 --restarts=5",
        "--attacks fgsm,pgd20 --restarts 5",
        "-attacks pgd20 -restarts=5",
        "--suite quick",
    ],
)
def test_the_command_of_another_suite_leaves_out_what_it_does_not_read(left_out):
    given = f"python -m fsgan_tf.evaluate --run_dir runs/a {left_out} --seed 2"
    found = manifest.Manifest("runs/a", "digits", command=given).command_with_suite("strong")
    assert found == "python -m fsgan_tf.evaluate --run_dir runs/a --seed 2 --suite=strong"


def test_an_installed_package_knows_no_commit(package):
    assert manifest.commit() is None
    assert "commit" not in manifest.versions()


def test_a_clone_says_its_commit_and_whether_files_differ(package):
    file = package / "fsgan_tf" / "a.py"
    file.write_text("one")
    _git(package, "init", "-q")
    _git(package, "add", ".")
    _git(package, "commit", "-q", "-m", "one")
    short = _git(package, "rev-parse", "--short", "HEAD")
    assert manifest.versions()["commit"] == short
    file.write_text("two")
    assert manifest.commit() == short  # As it was when first asked.
    manifest.commit.cache_clear()
    assert manifest.commit() == f"{short}-dirty"
