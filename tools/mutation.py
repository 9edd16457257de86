"""Changes the code in small ways and counts how many of the changes the tests notice.

    python tools/mutation.py [--files=methods/parts/losses.py] [--sample=1]

A mutant is a module with one expression or statement changed: a sum is a difference, a bound is
inclusive, a number is another, a call is its argument, an assignment is gone. The test files that
belong to the module run on it, in a process of its own, until the first failure. A mutant is
killed when a test fails or does not end; it survives when all pass. Survivors are printed: each is
a test that is missing, or a change that changes nothing (docs/testing.md judges them).

TensorFlow is imported once; each process is a fork, so that a mutant takes seconds.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import dataclasses
import importlib
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from absl import flags

from fsgan_tf import methods
from fsgan_tf.cli import runner
from fsgan_tf.errors import RunError, UserError

ROOT = Path(__file__).parents[1]
PACKAGE = "fsgan_tf"
# What holds a method from elsewhere, in tests whose names have the method's in them.
_ALSO = {"fs_gan": ("methods/test_weight_perturbation.py", "test_configs.py")}


def _of_method(name: str) -> list[str]:
    """The tests of a method's own file, then what the contract asks of that method, eagerly."""
    longer = [other for other in methods.names() if name in other and other != name]
    others = "".join(f"{word} or " for word in [*longer, "xla", "replicas"])
    own = f"methods/test_{name}.py"
    return [
        *([own] if (ROOT / "tests" / own).exists() else []),
        *("methods/test_registry.py", "methods/test_contract.py", *_ALSO.get(name, ())),
        f"-k={name} and not ({others}mixed)",
    ]


_BASE = ("training_method", "keras_fit", "compiling", "learnt_adversary")
_OF_BASE = [
    *("methods/test_base.py", "methods/test_averaging.py", "methods/test_keras_use.py"),
    *("methods/test_contract.py", "-k=not xla and not (contract and not standard)"),
]
# The tests of each module, quickest first, as pytest takes them.
TESTS = {
    "methods/parts/losses.py": ["methods/test_losses.py"],
    "methods/parts/gradients.py": ["methods/test_gradients.py", "methods/test_base.py"],
    "methods/parts/gradient_normalization.py": ["methods/test_gradient_normalization.py"],
    "methods/parts/last_iterate.py": ["methods/test_last_iterate.py"],
    "methods/parts/optimizers.py": ["methods/test_optimizers.py"],
    "methods/parts/optimal_transport.py": ["methods/test_optimal_transport.py"],
    "threat_model.py": ["test_threat_model.py"],
    **{f"methods/{name}.py": _of_method(name) for name in methods.names()},
    **{f"methods/base/{name}.py": _OF_BASE for name in _BASE},
}
# Imported once, before the forks; none of them starts TensorFlow's threads.
_PRELOADED = ("tensorflow", "keras", "keras_cv", "scipy.optimize", "sklearn.datasets", "pytest")
_ALL_PASSED = 0
_LEAST_SECONDS = 60.0
_SWAPPED_OPERATORS: dict[type, type] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Mutant:
    """A module with one change.

    Attributes:
      line: where the change is.
      change: what it is, in code.
      source: the whole module.
    """

    line: int
    change: str
    source: str


def mutants(source: str) -> list[Mutant]:
    """Every mutant of a module, in the order of its lines."""
    tree = ast.parse(source)
    words = {id(part) for node in ast.walk(tree) for part in _annotations(node)}
    found = []
    for place, node in enumerate(ast.walk(tree)):
        if id(node) in words:
            continue
        for choice, _ in enumerate(_changes(node)):
            changed = copy.deepcopy(tree)
            twin = next(node for at, node in enumerate(ast.walk(changed)) if at == place)
            before = _short(twin)
            after = list(_changes(twin))[choice]()
            text = ast.unparse(ast.fix_missing_locations(changed))
            found.append(Mutant(getattr(node, "lineno", 0), f"{before}  ->  {after}", text))
    return sorted(found, key=lambda mutant: mutant.line)


def _annotations(node: ast.AST) -> Iterator[ast.AST]:
    """What says a type, and does nothing."""
    for name in ("annotation", "returns"):
        if getattr(node, name, None) is not None:
            yield from ast.walk(getattr(node, name))


def _changes(node: ast.AST) -> Iterator[Callable[[], str]]:
    """Functions that change a node in place, each in one way, and tell what it is then."""

    def setting(name: str, value: object) -> Callable[[], str]:
        def change() -> str:
            setattr(node, name, value)
            return _short(node)

        return change

    if isinstance(node, ast.BinOp | ast.AugAssign | ast.BoolOp):
        if type(node.op) in _SWAPPED_OPERATORS:
            yield setting("op", _SWAPPED_OPERATORS[type(node.op)]())
    elif isinstance(node, ast.Compare):
        if type(node.ops[0]) in _SWAPPED_OPERATORS:
            yield setting("ops", [_SWAPPED_OPERATORS[type(node.ops[0])](), *node.ops[1:]])
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield setting("op", ast.UAdd())
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield setting("value", not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int):
        yield setting("value", node.value + 1)
    elif isinstance(node, ast.Constant) and isinstance(node.value, float):
        yield setting("value", 2 * node.value or 1.0)
    elif isinstance(node, ast.If | ast.IfExp):
        yield setting("test", ast.UnaryOp(ast.Not(), node.test))
    yield from _call_changes(node)
    yield from _removals(node)


def _call_changes(node: ast.AST) -> Iterator[Callable[[], str]]:
    """A call of TensorFlow or Keras is its first argument, or lacks one of its named ones."""
    for name in ("value", "left", "right", "operand"):
        call = getattr(node, name, None)
        if isinstance(call, ast.Call) and call.args and _is_library(call.func):

            def unwrap(name: str = name, call: ast.Call = call) -> str:
                setattr(node, name, call.args[0])
                return _short(node)

            yield unwrap
    if isinstance(node, ast.Call) and _is_library(node.func):
        for place, argument in enumerate(node.args):
            if isinstance(argument, ast.Call) and argument.args and _is_library(argument.func):

                def unwrap_argument(place: int = place, call: ast.Call = argument) -> str:
                    node.args[place] = call.args[0]
                    return _short(node)

                yield unwrap_argument
        for place in range(len(node.keywords)):

            def drop(place: int = place) -> str:
                del node.keywords[place]
                return _short(node)

            yield drop


def _removals(node: ast.AST) -> Iterator[Callable[[], str]]:
    """A statement that only has an effect, and no value, is gone."""
    for block in ("body", "orelse"):
        statements = getattr(node, block, None)
        if not isinstance(statements, list):  # The body of a lambda.
            continue
        for place, statement in enumerate(statements):
            is_call = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)
            if is_call or isinstance(statement, ast.AugAssign | ast.Raise):

                def remove(statements: list[ast.stmt] = statements, place: int = place) -> str:
                    gone = _short(statements[place])
                    statements[place] = ast.copy_location(ast.Pass(), statements[place])
                    return f"without {gone}"

                yield remove


def _is_library(function: ast.expr) -> bool:
    return ast.unparse(function).split(".")[0] in ("tf", "keras")


def _short(node: ast.AST) -> str:
    return ast.unparse(node).split("\n")[0][:90]


def run_tests(file: str, source: str, deadline: float) -> int | None:
    """Runs a module's tests in a fork with this source in its place.

    Args:
      file: the module, a key of `TESTS`.
      source: what stands in it.
      deadline: seconds until the process is ended.

    Returns:
      pytest's exit code; None when the time was over or the process died.
    """
    process = os.fork()
    if process == 0:
        os._exit(_child(file, source))
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else None
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return None


def _child(file: str, source: str) -> int:
    import pytest

    os.setsid()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    with tempfile.TemporaryDirectory() as folder:
        # Found there first, by imports, by registries that read files, and by AutoGraph.
        Path(folder, Path(file).name).write_text(source)
        package = ".".join(Path(PACKAGE, file).parent.parts)
        importlib.import_module(package).__path__.insert(0, folder)
        tests = [test if test.startswith("-") else f"{ROOT}/tests/{test}" for test in TESTS[file]]
        options = ["--exitfirst", "-n0", "-p", "no:cacheprovider", "-p", "no:randomly"]
        return int(pytest.main([*options, f"--rootdir={ROOT}", *tests]))


def _check(file: str, sample: float) -> tuple[int, list[Mutant]]:
    """Runs a file's mutants; returns how many there were, and the survivors."""
    source = (ROOT / PACKAGE / file).read_text()
    began = time.monotonic()
    if run_tests(file, ast.unparse(ast.parse(source)), 3600) != _ALL_PASSED:
        raise RunError(f"the tests of {file} fail without a change: {', '.join(TESTS[file])}")
    deadline = max(_LEAST_SECONDS, 5 * (time.monotonic() - began))
    chosen = mutants(source)
    if sample < 1:
        count = max(1, round(sample * len(chosen)))
        chosen = sorted(random.Random(0).sample(chosen, count), key=lambda one: one.line)
    survivors = []
    for mutant in chosen:
        if run_tests(file, mutant.source, deadline) == _ALL_PASSED:
            survivors.append(mutant)
            print(f"survived: {file}:{mutant.line}: {mutant.change}", flush=True)
    return len(chosen), survivors


def main(values: flags.FlagValues, words: list[str]) -> None:
    """Runs every file and prints the table."""
    del words
    unknown = set(values.files) - set(TESTS)
    if unknown:
        raise UserError(f"no tests are named for {', '.join(sorted(unknown))}; see TESTS")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["PYTHONPATH"] = str(ROOT)
    os.chdir(ROOT)
    for module in _PRELOADED:
        importlib.import_module(module)
    rows = []
    for file in values.files:
        began = time.monotonic()
        count, survivors = _check(file, values.sample)
        rows.append((file, count, count - len(survivors), time.monotonic() - began))
    print("\n| file | mutants | killed | share | seconds |\n| --- | --- | --- | --- | --- |")
    for file, count, killed, seconds in rows:
        print(f"| {file} | {count} | {killed} | {killed / count:.0%} | {seconds:.0f} |")
    share = sum(row[2] for row in rows) / sum(row[1] for row in rows)
    print(f"\n{share:.1%} of the mutants were killed.")
    if share < values.at_least:
        raise RunError(f"fewer than {values.at_least:.0%} of the mutants were killed")


def _flags() -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_list("files", list(TESTS), f"Modules of {PACKAGE} to change.", flag_values=values)
    flags.DEFINE_float(
        "sample", 1.0, "Run this share of the mutants, drawn at random.", 0, 1, flag_values=values
    )
    flags.DEFINE_float(
        "at_least",
        0.9,
        "Share of the mutants to kill; below it the exit code is 1.",
        0,
        1,
        flag_values=values,
    )
    return values


if __name__ == "__main__":
    sys.exit(runner.run(main, _flags(), description=__doc__ or ""))
