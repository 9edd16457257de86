"""A run's classifier becomes one of the package's, with a card that nobody typed."""

import json

import pytest

import fsgan_tf
from fsgan_tf import train
from fsgan_tf.cli import training_flags
from fsgan_tf.results.intervals import wilson_interval
from fsgan_tf.runs import pretrained
from fsgan_tf.runs.checkpoints import Progress
from fsgan_tf.runs.directory import RunDirectory
from fsgan_tf.training.build import build_method
from tests.commands import call
from tests.small_training import SMALL
from tools import package_pretrained


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> RunDirectory:
    run = RunDirectory(tmp_path_factory.mktemp("runs") / "a")
    flags = ["--method=standard", "--train_examples=64", "--batch_size=16", "--epochs=2"]
    flags += ["--eval_examples=0", "--precision=float32", "--seed=7", f"--run_dir={run.path}"]
    assert call(train, *flags) == 0
    return run


@pytest.mark.slow
def test_the_card_has_the_figures_of_the_packaged_weights(run, tmp_path, processes, monkeypatch):
    command = (
        run.path,
        "--name=tiny",
        "--suite=quick",
        "--num_examples=8",
        "--checks=fast",
        f"--folder={tmp_path}",
    )
    assert call(package_pretrained, *command) == 0
    assert [module for module, *_ in processes] == ["fsgan_tf.evaluate"]
    monkeypatch.setattr(pretrained, "FOLDER", tmp_path)
    assert pretrained.names() == ["tiny"]
    results = json.loads((tmp_path / "tiny.json").read_text())
    assert results["classifier_sha256"] == pretrained.restore("tiny").weights_sha256
    assert results["num_examples"] == 8
    card = (tmp_path / "tiny.md").read_text()
    for share in [results["clean_accuracy"], *(one["accuracy"] for one in results["attacks"])]:
        low, high = wilson_interval(round(8 * share), 8)
        assert f"| {100 * share:.1f} ({100 * low:.1f} to {100 * high:.1f}) |" in card
    (start,) = map(json.loads, run.starts_file.read_text().splitlines())
    for known in (
        "--method=standard --dataset=digits --architecture=wide_resnet",
        "--train_examples=64",
        "| seed of the training | 7 |",
        "CC BY 4.0",
        "of 360 test images are answered as before",
        start["date"],
        start["machine"],
        results["verdict"],
        "python -m fsgan_tf.evaluate --pretrained=tiny --suite=quick",
        *(check["detail"] for check in results["checks"] if check["verdict"] == "warn"),
    ):
        assert known in card
    assert str(run.path) not in card + json.dumps(results)
    assert fsgan_tf.load_pretrained("tiny").count_params() == 78_330

    processes.clear()
    assert call(package_pretrained, *command) == 0
    assert not processes


def test_an_unfinished_run_is_refused(tmp_path, capsys):
    run = RunDirectory(tmp_path / "run")
    flags = [f"--architecture={SMALL}", "--method=standard", "--precision=float32", "--epochs=2"]
    configuration = training_flags.parse([*flags, f"--run_dir={run.path}"])
    run.prepare(configuration)
    method = build_method(configuration, 10, (32, 32, 3))
    run.checkpoints.save(method, Progress(1, 0, tuple("0123456789"), (32, 32, 3)))
    run.metrics.append({"epoch": 0, "step": 5, "images_per_second": 9.0})
    assert call(package_pretrained, run.path, f"--folder={tmp_path / 'out'}") == 2
    assert f"{run.path} is not finished" in capsys.readouterr().err
    assert not (run.path / "pretrained").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["name one run directory"]),
        (["/nowhere"], ["/nowhere is not a run directory"]),
        (["RUN", "--name=a/b"], ["--name=a/b must be a plain name"]),
    ],
)
def test_what_cannot_be_packaged_is_one_line(run, arguments, words, tmp_path, capsys):
    given = [argument.replace("RUN", str(run.path)) for argument in arguments]
    assert call(package_pretrained, *given, f"--folder={tmp_path}") == 2
    message = capsys.readouterr().err.strip()
    assert len(message.splitlines()) == 1
    assert all(word in message for word in words), message
    assert not list(tmp_path.iterdir())
