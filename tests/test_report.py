import json
import re
from importlib import metadata

import numpy as np
import pytest

import fsgan_tf
from fsgan_tf import report
from fsgan_tf.attacks.result import AttackResult, Check, Diagnosis, Result
from fsgan_tf.threat_model import ThreatModel
from tests.attacks.test_result import no_examples

MANIFEST = report.Manifest(
    model="runs/a|b",
    dataset="digits",
    split="test",
    classifier_sha256="ab" * 32,
    command="python -m fsgan_tf.evaluate --run_dir='runs/a|b'",
)


def _result(*verdicts):
    fooled = np.arange(40) < 10
    attack = AttackResult(
        name="pgd20",
        parameters={"num_steps": 20, "step_size": 2 / 255, "restarts": 1},
        accuracy=0.7,
        accuracy_8bit=0.7,
        standalone=True,
        seconds=1.25,
        fooled=fooled,
        fooled_8bit=fooled,
        refused=0,
    )
    checks = tuple(
        Check(f"check_{index}", verdict, f"Detail {index}.")
        for index, verdict in enumerate(verdicts)
    )
    return Result(
        ThreatModel(8 / 255),
        seed=3,
        clean_correct=np.arange(40) < 38,
        attacks=(attack,),
        examples=no_examples(),
        diagnosis=Diagnosis(checks),
    )


def _no_constant(text):
    raise AssertionError(f"{text} is not strict JSON")


def test_results_json_is_what_the_design_fixes(tmp_path):
    paths = report.write(tmp_path / "new" / "evaluation", _result("pass", "skipped"), MANIFEST)
    assert [path.name for path in paths] == ["results.json", "report.md", "report.html"]
    assert sorted(paths[0].parent.iterdir()) == sorted(paths)
    content = json.loads(paths[0].read_text(), parse_constant=_no_constant)
    versions = content.pop("versions")
    low, high = content.pop("confidence_interval_95")
    assert 0.54 < low < 28 / 40 < high < 0.83
    assert content == {
        "model": "runs/a|b",
        "dataset": "digits",
        "split": "test",
        "num_examples": 40,
        "threat_model": {"norm": "linf", "epsilon": 8 / 255},
        "clean_accuracy": 0.95,
        "attacks": [
            {
                "name": "pgd20",
                "accuracy": 0.7,
                "standalone": True,
                "seconds": 1.25,
                "parameters": {"num_steps": 20, "step_size": 2 / 255, "restarts": 1},
            }
        ],
        "worst_case_accuracy": 0.7,
        "checks": [
            {"name": "check_0", "verdict": "pass", "detail": "Detail 0.", "advice": ""},
            {"name": "check_1", "verdict": "skipped", "detail": "Detail 1.", "advice": ""},
        ],
        "seed": 3,
        "classifier_sha256": "ab" * 32,
        "command": "python -m fsgan_tf.evaluate --run_dir='runs/a|b'",
    }
    assert versions["tensorflow"] == metadata.version("tensorflow")
    assert versions["fsgan_tf"] == fsgan_tf.__version__
    assert set(versions) == {"tensorflow", "keras", "cleverhans", "numpy", "fsgan_tf"}


def test_a_figure_that_is_no_number_is_never_written(tmp_path):
    result = _result()
    broken = report.Manifest(**{**vars(MANIFEST), "model": float("nan")})
    report.write(tmp_path, result, MANIFEST)
    before = {path: path.read_text() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError):
        report.write(tmp_path, result, broken)
    assert {path: path.read_text() for path in tmp_path.iterdir()} == before


def test_markdown_has_the_headline_and_well_formed_tables():
    text = report.as_markdown(_result("pass", "warn"), MANIFEST)
    assert "**70.0%** of 40 images" in text
    assert "**95.0%** without attack" in text
    assert "(8/255)" in text
    assert "num_steps 20, step_size 0.0078431, restarts 1" in text
    assert "ab" * 32 in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    widths = [len(re.findall(r"(?<!\\)\|", row)) - 1 for row in rows]
    assert widths == [5] * 3 + [3] * 4 + [2] * 10


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (["pass", "skipped"], "No check speaks against the figure."),
        (["pass", "warn"], "Read this figure with care: warned by check_1."),
        (["warn", "fail"], "Do not trust this figure: failed check_1."),
    ],
)
def test_the_headline_says_whether_to_believe_it(verdicts, expected):
    assert expected in report.as_markdown(_result(*verdicts), MANIFEST)


def test_table_for_the_terminal():
    lines = report.as_table(_result("pass", "warn")).splitlines()
    assert [line.split()[0] for line in lines] == ["clean", "pgd20", "worst", "warn:"]
    assert "95.0%" in lines[0]
    assert "95% interval" in lines[2]
    assert lines[3] == "warn: Detail 1."
