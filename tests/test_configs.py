"""configs/: every flag file is good, says how to run it, and keeps what the paper says of all."""

from pathlib import Path

import pytest

from fsgan_tf import methods
from fsgan_tf.cli import training_flags

CONFIGS = Path(__file__).parents[1] / "configs"
FILES = sorted(CONFIGS.rglob("*.flags"))
BASELINES = sorted((CONFIGS / "baselines").iterdir())
DATASETS = {"cifar10": "cifar10", "svhn": "svhn_cropped", "cifar100": "cifar100"}
METHODS = ("feature_scatter", "l2l", "l2l_da", "pgd_at", "standard")
# Those that the paper does not compare, on CIFAR-10 with their authors' classifier and schedule.
OTHERS = sorted(set(methods.names()) - {"fs_gan", *METHODS})
# What the files of one method may have otherwise for each data set.
OF_THE_DATASET = {"dataset", "epochs", "classifier_learning_rate", "augmentation"}
OF_THE_FILE = {"flagfile", "run_dir"}


def _name(file: Path) -> str:
    return str(file.relative_to(CONFIGS))


def _values(*arguments: str):
    return training_flags.parse(arguments)


def _differences(values, others) -> set[str]:
    pairs = values.values().items()
    return {name for name, value in pairs if others.values()[name] != value} - OF_THE_FILE


@pytest.mark.parametrize("file", FILES, ids=_name)
def test_a_flag_file_is_good_and_says_how_to_run_it(file):
    values = _values(f"--flagfile={file}")
    assert values.departures() == []
    header = file.read_text().split("\n--")[0]
    assert f"python -m fsgan_tf.train --flagfile=configs/{_name(file)}" in header
    assert all(line.startswith("#") or not line for line in header.splitlines())


def test_every_baseline_has_its_files_and_nothing_else_is_there():
    expected = {f"{data}_{method}.flags" for data in DATASETS for method in METHODS}
    expected |= {f"cifar10_{method}.flags" for method in OTHERS}
    assert {file.name for file in BASELINES} == expected
    for file in BASELINES:
        data, method = file.stem.split("_", 1)
        values = _values(f"--flagfile={file}")
        assert (values.data.dataset, values.training.method) == (DATASETS[data], method)


@pytest.mark.parametrize("file", [file for file in FILES if file.stem != "digits"], ids=_name)
def test_the_papers_classifier_radius_and_schedule_are_in_every_file_for_its_data(file):
    values = _values(f"--flagfile={file}")
    if values.data.dataset not in DATASETS.values() or values.training.method in OTHERS:
        return
    assert (values.classifier.classifier_depth, values.classifier.classifier_width) == (28, 10)
    assert values.training.epsilon == pytest.approx(8 / 255)
    longer = values.data.dataset == "cifar100" and values.training.method in (
        "fs_gan",
        "feature_scatter",
    )
    assert values.training.epochs == (200 if longer else 100)
    assert values.training.lr_decay_epochs == (60, 90)
    assert values.data.augmentation == (
        "none" if values.data.dataset == "svhn_cropped" else "crop_flip"
    )


def test_fs_gan_by_the_papers_letter_departs_from_it_in_nothing_and_trains_on_all_images():
    assert {file.stem for file in (CONFIGS / "paper").iterdir()} == set(DATASETS)
    for data in DATASETS:
        letter = _values(f"--flagfile={CONFIGS / 'paper' / f'{data}.flags'}")
        assert letter.departures_from_paper() == []
        assert letter.data.dataset == DATASETS[data]
        assert letter.data.validation_examples == 0
        rate = letter.method.generator_learning_rate
        assert rate == (7.8e-5 if data == "cifar100" else 7.8e-3)
        assert letter.method.classifier_learning_rate == (0.01 if data == "svhn" else 0.1)


@pytest.mark.parametrize("data", DATASETS)
def test_the_recommendation_says_its_departures_from_the_paper_in_its_first_lines(data):
    file = CONFIGS / f"{data}.flags"
    header = file.read_text().split("\n#\n")[0]
    assert f"configs/paper/{data}.flags" in header
    rate = _values(f"--flagfile={file}").method.generator_learning_rate
    assert f"{rate:g} ({'7.8e-5' if data == 'cifar100' else '7.8e-3'})" in header


@pytest.mark.parametrize("method", METHODS)
def test_the_files_of_a_baseline_differ_only_where_their_data_sets_do(method):
    first, *others = [
        _values(f"--flagfile={CONFIGS / 'baselines' / f'{data}_{method}.flags'}")
        for data in DATASETS
    ]
    for other in others:
        assert _differences(first, other) <= OF_THE_DATASET


def test_l2l_da_starts_from_the_run_that_its_header_tells_to_train_first():
    for data in DATASETS:
        file = CONFIGS / "baselines" / f"{data}_l2l_da.flags"
        clean = _values(f"--flagfile={file.with_name(f'{data}_standard.flags')}")
        assert f"--init_from={clean.training.run_dir} " in file.read_text()


def test_digits_configuration_is_the_default():
    digits = _values(f"--flagfile={CONFIGS / 'digits.flags'}")
    assert _differences(digits, _values()) <= {"augmentation"}
