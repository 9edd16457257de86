"""What a file declares, read without importing it, since that imports TensorFlow."""

from __future__ import annotations

import ast
import dataclasses
import functools
from pathlib import Path
from typing import Any

from fsgan_tf.settings.fields import Settings


@dataclasses.dataclass(frozen=True)
class Declaration:
    """What a file declares.

    Attributes:
      settings: its `Settings` class; the base class where it has none.
      summary: the first line of its docstring.
      constants: its UPPERCASE names with literal values.
      names: UPPERCASE names that stand for another name of the file, such as METHOD.
    """

    settings: type
    summary: str
    constants: dict[str, Any]
    names: dict[str, str]


@functools.cache
def declared_in(file: Path) -> Declaration:
    """Reads what a file declares, without importing it.

    Of the file's code only the class `Settings` is run, with the imports and constants that it
    names; these should import no TensorFlow.
    """
    tree = ast.parse(file.read_text(encoding="utf-8"), str(file))
    constants: dict[str, Any] = {}
    names: dict[str, str] = {}
    for target, value in _assignments(tree):
        if isinstance(value, ast.Name):
            names[target] = value.id
        else:
            try:
                constants[target] = ast.literal_eval(value)
            except ValueError:
                continue  # It is computed, so that only an import can tell it.
    summary = (ast.get_docstring(tree) or "").partition("\n")[0]
    return Declaration(_settings_class(tree, file), summary, constants, names)


def _assignments(tree: ast.Module) -> list[tuple[str, ast.expr]]:
    """The UPPERCASE names that the file gives a value."""
    return [
        (node.targets[0].id, node.value)
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id.isupper()
    ]


def _settings_class(tree: ast.Module, file: Path) -> type:
    by_name = {name: node for node in tree.body for name in _names_made_by(node)}
    if "Settings" not in by_name:
        return Settings
    needed: list[ast.stmt] = []
    todo = [by_name["Settings"]]
    while todo:
        node = todo.pop()
        if node not in needed:
            needed.append(node)
            used = {child.id for child in ast.walk(node) if isinstance(child, ast.Name)}
            todo.extend(by_name[name] for name in used & set(by_name))
    body = [node for node in tree.body if node in needed or _is_future(node)]
    # Dataclasses look the class's module up by name.
    namespace: dict[str, Any] = {"__name__": __name__}
    exec(compile(ast.Module(body, []), str(file), "exec"), namespace)
    return namespace["Settings"]


def _names_made_by(node: ast.stmt) -> list[str]:
    if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
        return [node.name]
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return [(alias.asname or alias.name).partition(".")[0] for alias in node.names]
    targets = (
        node.targets
        if isinstance(node, ast.Assign)
        else [node.target]
        if isinstance(node, ast.AnnAssign)
        else []
    )
    return [child.id for t in targets for child in ast.walk(t) if isinstance(child, ast.Name)]


def _is_future(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and node.module == "__future__"
