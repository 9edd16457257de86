"""What a newcomer meets first: imports, --help, what pages name, collected tests."""

import ast
import importlib
import re

import pytest

from tests.commands import FLAGS, ROOT, call, python

# What is read today; the changelog and the history name files that once were.
PAST = ("CHANGELOG.md", "history.md")
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
PAGES = sorted(page for page in PAGES if page.name not in PAST)
# Made when the commands named beside them run.
MADE = ("runs/", "exports/", ".venv/")


@pytest.mark.parametrize("command", FLAGS)
def test_help_is_complete_and_imports_no_tensorflow(command):
    code = (
        "import runpy, sys; sys.argv = ['x', '--help']\n"
        f"try: runpy.run_module('{command}', run_name='__main__')\n"
        "except SystemExit as end: code = end.code\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules), 'TensorFlow was imported'\n"
        "sys.exit(code)"
    )
    done = python("-c", code)
    assert done.returncode == 0, done.stderr
    for name in FLAGS[command]():
        assert f"--{name}" in done.stdout or f"--[no]{name}" in done.stdout


@pytest.mark.parametrize("tool", sorted((ROOT / "tools").glob("*.py")), ids=lambda p: p.stem)
def test_tools_start(tool):
    done = python(tool, "--help")
    assert done.returncode == 0, done.stderr
    assert "Flags:" in done.stdout
    assert call(importlib.import_module(f"tools.{tool.stem}"), "--no_such_flag") == 2


def test_importing_the_package_imports_no_tensorflow():
    code = "import sys, fsgan_tf; sys.exit('tensorflow' in sys.modules)"
    assert python("-c", code).returncode == 0


def test_every_test_function_is_collected():
    """A function that is misnamed, or stands in a file of another name, never runs."""
    for file in (ROOT / "tests").rglob("*.py"):
        functions = [
            node.name
            for node in ast.parse(file.read_text()).body
            if isinstance(node, ast.FunctionDef)
        ]
        misnamed = [name for name in functions if re.match(r"_?tests?(?!_)|_test_|tests_", name)]
        assert not misnamed, f"{file}: {misnamed}"
        if any(name.startswith("test_") for name in functions):
            assert file.name.startswith("test_"), file


def _links(text: str) -> list[str]:
    """Targets of the page's links, but for those that lead to other sites."""
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)
    return [target for target in targets if not re.match(r"[a-z]+:|#", target)]


def _paths(text: str) -> list[str]:
    """Files of this repository that the page names in code: `docs/a.md`, `tools/b.py`."""
    code = re.findall(r"`([^`\n]+)`", text)
    words = [word for span in code for word in re.split(r"[\s=,:]+", span)]
    return [
        word
        for word in words
        if re.fullmatch(r"[\w./-]+/[\w.-]+\.(py|md|flags|toml|txt|sh|png)", word)
        and not word.startswith(MADE)
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_links_to_or_names_is_there(page):
    text = page.read_text()
    links = [page.parent / target.split("#")[0] for target in _links(text)]
    assert [str(target) for target in links if not target.exists()] == []
    folders = [page.parent, *(ROOT / name for name in ("", "fsgan_tf", "docs", "configs"))]
    missing = [path for path in _paths(text) if not any((f / path).exists() for f in folders)]
    assert missing == []
