"""NamedTuples that are made past their constructor have all their fields: counted in the source."""

import ast
import importlib
from pathlib import Path

import pytest

import rerank_async
from rerank_async.runtime.http import Answer
from rerank_async.values.made import made

PACKAGE = Path(rerank_async.__file__).parent
USES = [
    (".".join(("rerank_async", *path.relative_to(PACKAGE).with_suffix("").parts)), call)
    for path in sorted(PACKAGE.rglob("*.py"))
    for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "made"
]


def test_it_is_the_same_as_what_the_constructor_makes():
    short, long = made(Answer, (200, {}, b"")), Answer(200, {}, b"")
    assert (type(short), short, repr(short)) == (Answer, long, repr(long))


def test_the_uses_are_found():
    kinds = {call.args[0].id for _, call in USES}
    assert kinds == {"Answer", "Answered", "BatchResult", "Envelope", "Job", "Load", "ResponseStats"}


@pytest.mark.parametrize(("module", "call"), USES, ids=[f"{module}:{call.lineno}" for module, call in USES])
def test_a_value_for_each_field(module, call):
    kind, values = call.args
    assert isinstance(values, ast.Tuple)
    assert not any(isinstance(value, ast.Starred) for value in values.elts)
    assert len(values.elts) == len(getattr(importlib.import_module(module), kind.id)._fields)
