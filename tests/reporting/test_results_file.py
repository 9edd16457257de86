import copy
import json

import pytest

from fsgan_tf.errors import UserError
from fsgan_tf.reporting import results_file

RESULTS = {
    "split": "test",
    "num_examples": 10,
    "threat_model": {"norm": "linf", "epsilon": 0.05},
    "clean_accuracy": 0.9,
    "attacks": [{"name": "fgsm", "accuracy": 0.5}],
    "worst_case_accuracy": 0.5,
    "classifier_sha256": "0123",
}


def test_a_file_as_an_evaluation_writes_it_is_read(tmp_path):
    (tmp_path / "results.json").write_text(json.dumps(RESULTS))
    assert results_file.read(tmp_path / "results.json") == RESULTS


@pytest.mark.parametrize(
    "text", ["", "{", "null", "[1]", "{}", "[" * 10_000, "NaN", '{"attacks": 1}', "\ud800"]
)
def test_what_is_none_is_one_line(tmp_path, text):
    (tmp_path / "results.json").write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(UserError, match=r"results.json is not a valid results.json; move it away"):
        results_file.read(tmp_path / "results.json")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("attacks", 0, "accuracy"), float("nan")),
        (("attacks", 0, "accuracy"), 2),
        (("attacks", 0, "name"), ["fgsm"]),
        (("attacks",), {"fgsm": 0.5}),
        (("worst_case_accuracy",), None),
        (("clean_accuracy",), "0.9"),
        (("num_examples",), "many"),
        (("threat_model", "epsilon"), 0),
        (("classifier_sha256",), None),
    ],
)
def test_a_value_of_another_kind_is_one_line(tmp_path, path, value):
    content = copy.deepcopy(RESULTS)
    *parents, last = path
    parent = content
    for key in parents:
        parent = parent[key]
    parent[last] = value
    (tmp_path / "results.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="is not a valid results.json"):
        results_file.read(tmp_path / "results.json")


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(UserError, match="is not a valid results.json"):
        results_file.read(tmp_path / "results.json")
