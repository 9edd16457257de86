"""An evaluation's folder: its batches while it is under way, its results in the end."""

import pytest

from fsgan_tf.errors import RunError
from fsgan_tf.evaluation.recorded import recorded
from fsgan_tf.evaluation.request import Request
from fsgan_tf.reporting import report
from fsgan_tf.threat_model import ThreatModel
from tests.full_disk import full_disk
from tests.reports import MANIFEST, result


def test_a_report_that_cannot_be_written_is_one_line_and_the_batches_stay(tmp_path, monkeypatch):
    asked = (tmp_path, Request(ThreatModel(0.1), ()), MANIFEST)
    with monkeypatch.context() as full:
        full.setattr(report, "write_atomically", full_disk)
        with (
            pytest.raises(RunError, match="the same command resumes from"),
            recorded(*asked, model_options={}) as record,
        ):
            record.write(result("pass"))
    assert record.state.folder.is_dir()
    further = []
    with recorded(*asked, model_options={}) as record:
        record.write(result("pass"), also=[further.append])
    assert (tmp_path / "results.json").is_file()
    assert len(further) == 1
    assert not record.state.folder.exists()
