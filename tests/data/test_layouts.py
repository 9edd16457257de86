"""Folders as people have them: which images are read for what, and what the split is called."""

import pytest

from fsgan_tf.data import loading
from fsgan_tf.data.batches import training_batches
from fsgan_tf.errors import UserError
from tests.data.test_image_folder import class_folders


def names(root, **folders):
    """Folders of class folders by name, each with so many images a class."""
    for name, count in folders.items():
        class_folders(root / name, count)
    return str(root)


@pytest.mark.parametrize(
    ("folders", "counts", "test_name"),
    [
        ({"train": 10, "test": 3}, (18, 2, 6), "test"),
        ({"train": 10, "val": 3}, (18, 2, 6), "val"),
        ({"Train": 10, "Test": 3}, (18, 2, 6), "Test"),
        ({"TRAIN": 10, "Valid": 3}, (18, 2, 6), "Valid"),
        ({"train": 10, "validation": 2, "test": 3}, (20, 4, 6), "test"),
        ({"train": 10}, (15, 1, 4), "test"),
    ],
)
def test_split_folders_of_any_name_are_used_as_they_are(tmp_path, folders, counts, test_name):
    dataset = loading.load(names(tmp_path, **folders))
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == counts
    assert dataset.test.name == test_name
    assert dataset.class_names == ("cat", "dog")


@pytest.mark.parametrize(("folder", "split"), [("test", "test"), ("val", "val")])
def test_test_images_alone_are_evaluated_and_not_trained_on(tmp_path, folder, split):
    read, _ = loading.load_split(names(tmp_path, **{folder: 3}))
    assert (len(read), read.name) == (6, split)
    with pytest.raises(UserError, match=f"no training split, only {split}"):
        loading.load(str(tmp_path))


def test_evaluation_takes_every_image_of_class_folders(tmp_path, capsys):
    read, _ = loading.load_split(str(class_folders(tmp_path, 30)))
    assert (len(read), read.name) == (60, "all")
    assert "all 60 images are evaluated" in capsys.readouterr().err
    held_out, _ = loading.load_split(str(tmp_path), trained_on=True)
    assert (len(held_out), held_out.name) == (12, "test")
    asked, _ = loading.load_split(str(tmp_path), "test")
    assert asked.sha256() == held_out.sha256()
    assert capsys.readouterr().err == ""


def test_evaluation_takes_the_test_folder_and_no_fifth_of_it(tmp_path):
    names(tmp_path, train=10, test=6)
    assert len(loading.load_split(str(tmp_path))[0]) == 12
    assert len(loading.load_split(str(tmp_path / "test"))[0]) == 12


@pytest.mark.parametrize("split", ["validation", "train", "all", "extra"])
def test_a_split_by_name(tmp_path, split):
    folder = names(tmp_path, train=10, test=3)
    if split in ("all", "extra"):
        with pytest.raises(UserError, match=f"no split '{split}'; it has train, test"):
            loading.load_split(folder, split)
    else:
        read, _ = loading.load_split(folder, split)
        assert (len(read), read.name) == {"validation": (2, split), "train": (20, split)}[split]


def test_one_folder_inside_is_entered_and_what_archivers_leave_is_not(tmp_path):
    names(tmp_path / "archive" / "data", train=10, test=3)
    class_folders(tmp_path / "__MACOSX" / "train")
    (tmp_path / ".DS_Store").touch()
    (tmp_path / "archive" / "data" / "train" / "cat" / "._000.png").write_bytes(b"resource fork")
    dataset = loading.load(str(tmp_path))
    assert (len(dataset.train), len(dataset.test)) == (18, 6)


def test_two_folders_for_one_split_are_refused(tmp_path):
    with pytest.raises(UserError, match="several folders for one split: val, validation; keep one"):
        loading.load(names(tmp_path, train=3, val=3, validation=3))


def test_training_does_not_read_the_test_split(tmp_path):
    names(tmp_path, train=10, test=3)
    for path in (tmp_path / "test").glob("*/*.png"):
        path.write_bytes(b"damaged")
    dataset = loading.load(str(tmp_path))
    next(iter(training_batches(dataset.train, batch_size=4, seed=0, augmentation="none")))
    with pytest.raises(UserError, match="no readable image for the test split"):
        assert dataset.test
