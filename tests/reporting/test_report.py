import dataclasses
import json
import math
import platform
from importlib import metadata, resources

import jsonschema
import pytest

import fsgan_tf
from fsgan_tf.reporting import manifest, report
from fsgan_tf.results.findings import Diagnosis, LossCurve
from tests.reports import MANIFEST, hostile_manifest, hostile_result, result


def _no_constant(text):
    raise AssertionError(f"{text} is not strict JSON")


def _read(path):
    return json.loads(path.read_text(), parse_constant=_no_constant)


def test_results_json_is_what_the_design_fixes(tmp_path):
    paths = report.write(tmp_path / "new" / "evaluation", result("pass", "skipped"), MANIFEST)
    names = ["results.json", "report.md", "report.html", "tensorboard"]
    assert [path.name for path in paths] == names
    assert sorted(paths[0].parent.iterdir()) == sorted(paths)
    content = _read(paths[0])
    versions = content.pop("versions")
    # Wilson interval of 25 in 40, worked out by hand.
    assert content.pop("per_image") == {
        "clean": "1" * 38 + "00",
        "attacks": {"pgd20": "1" * 30 + "0" * 10, "square": "1" * 25 + "0" * 15},
        "worst_case": "1" * 25 + "0" * 15,
    }
    assert content.pop("confidence_interval_95") == pytest.approx([0.470, 0.758], abs=5e-4)
    parameters = {"num_steps": 20, "step_size": 2 / 255}
    assert "cores" in content.pop("machine")
    shares = {"zero": 0.7, "one": 0.6, "two": 0.6, "class 3": 0.6}
    clean = {"zero": 1.0, "one": 1.0, "two": 0.9, "class 3": 0.9}
    assert content == {
        "schema_version": 1,
        "verdict": "upper bound",
        "suite": "quick",
        "image_shape": [2, 4, 1],
        "date": "2026-11-27 09:30 UTC",
        "radii": [],
        "randomness": None,
        "classes": [
            {
                "name": name,
                "num_examples": 10,
                "clean_accuracy": clean[name],
                "worst_case_accuracy": share,
            }
            for name, share in shares.items()
        ],
        "model": "runs/a",
        "dataset": "digits",
        "split": "test",
        "dataset_sha256": "cd" * 32,
        "num_examples": 40,
        "threat_model": {"norm": "linf", "epsilon": 8 / 255},
        "clean_accuracy": 0.95,
        "attacks": [
            {
                "name": "pgd20",
                "accuracy": 0.75,
                "accuracy_8bit": 0.775,
                "standalone": True,
                "seconds": 1.25,
                "parameters": parameters,
            },
            {
                "name": "square",
                "accuracy": 0.625,
                "accuracy_8bit": 0.65,
                "standalone": False,
                "seconds": 1.25,
                "parameters": parameters,
            },
        ],
        "worst_case_accuracy": 0.625,
        "worst_case_accuracy_8bit": 0.65,
        "epsilon_curve": {
            "attack": "pgd20",
            "epsilons": [0, 2 / 255, 8 / 255, 0.5],
            "accuracies": [0.95, 0.9, 0.75, 0],
            "num_examples": 32,
        },
        "loss_curves": [
            {"attack": "pgd4", "losses": [0.5, 1.5, 2, 2.25, 2.5]},
            {"attack": "cw2", "losses": [-3, 1, 1]},
        ],
        "checks": [
            {
                "name": "check_0",
                "verdict": "pass",
                "detail": "Detail 0.",
                "advice": "Advice 0.",
                "seconds": 0,
            },
            {
                "name": "check_1",
                "verdict": "skipped",
                "detail": "Detail 1.",
                "advice": "Advice 1.",
                "seconds": 0,
            },
        ],
        "checks_mode": "full",
        "checks_seconds": 0,
        "seed": 3,
        "classifier_sha256": "ab" * 32,
        "command": "python -m fsgan_tf.evaluate --run_dir='runs/a b'",
        "sources": ["runs/b: standard, seed 1"],
    }
    packages = ("tensorflow", "keras", "cleverhans", "numpy")
    commit = versions.pop("commit", None)
    assert commit == manifest.commit()
    assert versions == {
        **{name: metadata.version(name) for name in packages},
        "fsgan_tf": fsgan_tf.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def test_curves_that_were_not_measured_are_null_and_empty():
    content = report.as_json(result(curves=False), MANIFEST)
    assert content["epsilon_curve"] is None
    assert content["loss_curves"] == []


def test_a_number_that_is_not_finite_is_null(tmp_path):
    broken = result()
    attack = dataclasses.replace(broken.attacks[0], parameters={"a": [math.nan], "b": math.inf})
    curves = (LossCurve("pgd2", (1.0, math.nan, -math.inf)),)
    broken = dataclasses.replace(broken, attacks=(attack,), diagnosis=Diagnosis(loss_curves=curves))
    content = _read(report.write(tmp_path, broken, MANIFEST)[0])
    assert content["attacks"][0]["parameters"] == {"a": [None], "b": None}
    assert content["loss_curves"][0]["losses"] == [1, None, None]


def test_what_cannot_be_written_leaves_what_was_there(tmp_path):
    report.write(tmp_path, result(), MANIFEST)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    broken = dataclasses.replace(MANIFEST, model=object())
    with pytest.raises(TypeError):
        report.write(tmp_path, result(), broken)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_hostile_words_are_written_everywhere(tmp_path):
    manifest = hostile_manifest()
    content = _read(report.write(tmp_path, hostile_result(), manifest)[0])
    assert content["command"] == manifest.command


@pytest.mark.parametrize("found", [result("warn"), hostile_result(), result(curves=False)])
def test_results_json_keeps_to_its_schema(found):
    schema = json.loads(
        resources.files("fsgan_tf.reporting").joinpath("results.schema.json").read_text()
    )
    content = report.as_json(found, MANIFEST)
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    validator.validate(content)
    assert set(schema["properties"]) == set(schema["required"]) == set(content)
    for key, value in {"verdict": "fine", "schema_version": 2, "clean_accuracy": 1.5}.items():
        assert not validator.is_valid({**content, key: value})


def test_an_earlier_evaluation_is_kept(tmp_path):
    report.write(tmp_path, result("warn"), MANIFEST)
    (tmp_path / "adversarial_examples.npz").write_bytes(b"images")
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    report.write(tmp_path, result("pass"), dataclasses.replace(MANIFEST, suite="strong"))
    report.write(tmp_path, result("fail"), dataclasses.replace(MANIFEST, suite="../strong"))
    report.write(tmp_path, result("fail"), dataclasses.replace(MANIFEST, suite="strong"))
    report.write(tmp_path, result("fail", "pass"), dataclasses.replace(MANIFEST, suite="strong"))
    date = "2026-11-27_09_30_UTC"
    kept = sorted(path.name for path in (tmp_path / "earlier").iterdir())
    assert kept == [f"{date}_quick", f"{date}_strong", f"{date}_strong_2", f"{date}_strong_3"]
    folder = tmp_path / "earlier" / f"{date}_quick"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first
    assert _read(tmp_path / "results.json")["verdict"] == "not a robustness figure"


def test_what_is_written_on_demand_does_not_stand_beside_other_results(tmp_path):
    report.write(tmp_path, result("warn"), MANIFEST)
    for name in ("robustbench.json", "adversarial_examples.npz"):
        (tmp_path / name).write_bytes(b"of the first")
    verifying = result("pass")
    verifying.attacks[0].parameters["path"] = str(tmp_path / "adversarial_examples.npz")
    report.write(tmp_path, verifying, MANIFEST)
    (folder,) = (tmp_path / "earlier").iterdir()
    assert (folder / "robustbench.json").read_bytes() == b"of the first"
    assert not (tmp_path / "robustbench.json").exists()
    # It was taken up by --verify_examples.
    assert (tmp_path / "adversarial_examples.npz").exists()
    report.write(tmp_path, result("pass"), MANIFEST)
    assert not (tmp_path / "adversarial_examples.npz").exists()
    kept = [(path / "adversarial_examples.npz").exists() for path in folder.parent.iterdir()]
    assert kept == [True, True]


def test_an_evaluation_killed_while_it_wrote_is_no_earlier_one(tmp_path):
    report.write(tmp_path, result("warn"), MANIFEST)
    (tmp_path / "report.html").unlink()
    report.write(tmp_path, result("warn"), dataclasses.replace(MANIFEST, date="later"))
    assert not (tmp_path / "earlier").exists()
    assert (tmp_path / "report.html").exists()
    assert _read(tmp_path / "results.json")["date"] == "later"


def test_a_log_that_cannot_be_written_is_an_error_of_the_operating_system(tmp_path):
    (tmp_path / "tensorboard").touch()
    with pytest.raises(OSError, match="Not a directory") as raised:
        report.write(tmp_path, result("warn"), MANIFEST)
    assert raised.value.filename == str(tmp_path / "tensorboard")


def test_results_of_earlier_versions_are_kept_too(tmp_path):
    (tmp_path / "results.json").write_text("{}")
    report.write(tmp_path, result("warn"), MANIFEST)
    (folder,) = (tmp_path / "earlier").iterdir()
    assert folder.name.endswith("_UTC_attacks")


def test_a_result_writes_its_own_report(tmp_path):
    paths = result("pass").write_report(tmp_path / "report", model="ours", dataset="mine")
    content = _read(paths[0])
    assert (content["model"], content["dataset"]) == ("ours", "mine")
    assert content["classes"][3]["name"] == "class 3"
    assert "of 40 images (mine) are" in paths[2].read_text()
