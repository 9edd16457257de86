"""The paper's tables, scaled down: trainings, copies, attacks, and the figures set beside them."""

import json
import shlex

import experiments
import pytest
from experiments.paper import TABLES, TITLES

from fsgan_tf import methods
from fsgan_tf.cli import training_flags
from fsgan_tf.results.intervals import wilson_interval
from tests.commands import ROOT, call
from tests.data.test_tfds_images import svhn_dir  # noqa: F401
from tools import paper_tables

SCALE = (
    "--classifier_depth=10 --classifier_width=1 --generator_width=4 --batch_size=8 "
    "--train_examples=16 --epochs=1 --lr_decay_epochs=1 --attack_iterations=1 --precision=float32"
)
DIGITS = f"{SCALE} --dataset=digits --augmentation=none"


def _tables(*arguments: str) -> int:
    return call(paper_tables, *arguments)


def _rows(path) -> list[list[str]]:
    lines = [line for line in path.read_text().splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]


def _trained(started) -> list[str]:
    flags = [flag for module, *flags in started if module == "fsgan_tf.train" for flag in flags]
    return [flag.rpartition("/")[2] for flag in flags if flag.startswith("--run_dir=")]


@pytest.mark.slow
def test_table_1_attacks_from_a_copy_and_nothing_runs_twice(tmp_path, processes):
    command = (
        "--table=1",
        f"--runs={tmp_path}",
        f"--scale={DIGITS}",
        "--methods=standard",
        "--columns=PGD10,SPSA",
        "--num_examples=4",
        "--restarts=2",
        "--spsa_iterations=2",
        "--checks=none",
    )
    assert _tables(*command) == 0
    assert _trained(processes) == ["cifar10_standard_seed0", "cifar10_standard_seed1"]
    (file,) = tmp_path.glob("cifar10_standard_seed0/evaluations/*/results.json")
    results = json.loads(file.read_text())
    transferred, spsa = results["attacks"]
    assert transferred["name"] == "transfer_pgd10@cifar10_standard_seed1"
    assert transferred["parameters"]["source_seed"] == 1
    assert transferred["parameters"]["restarts"] == 2
    assert spsa["name"] == "spsa2"
    assert (results["num_examples"], results["split"]) == (4, "test")
    header, _, ours, paper, difference = _rows(tmp_path / "table_1.md")
    assert header == ["method", "", "clean", "PGD10", "SPSA"]
    assert paper == ["", "paper", "94.59", "0.09", "7.11"]
    shares = [results["clean_accuracy"], transferred["accuracy"], spsa["accuracy"]]
    assert ours[:2] == ["Clean model", "ours (1)"]
    for cell, share in zip(ours[2:], shares, strict=True):
        low, high = wilson_interval(round(4 * share), 4)
        assert cell == f"{100 * share:.1f} ({100 * low:.1f} to {100 * high:.1f})"
    assert difference[2] == f"{100 * shares[0] - 94.59:+.1f}"
    text = (tmp_path / "table_1.md").read_text()
    assert f"`{results['command']}`" in text
    assert "2 restarts, 2 iterations of SPSA; FS-GAN" in text
    assert results["checks"] == []
    assert "Clean model, seed 0: trained" in text

    processes.clear()
    assert _tables(*command) == 0
    assert not processes


@pytest.mark.slow
def test_table_3_on_svhn_as_tfds_prepares_it(tmp_path, processes, svhn_dir):  # noqa: F811
    command = (
        "--table=3",
        f"--data_dir={svhn_dir}",
        f"--runs={tmp_path}",
        f"--scale={SCALE}",
        "--methods=fs_gan",
        "--columns=FGSM,PGD10",
        "--num_examples=2",
        "--restarts=1",
        "--letter",
    )
    assert _tables(*command) == 0
    assert _trained(processes) == ["svhn_fs_gan_letter_seed0"]
    assert "configs/paper/svhn.flags" in (tmp_path / "table_3.md").read_text()
    header, _, ours, paper, _ = _rows(tmp_path / "table_3.md")
    assert header == ["method", "", "clean", "FGSM", "PGD10"]
    assert paper == ["", "paper", "96.37", "82.26", "70.69"]
    assert all(float(cell.split()[0]) >= 0 for cell in ours[2:])


@pytest.fixture
def measured(monkeypatch):
    """Nothing runs: every accuracy is a quarter; what would have been run."""
    made = []
    monkeypatch.setattr(
        experiments, "train", lambda run_dir, flags: made.append((run_dir.name, flags))
    )

    def evaluate(run_dir, attacks, arguments, *, output_dir):
        made.append((run_dir.name, [*attacks, *arguments, str(output_dir)]))
        return {
            "num_examples": 400,
            "clean_accuracy": 0.5,
            "attacks": [{"name": name, "accuracy": 0.25} for name in attacks],
        }

    monkeypatch.setattr(experiments, "evaluate", evaluate)
    return made


@pytest.mark.parametrize("number", TABLES)
def test_a_whole_table_has_the_papers_rows_and_columns(number, tmp_path, measured):
    table = TABLES[number]
    assert _tables(f"--table={number}", f"--runs={tmp_path}") == 0
    header, _, *rows = _rows(tmp_path / f"table_{number}.md")
    assert header == ["method", "", "clean", *table.attacks]
    assert [row[0] for row in rows[::3]] == [TITLES[method] for method in table.figures]
    for ours, paper, difference in zip(rows[::3], rows[1::3], rows[2::3], strict=True):
        assert ours[2:] == ["50.0 (45.1 to 54.9)"] + ["25.0 (21.0 to 29.5)"] * len(table.attacks)
        expected = [f"{25 - float(cell):+.1f}" for cell in paper[3:]]
        assert difference[3:] == expected
    text = (tmp_path / f"table_{number}.md").read_text()
    assert "10 restarts" in text
    assert "the paper's scale" in text
    for method in table.figures:
        assert method in methods.names()
        for letter in (False, True):
            assert (ROOT / experiments.configuration(table.data, method, letter=letter)).is_file()


def test_with_several_seeds_each_is_the_copy_of_another(tmp_path, measured):
    arguments = ("--table=1", f"--runs={tmp_path}", "--methods=fs_gan", "--seeds=0,1,2")
    assert _tables(*arguments) == 0
    assert {name for name, _ in measured} == {f"cifar10_fs_gan_seed{seed}" for seed in range(3)}
    sources = [flag for _, flags in measured for flag in flags if flag.startswith("--source=")]
    assert [source[-5:] for source in sources] == ["seed1", "seed2", "seed0"]
    (row,) = [row for row in _rows(tmp_path / "table_1.md") if row[0] == "FS-GAN"]
    assert row[1:3] == ["ours (3)", "50.0 ± 0.0"]


def test_a_measurement_with_other_settings_is_not_taken_for_this_one(tmp_path, measured):
    arguments = ("--table=2", f"--runs={tmp_path}", "--methods=l2l")
    for more in ([], ["--num_examples=9"], ["--restarts=1"], ["--checks=full"]):
        assert _tables(*arguments, *more) == 0
    folders = [flags[-1] for _, flags in measured if "pgd10" in flags]
    assert len(set(folders)) == len(folders) == 4


@pytest.mark.parametrize(
    ("table", "columns", "read"),
    [(1, "FGSM,SPSA", False), (2, "FGSM", False), (1, "FGSM,PGD10", True), (2, "CW20", True)],
)
def test_restarts_are_asked_of_attacks_that_have_them_alone(
    tmp_path, measured, table, columns, read
):
    arguments = (f"--table={table}", f"--runs={tmp_path}", "--methods=fs_gan")
    assert _tables(*arguments, f"--columns={columns}") == 0
    (flags,) = [flags for _, flags in measured if str(tmp_path) in flags[-1]]
    assert ("--restarts=10" in flags) == read
    text = (tmp_path / f"table_{table}.md").read_text()
    assert ("10 restarts" in text) == read


def test_l2l_da_starts_from_the_standard_run_of_its_seed_and_rows_run_side_by_side(
    tmp_path, measured
):
    arguments = ("--table=2", f"--runs={tmp_path}", "--seeds=3,4", "--jobs=2")
    assert _tables(*arguments, "--methods=l2l_da,pgd_at") == 0
    (flags,) = [
        flags for name, flags in measured if name == "cifar10_l2l_da_seed3" and "=" in flags[0]
    ]
    assert f"--init_from={tmp_path / 'cifar10_standard_seed3'}" in flags
    names = [name for name, _ in measured]
    assert names.index("cifar10_standard_seed3") < names.index("cifar10_l2l_da_seed3")


def test_figures_of_different_images_make_no_table(tmp_path, measured, monkeypatch, capsys):
    quarter = experiments.evaluate

    def evaluate(run_dir, *arguments, **options):
        found = quarter(run_dir, *arguments, **options)
        return {**found, "model": str(run_dir), "dataset_sha256": run_dir.name[:9]}

    monkeypatch.setattr(experiments, "evaluate", evaluate)
    arguments = ("--table=2", f"--runs={tmp_path}")
    assert _tables(*arguments, "--methods=l2l_da,l2l") == 0
    assert _tables(*arguments, "--methods=l2l,pgd_at") == 2
    message = capsys.readouterr().err
    assert "cifar10_l2l_seed0 and" in message
    assert "cifar10_pgd_at_seed0 were attacked on different images" in message


def test_rows_that_are_not_there_yet_are_empty(tmp_path, measured, monkeypatch):
    written = []
    monkeypatch.setattr(
        paper_tables, "write_atomically", lambda path, content: written.append(content.decode())
    )
    assert _tables("--table=4", f"--runs={tmp_path}", "--methods=fs_gan,l2l") == 0
    assert "| L2L | ours (0) |  |" in written[0]
    assert "| L2L | ours (1) | 50.0 (" in written[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["--table is missing"]),
        (["--table=1", "--methods=pgd_at"], ["pgd_at", "standard"]),
        (["--table=1", "--columns=CW20"], ["CW20", "SPSA"]),
        (["--table=1", "--seeds=a"], ["--seeds", "a"]),
        (["--table=1", "--seeds=0,0"], ["--seeds", "different"]),
    ],
)
def test_what_a_table_does_not_have_is_one_line(tmp_path, measured, arguments, words, capsys):
    assert _tables(f"--runs={tmp_path}", *arguments) == 2
    message = capsys.readouterr().err.strip()
    assert len(message.splitlines()) == 1
    assert all(word in message for word in words), message
    assert not measured


def test_the_commands_of_the_docs_are_of_the_tool():
    text = (ROOT / "docs" / "results.md").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.startswith("python tools/paper_tables.py")]
    (scale,) = [line for line in text.splitlines() if line.startswith("SCALE=")]
    (scale,) = shlex.split(scale.removeprefix("SCALE="))
    tables = set()
    for line in lines:
        values = paper_tables._flags()
        words = shlex.split(line.replace("$SCALE", scale))[2:]
        assert values(["paper_tables", *words]) == ["paper_tables"]
        tables.add(values.table)
        training_flags.parse(shlex.split(values.scale))
    assert tables == set(TABLES)
