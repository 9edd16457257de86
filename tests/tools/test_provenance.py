"""What a table says of where its figures come from."""

from experiments import provenance

from fsgan_tf.runs.directory import RunDirectory

RESULTS = {
    "date": "2026-11-27 09:30 UTC",
    "command": "python -m fsgan_tf.evaluate --run_dir=a",
    "machine": "a CPU",
    "seed": 3,
    "verdict": "upper bound",
    "versions": {"fsgan_tf": "0.2.0"},
}


def test_commit_command_seed_and_machine_are_named_and_so_is_what_is_not_known(tmp_path):
    trained, attacked = provenance.lines("`pgd_at`, seed 0", tmp_path, [RESULTS])
    assert trained == "- `pgd_at`, seed 0: training not recorded"
    assert attacked == (
        "- `pgd_at`, seed 0: attacked 2026-11-27 09:30 UTC at version 0.2.0, seed 3 on a CPU: "
        "`python -m fsgan_tf.evaluate --run_dir=a` (upper bound)"
    )


def test_each_start_of_a_training_is_named_but_for_a_line_cut_short(tmp_path):
    start = '{"date": "today", "command": "c", "machine": "m", "versions": {"commit": "abc"}}\n'
    RunDirectory(tmp_path).starts_file.write_text(2 * start + '{"date": "tod')
    lines = provenance.lines("a", tmp_path, [])
    assert lines == ["- a: trained today at abc on m: `c`"] * 2
