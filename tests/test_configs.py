"""configs/baselines: one file a method and data set, holding what its header says."""

from pathlib import Path

import pytest

from fsgan_tf import settings

FOLDER = Path(__file__).parents[1] / "configs" / "baselines"
DATASETS = {"cifar10": "cifar10", "svhn": "svhn_cropped", "cifar100": "cifar100"}
METHODS = ("standard", "pgd_at", "feature_scatter", "l2l", "l2l_da")
BASELINES = [(data, method) for data in DATASETS for method in METHODS]
COLUMNS = ("clean", "PGD10", "PGD20", "PGD100", "FGSM", "CW20", "CW100")
# Tables II to IV.
REPORTED = {
    ("cifar10", "feature_scatter"): (94.90, 69.61, 63.52, 55.66, 84.46, 62.40, 60.06),
    ("cifar10", "l2l_da"): (80.43, 40.2, 39.13, 38.66, 46.42, 56.86, 39.48),
    ("cifar10", "l2l"): (86.43, 30.27, 25.74, 22.49, 63.54, 49.90, 24.27),
    ("cifar10", "pgd_at"): (84.82, 47.37, 45.98, 45.52, 55.51, 45.70, 47.42),
    ("svhn", "feature_scatter"): (96.46, 70.01, 61.76, 51.27, 85.79, 61.4, 50.38),
    ("svhn", "l2l_da"): (91.50, 50.54, 48.60, 47.86, 60.73, 66.06, 44.81),
    ("svhn", "l2l"): (94.07, 27.92, 19.17, 12.03, 83.30, 59.63, 18.11),
    ("svhn", "pgd_at"): (92.78, 48.77, 47.91, 46.89, 68.27, 48.70, 47.28),
    ("cifar100", "feature_scatter"): (75.66, 44.25, 43.20, 41.32, 58.00, 34.00, 27.05),
    ("cifar100", "l2l_da"): (53.89, 20.20, 19.56, 19.28, 23.14, 29.48, 19.13),
    ("cifar100", "l2l"): (61.63, 19.60, 17.74, 16.44, 35.99, 32.65, 17.92),
    ("cifar100", "pgd_at"): (60.40, 24.82, 23.88, 23.53, 29.14, 23.20, 23.00),
}
# The classifier's SGD: batch, weight decay, clipping, learning rate on CIFAR and on SVHN.
CLASSIFIER_SGD = {
    "standard": (60, 2e-4, 0, 0.1, 0.01),
    "pgd_at": (128, 2e-4, 0, 0.1, 0.01),
    "feature_scatter": (60, 2e-4, 0, 0.1, 0.01),
    "l2l": (128, 2e-4, 0, 0.1, 0.01),
    "l2l_da": (100, 1e-5, 1, 0.01, 0.01),
}
ADVERSARY = {
    "standard": {},
    "pgd_at": {"attack_iterations": 10, "attack_step_size": 0.25, "adversary_mode": "eval"},
    "feature_scatter": {
        "attack_iterations": 1,
        "attack_step_size": 1,
        "label_smoothing": 0.5,
        "entropic_regularization": 0.01,
        "sinkhorn_solver": "reference",
    },
    "l2l": {
        "attack_iterations": 1,
        "generator_width": 64,
        "generator_optimizer": "adam",
        "generator_learning_rate": 1e-3,
        "generator_weight_decay": 2e-4,
        "generator_lr_decay": False,
    },
    "l2l_da": {
        "attack_iterations": 10,
        "attack_step_size": 0.25,
        "latent_dim": 8,
        "diversity_weight": 0.5,
        "generator_width": 64,
        "generator_optimizer": "sgd",
        "generator_learning_rate": 0.01,
        "generator_weight_decay": 1e-5,
        "generator_lr_decay": False,
    },
}


def _file(data: str, method: str) -> Path:
    return FOLDER / f"{data}_{method}.flags"


def _values(data, method):
    values = settings.training_flags()
    assert values(["train", f"--flagfile={_file(data, method)}"]) == ["train"]
    settings.complete(values)
    return values


def test_every_method_has_a_file_for_every_data_set_and_nothing_else_is_there():
    expected = {_file(data, method).name for data, method in BASELINES}
    assert {path.name for path in FOLDER.iterdir()} == expected
    assert set(settings.method_names()) <= {*METHODS, "fs_gan"}


@pytest.mark.parametrize(("data", "method"), BASELINES)
def test_the_setting_is_the_papers(data, method):
    values = _values(data, method)
    assert (values.dataset, values.method) == (DATASETS[data], method)
    assert (values.classifier_depth, values.classifier_width) == (28, 10)
    longer = (data, method) == ("cifar100", "feature_scatter")
    assert values.epochs == (200 if longer else 100)
    assert settings.decay_epochs(values) == (60, 90)
    assert values.lr_decay_factor == 0.1
    assert values.epsilon == pytest.approx(8 / 255)
    assert values.augmentation == ("none" if data == "svhn" else "crop_flip")


@pytest.mark.parametrize(("data", "method"), BASELINES)
def test_the_rest_is_the_authors(data, method):
    values = _values(data, method)
    batch_size, weight_decay, clip_norm, cifar_rate, svhn_rate = CLASSIFIER_SGD[method]
    assert values.batch_size == batch_size
    assert values.momentum == 0.9
    assert values.weight_decay == weight_decay
    assert values.gradient_clip_norm == clip_norm
    assert values.classifier_learning_rate == (svhn_rate if data == "svhn" else cifar_rate)
    given = {name: values[name].value for name in ADVERSARY[method]}
    assert given == pytest.approx(ADVERSARY[method])


@pytest.mark.parametrize(("data", "method"), BASELINES)
def test_the_header_gives_the_command_and_what_the_paper_reports(data, method):
    text = _file(data, method).read_text()
    assert f"--flagfile=configs/baselines/{data}_{method}.flags" in text
    if (data, method) in REPORTED:
        reported = zip(COLUMNS, REPORTED[data, method], strict=True)
        (line,) = [line for line in text.splitlines() if line.startswith("# clean")]
        words = line.removeprefix("# ").removesuffix(".").split(", ")
        found = [(word.split()[0], float(word.split()[1])) for word in words]
        assert found == list(reported)
    if method == "l2l_da":
        clean = settings.training_flags()
        clean(["train", f"--flagfile={_file(data, 'standard')}"])
        settings.complete(clean)
        assert f"--init_from={clean.run_dir} " in text


@pytest.mark.parametrize(("data", "method"), BASELINES)
def test_every_value_has_a_comment(data, method):
    """Each block of flags starts with where its values come from; the first says what it is."""
    for block in _file(data, method).read_text().strip().split("\n\n"):
        assert block.startswith("# ")
        assert max(map(len, block.splitlines())) <= 100
