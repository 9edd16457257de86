"""The notebooks in examples/ run from top to bottom, as a reader runs them."""

import json
import os

import pytest

from tests.commands import ROOT

NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_the_notebook_runs_and_its_classifier_is_robust(file, tmp_path, monkeypatch):
    """Both of the notebook's claims: the figures under attack, and a file that Keras reads."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    notebook = nbformat.read(file, as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    client.execute()
    assert (tmp_path / "robust.keras").is_file()
    last = notebook.cells[-1].outputs[0].text
    assert float(last.rpartition(":")[2]) > 0.8
    found = "".join(
        output.text for output in notebook.cells[-3].outputs if output.output_type == "stream"
    )
    assert "pgd20" in found
    print(found)


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_the_notebook_is_kept_without_outputs_and_named_in_the_readme(file):
    cells = json.loads(file.read_text())["cells"]
    assert not any(cell.get("outputs") for cell in cells)
    assert f"examples/{file.name}" in (ROOT / "README.md").read_text()
