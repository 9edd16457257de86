import numpy as np
import pytest

from fsgan_tf.data import loading
from fsgan_tf.errors import UserError
from tests.data.test_image_folder import class_folders


@pytest.fixture
def numbered(tmp_path):
    """Classes 0 to 11; an image's red is its class's number."""
    folder = tmp_path / "images"
    class_folders(folder, 2, [str(number) for number in range(12)])
    return folder


def names_file(tmp_path, *names, text=None):
    file = tmp_path / "names.txt"
    file.write_text("\n".join(names) if text is None else text, encoding="utf-8")
    return str(file)


def test_numbers_that_sort_as_text_are_warned_of(numbered, capsys):
    _, class_names = loading.load_split(str(numbered), "test")
    assert class_names[:4] == ("0", "1", "10", "11")
    (line,) = capsys.readouterr().err.splitlines()
    assert "as text (0, 1, 10, 11, 2" in line
    assert "of their numbers (0, 1, 2, 3" in line
    assert "--class_names=FILE" in line


@pytest.mark.parametrize("classes", [("cat", "dog"), ("0", "1", "9"), ("a01", "a02", "a10")])
def test_other_names_are_not(tmp_path, capsys, classes):
    loading.load_split(str(class_folders(tmp_path, 2, classes)), "test")
    assert capsys.readouterr().err == ""


def test_a_file_gives_the_order_of_the_labels(numbered, tmp_path, capsys):
    file = names_file(tmp_path, *map(str, range(12)))
    dataset = loading.load(str(numbered), class_names=file)
    assert dataset.class_names == tuple(map(str, range(12)))
    order = np.array([int(name) for name in sorted(map(str, range(12)))])
    for split in (dataset.train, dataset.validation, dataset.test):
        # The fixture's red is the number of the class in its own order, which is that of numbers.
        np.testing.assert_array_equal(split.images[:, 0, 0, 0], split.labels)
    assert capsys.readouterr().err == ""
    plain = loading.load(str(numbered))
    np.testing.assert_array_equal(order[plain.test.labels], dataset.test.labels)


def test_a_model_may_know_more_classes_than_the_data(tmp_path):
    folder = class_folders(tmp_path / "images", 4)
    file = names_file(tmp_path, text="\ufeffowl\r\ndog\r\nfox\r\ncat\r\n\r\n")
    test, class_names = loading.load_split(str(folder), "test", class_names=file)
    assert class_names == ("owl", "dog", "fox", "cat")
    np.testing.assert_array_equal(np.sort(test.labels), [1, 3])
    np.testing.assert_array_equal(np.where(test.images[:, 0, 0, 0] == 0, 3, 1), test.labels)


def test_labels_take_the_order_of_a_classifier_that_knows_every_class(tmp_path, capsys):
    folder = class_folders(tmp_path / "images", 4)
    known = ("owl", "dog", "cat")
    test, class_names = loading.load_split(str(folder), "test", known_names=known)
    assert class_names == known
    np.testing.assert_array_equal(np.where(test.images[:, 0, 0, 0] == 0, 2, 1), test.labels)
    for others in ((), ("dog", "owl")):
        assert loading.load_split(str(folder), "test", known_names=others)[1] == ("cat", "dog")
    file = names_file(tmp_path, "dog", "cat")
    given = loading.load_split(str(folder), "test", class_names=file, known_names=known)
    assert given[1] == ("dog", "cat")


def test_an_empty_flag_names_no_file(tmp_path):
    with pytest.raises(UserError, match="--class_names= names no file"):
        loading.load(str(class_folders(tmp_path, 2)), class_names="")


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("cat", "dgo"), "does not have dog"),
        (("cat", "dog", "cat"), "has 'cat' on more than one line"),
        (("cat", " ", "dog"), "line 2 of .* is empty"),
        (("", "cat", "dog"), "line 1 of .* is empty"),
        (("cat",), "names 1 classes; at least 2"),
        (None, "cannot read"),
    ],
)
def test_faulty_files_are_refused(tmp_path, names, told):
    folder = class_folders(tmp_path / "images", 2)
    file = names_file(tmp_path, *names) if names else str(tmp_path / "missing.txt")
    with pytest.raises(UserError, match=told) as error:
        loading.load(str(folder), class_names=file)
    assert "\n" not in str(error.value)
