"""The rooms of the house: who imports whom, read from the source; and that the reader would notice a mistake."""

import ast
import shutil
from pathlib import Path

import pytest
from support.imports import CORE, imports_of, modules, violations

import rerank_async

PACKAGE = Path(rerank_async.__file__).parent


def test_nothing_imports_upwards():
    assert violations(PACKAGE) == []


def test_every_room_of_the_core_is_in_the_table_and_every_other_stands_above_it():
    rooms = {name.partition(".")[0] for name, _, _ in modules(PACKAGE)}
    above = {"server", "cli", "integrations", "bulk", "testing", "__main__"}
    assert set(CORE) <= rooms, "the table names a room that is not there"
    assert rooms - set(CORE) <= above, "a new room: say in support/imports.py what it may import"


def test_the_reader_sees_the_imports_that_are_there():
    seen = {
        (each.module, each.target)
        for name, file, tree in modules(PACKAGE)
        for each in imports_of(name, file, tree, PACKAGE)
    }
    for module, target in [
        ("", "rerank_async.client"),
        ("", "rerank_async.errors"),
        ("client", "rerank_async.api_client"),
        ("runtime.http", "aiohttp"),
        ("policy.retrying", "backoff"),  # inside a function
        ("auth.iam", "rerank_async.policy.wire_errors"),
    ]:
        assert (module, target) in seen
    assert ("client", "aiohttp") not in seen, "it stands under TYPE_CHECKING"


@pytest.fixture
def tree(tmp_path):
    """A copy of the package's source that a test may spoil."""
    copy = tmp_path / "rerank_async"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "server", "cli"))
    assert violations(copy) == []
    return copy


@pytest.mark.parametrize(
    ("file", "line", "words"),
    [
        (
            "errors.py",
            "from rerank_async.values import checks",
            "rerank_async.errors imports rerank_async.values.checks",
        ),
        (
            "values/options.py",
            "from rerank_async.policy.planning import load",
            "rerank_async.values.options imports rerank_async.policy.planning",
        ),
        (
            "values/urls.py",
            "import rerank_async.policy.wire",
            "rerank_async.values.urls imports rerank_async.policy.wire",
        ),
        (
            "policy/planning.py",
            "from rerank_async.runtime.gate import Gate",
            "rerank_async.policy.planning imports rerank_async.runtime.gate",
        ),
        (
            "policy/planning.py",
            "from rerank_async.auth import Flow",
            "rerank_async.policy.planning imports rerank_async.auth",
        ),
        (
            "policy/planning.py",
            "from ..runtime import gate",
            "rerank_async.policy.planning imports rerank_async.runtime.gate",
        ),
        ("policy/planning.py", "from .. import client", "rerank_async.policy.planning imports rerank_async.client"),
        (
            "policy/planning.py",
            "from rerank_async import client",
            "rerank_async.policy.planning imports rerank_async.client",
        ),
        (
            "policy/planning.py",
            "from rerank_async import AsyncRerank",
            "rerank_async.policy.planning imports rerank_async",
        ),
        ("policy/planning.py", "import rerank_async", "rerank_async.policy.planning imports rerank_async"),
        ("policy/planning.py", "import asyncio", "rerank_async.policy.planning imports asyncio, but is pure"),
        ("policy/planning.py", "import time", "rerank_async.policy.planning imports time, but is pure"),
        ("policy/planning.py", "from aiohttp import web", "rerank_async.policy.planning imports aiohttp"),
        (
            "policy/planning.py",
            "def now():\n    import datetime\n    return datetime.datetime.now()",
            "rerank_async.policy.planning reads the clock: datetime.now()",
        ),
        (
            "policy/planning.py",
            "def later():\n    from rerank_async.exchange import exchange",
            "rerank_async.policy.planning imports rerank_async.exchange",
        ),
        (
            "policy/planning.py",
            "try:\n    import backoff\nexcept ImportError:\n    pass",
            "rerank_async.policy.planning imports backoff",
        ),
        (
            "auth/iam.py",
            "from rerank_async.runtime.http import Http",
            "rerank_async.auth.iam imports rerank_async.runtime.http",
        ),
        (
            "runtime/gate.py",
            "from rerank_async.exchange import Channel",
            "rerank_async.runtime.gate imports rerank_async.exchange",
        ),
        ("runtime/gate.py", "import aiohttp", "rerank_async.runtime.gate imports aiohttp"),
        ("exchange.py", "from rerank_async.call import Call", "rerank_async.exchange imports rerank_async.call"),
        (
            "call.py",
            "from rerank_async.api_client import AsyncAPIClient",
            "rerank_async.call imports rerank_async.api_client",
        ),
        (
            "api_client.py",
            "from rerank_async.client import AsyncRerank",
            "rerank_async.api_client imports rerank_async.client",
        ),
        ("many.py", "from rerank_async.client import AsyncRerank", "rerank_async.many imports rerank_async.client"),
        ("streaming.py", "from rerank_async.call import Call", "rerank_async.streaming imports rerank_async.call"),
        ("handout.py", "from rerank_async.many import RerankMany", "rerank_async.handout imports rerank_async.many"),
        (
            "arguments.py",
            "from rerank_async.client import AsyncRerank",
            "rerank_async.arguments imports rerank_async.client",
        ),
        ("client.py", "from rerank_async.server import serve", "rerank_async.client imports rerank_async.server"),
        ("client.py", "from rerank_async.cli import main", "rerank_async.client imports rerank_async.cli"),
        (
            "__init__.py",
            "from rerank_async.integrations import langchain",
            "rerank_async imports rerank_async.integrations",
        ),
    ],
)
def test_an_import_upwards_is_found_out(tree, file, line, words):
    with (tree / file).open("a", encoding="utf-8") as source:
        source.write(f"\n{line}\n")
    assert any(found.startswith(words) for found in violations(tree)), violations(tree)


@pytest.mark.parametrize(
    "line",
    [
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from rerank_async.client import AsyncRerank",
        "import typing\nif typing.TYPE_CHECKING:\n    import asyncio",
        "from datetime import datetime",
        "from rerank_async import errors",
    ],
)
def test_what_is_allowed_is_let_pass(tree, line):
    with (tree / "policy/planning.py").open("a", encoding="utf-8") as source:
        source.write(f"\n{line}\n")
    assert violations(tree) == []


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_a_module_stays_under_four_hundred_lines_and_says_what_it_is(file):
    text = file.read_text("utf-8")
    assert text.count("\n") < 400
    assert (ast.get_docstring(ast.parse(text)) or "").strip(), "no docstring"


def writes_to_stdout(tree):
    """Where a module writes to standard output: (the innermost function, line)."""
    found = []

    def look(node, function):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            function = f"{function}.{node.name}".lstrip(".")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"print", "pprint", "pp"}:
            to = [ast.unparse(each.value) for each in node.keywords if each.arg == "file"]
            if to != ["sys.stderr"]:
                found.append((function, node.lineno))
        if isinstance(node, ast.Attribute) and ast.unparse(node) in {"sys.stdout", "sys.__stdout__"}:
            found.append((function, node.lineno))
        for child in ast.iter_child_nodes(node):
            look(child, function)

    look(tree, "")
    return found


def test_nothing_writes_to_standard_output_but_show_and_the_command_line():
    writers = {
        (name, function)
        for name, _, tree in modules(PACKAGE)
        if not name.startswith("cli") and name != "__main__"
        for function, _ in writes_to_stdout(tree)
    }
    assert writers == {("values.models", "RerankModels.show")}


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("print('x')", 1),
        ("import sys\nsys.stdout.write('x')", 1),
        ("import sys\nprint('x', file=sys.stderr)", 0),
        ("x = 'print'", 0),
    ],
)
def test_the_search_for_writers_finds_them(source, count):
    assert len(writes_to_stdout(ast.parse(source))) == count
