"""The rows of metrics.jsonl, written and read back."""

import json

import pytest

from fsgan_tf.errors import UserError
from fsgan_tf.runs.metrics import Metrics


def row_of(epoch: int) -> dict[str, float]:
    accuracies = {"one_step_accuracy": 0.5, "robust_accuracy": 0.25}
    return {"epoch": epoch, "step": 4 * epoch, "images_per_second": 9.5, **accuracies}


def test_metrics_are_rows_and_survive_a_line_cut_short(tmp_path):
    metrics = Metrics(tmp_path / "metrics.jsonl")
    for epoch in range(3):
        metrics.append(row_of(epoch))
    with metrics.file.open("a") as file:
        file.write('{"epoch": 3, "lo')
    assert [row["epoch"] for row in metrics.read()] == [0, 1, 2]
    metrics.keep_before(2)
    lines = metrics.file.read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [0, 1]


@pytest.mark.parametrize(
    "line",
    ['{"epo', "[0]", "1", "null", '{"epoch": 1}', "[" * 10_000]
    + [
        json.dumps({**row_of(1), name: value})
        for name, value in (
            ("epoch", float("inf")),
            ("epoch", 1.5),
            ("step", 10**400),
            ("step", "4"),
            ("images_per_second", 0),
            ("robust_accuracy", None),
            ("robust_accuracy", float("nan")),
        )
    ],
)
def test_metrics_with_a_damaged_line_name_it(tmp_path, line):
    metrics = Metrics(tmp_path / "metrics.jsonl")
    whole = json.dumps(row_of(0))
    metrics.file.write_text(f"{whole}\n{line}\n{whole}\n")
    with pytest.raises(UserError, match=r"metrics.jsonl, line 2"):
        metrics.read()


def test_rows_of_a_training_that_holds_no_images_out_are_read(tmp_path):
    metrics = Metrics(tmp_path / "metrics.jsonl")
    row = {"epoch": 0, "step": 4, "images_per_second": 9.5, "loss": 0.5}
    metrics.append(row)
    assert metrics.read() == [row]
