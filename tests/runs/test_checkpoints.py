"""Checkpoints: what is written is whole, what is damaged is named, nothing is lost."""

import numpy as np
import pytest

from fsgan_tf.errors import NonFiniteError, RunError, UserError
from fsgan_tf.runs.checkpoints import Checkpoints, Progress
from tests.small_training import IMAGE_SHAPE, build, build_small

CLASSES = tuple("abcde")


@pytest.fixture(scope="module")
def method():
    return build_small("standard")


def _saved(tmp_path, method, *epochs) -> Checkpoints:
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.folder.mkdir()
    for epoch in epochs:
        checkpoints.save(method, Progress(epoch, 0, CLASSES, IMAGE_SHAPE))
    return checkpoints


def test_newest_two_checkpoints_are_kept_and_the_newest_wins(tmp_path, method):
    checkpoints = _saved(tmp_path, method, 1, 2, 3)
    names = sorted(path.name for path in checkpoints.folder.iterdir())
    assert names == ["SHA256SUMS", "epoch_0002_step_000000.npz", "epoch_0003_step_000000.npz"]
    assert checkpoints.restore(method) == Progress(3, 0, CLASSES, IMAGE_SHAPE)


def test_a_checkpoint_inside_an_epoch_is_newer_than_its_start(tmp_path, method):
    checkpoints = _saved(tmp_path, method, 1)
    checkpoints.save(method, Progress(1, 7, CLASSES, IMAGE_SHAPE))
    assert checkpoints.restore(method).step_in_epoch == 7


def test_epochs_of_any_number_of_digits_are_in_order(tmp_path, method, capsys):
    checkpoints = _saved(tmp_path, method, 9_998, 9_999, 10_000)
    names = sorted(path.name for path in checkpoints.folder.glob("*.npz"))
    assert names == ["epoch_10000_step_000000.npz", "epoch_9999_step_000000.npz"]
    assert checkpoints.restore(method).epoch == 10_000
    assert capsys.readouterr().err == ""


def _truncate(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _flip_a_bit(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 16]) + content[middle + 1 :]


@pytest.mark.parametrize("damage", [_truncate, _flip_a_bit, lambda content: b""])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(tmp_path, method, damage, capsys):
    checkpoints = _saved(tmp_path, method, 1, 2)
    newest = checkpoints.folder / "epoch_0002_step_000000.npz"
    newest.write_bytes(damage(newest.read_bytes()))
    assert checkpoints.restore(method).epoch == 1
    assert str(newest) in capsys.readouterr().err


def test_any_flipped_bit_and_any_truncation_is_found(tmp_path, method):
    """Single bits at random positions, headers and padding included."""
    checkpoints = _saved(tmp_path, method, 1, 2)
    newest = checkpoints.folder / "epoch_0002_step_000000.npz"
    good, random = newest.read_bytes(), np.random.default_rng(0)
    for bit in random.integers(0, 8 * len(good), 40):
        damaged = bytearray(good)
        damaged[bit // 8] ^= 1 << bit % 8
        newest.write_bytes(damaged)
        assert checkpoints.restore(method).epoch == 1, bit
    for size in random.integers(0, len(good), 10):
        newest.write_bytes(good[:size])
        assert checkpoints.restore(method).epoch == 1, size
    newest.write_bytes(good)
    assert checkpoints.restore(method).epoch == 2


def test_a_missing_checkpoint_is_named_and_the_one_before_is_used(tmp_path, method, capsys):
    checkpoints = _saved(tmp_path, method, 1, 2)
    newest = checkpoints.folder / "epoch_0002_step_000000.npz"
    newest.unlink()
    assert checkpoints.restore(method).epoch == 1
    assert f"{newest} is missing" in capsys.readouterr().err
    (checkpoints.folder / "epoch_0001_step_000000.npz").unlink()
    with pytest.raises(UserError, match="no checkpoint in .* is readable"):
        checkpoints.restore(method)


def test_a_checkpoint_from_before_hashes_were_kept_is_read_and_its_arrays_checked(tmp_path, method):
    checkpoints = _saved(tmp_path, method, 1, 2)
    checkpoints.checksums_file.unlink()
    assert checkpoints.restore(method).epoch == 2
    newest = checkpoints.folder / "epoch_0002_step_000000.npz"
    newest.write_bytes(_flip_a_bit(newest.read_bytes()))
    assert checkpoints.restore(method).epoch == 1


def test_a_checkpoint_of_nan_or_infinity_is_never_written(tmp_path):
    method = build_small("standard")
    checkpoints = _saved(tmp_path, method, 1)
    before = sorted(path.name for path in checkpoints.folder.iterdir())
    variable = method.classifier.trainable_variables[0]
    variable.assign(np.full(variable.shape, np.inf))
    with pytest.raises(NonFiniteError, match=variable.path):
        checkpoints.save(method, Progress(2, 0, CLASSES, IMAGE_SHAPE))
    assert sorted(path.name for path in checkpoints.folder.iterdir()) == before


def test_no_readable_checkpoint_is_an_error_not_a_new_start(tmp_path, method):
    checkpoints = _saved(tmp_path, method, 1)
    (checkpoints.folder / "epoch_0001_step_000000.npz").write_bytes(b"not a checkpoint")
    with pytest.raises(UserError, match="no checkpoint in .* is readable"):
        checkpoints.restore(method)


def test_pickles_in_a_checkpoint_are_refused(tmp_path, method):
    checkpoints = _saved(tmp_path, method)
    np.savez(checkpoints.folder / "epoch_0009_step_000000.npz", __progress__=np.array([{}]))
    with pytest.raises(UserError, match="readable"):
        checkpoints.restore(method)


def test_a_failed_write_keeps_the_last_checkpoint_and_leaves_nothing(tmp_path, method, monkeypatch):
    checkpoints = _saved(tmp_path, method, 1)

    def full_disk(file, **arrays):
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full_disk)
    with pytest.raises(RunError, match="No space left on device"):
        checkpoints.save(method, Progress(2, 0, CLASSES, IMAGE_SHAPE))
    names = sorted(path.name for path in checkpoints.folder.iterdir())
    assert names == ["SHA256SUMS", "epoch_0001_step_000000.npz"]


def test_a_checkpoint_of_another_network_is_refused_and_changes_nothing(tmp_path):
    checkpoints = _saved(tmp_path, build("standard"), 1)
    wider = build("standard", classifier_width=2)
    before = [variable.numpy() for variable in wider.classifier.variables]
    with pytest.raises(UserError, match="does not fit"):
        checkpoints.restore(wider)
    for variable, value in zip(wider.classifier.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_the_best_is_kept_beside_the_newest_two_and_read_in_their_place(tmp_path, method, capsys):
    """Epochs count from 0 and checkpoints complete epochs: the second is after epoch 1."""
    checkpoints = _saved(tmp_path, method)
    scores = {0: 0.2, 1: 0.5, 2: 0.5, 3: 0.1, 4: 0.3}
    for epoch in range(5):
        seen = {e: score for e, score in scores.items() if e <= epoch}
        checkpoints.save(method, Progress(epoch + 1, 0, CLASSES, IMAGE_SHAPE), scores=seen)
    names = [f"epoch_000{number}_step_000000.npz" for number in (2, 4, 5)]
    assert sorted(path.name for path in checkpoints.folder.iterdir()) == ["SHA256SUMS", *names]
    assert all(name in checkpoints.checksums_file.read_text() for name in names)
    assert checkpoints.best_epoch(scores) == 1
    assert checkpoints.read_best(scores)[1].epoch == 2
    assert checkpoints.restore(method).epoch == 5
    (checkpoints.folder / names[0]).write_bytes(b"damaged")
    assert checkpoints.read_best(scores)[1].epoch == 5
    assert f"the best checkpoint {checkpoints.folder / names[0]} is damaged" in (
        capsys.readouterr().err
    )
    # What is no more there is no candidate.
    (checkpoints.folder / names[0]).unlink()
    assert checkpoints.best_epoch(scores) == 4
