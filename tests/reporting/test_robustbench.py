import dataclasses

import pytest

from fsgan_tf.reporting import robustbench
from tests.reports import MANIFEST, result


@pytest.mark.parametrize(
    ("suite", "verdict", "auto_attack", "unreliable"),
    [("strong", "pass", "62.50", False), ("quick", "warn", None, False), ("", "fail", None, True)],
)
def test_an_entry_claims_no_more_than_was_run(suite, verdict, auto_attack, unreliable):
    entry = robustbench.entry(result(verdict), dataclasses.replace(MANIFEST, suite=suite))
    assert (entry["name"], entry["dataset"], entry["eps"]) == ("a", "digits", "0.0313725")
    assert (entry["clean_acc"], entry["reported"]) == ("95.00", "62.50")
    assert (entry["autoattack_acc"], entry["unreliable"]) == (auto_attack, unreliable)
