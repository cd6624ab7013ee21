"""The layers of the package, read from the imports of its source files."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import attrs

ROOT = "rerank_async"

# What a room may import of ours, by first matching prefix. Later rooms stand on earlier ones.
_VALUES = ("errors", "values")
_POLICY = (*_VALUES, "policy")
_AUTH = (*_POLICY, "auth")
_RUNTIME = (*_AUTH, "runtime")
_EXCHANGE = (*_RUNTIME, "exchange")
_CALL = (*_EXCHANGE, "call")
_API_CLIENT = (*_CALL, "api_client")
_HANDOUT = (*_VALUES, "handout")
_CLIENT = (*_API_CLIENT, "arguments", "handout", "streaming", "many", "client")
CORE = {
    "errors": (),
    "values": _VALUES,
    "policy": _POLICY,
    "auth": _AUTH,
    "runtime": _RUNTIME,
    "exchange": _EXCHANGE,
    "call": _CALL,
    "api_client": _API_CLIENT,
    "arguments": (*_API_CLIENT, "arguments"),
    "handout": _HANDOUT,
    "streaming": (*_HANDOUT, "streaming"),
    "many": (*_HANDOUT, "many"),
    "client": _CLIENT,
    "": _CLIENT,  # the public face
}
_PURE = ("values", "policy", "auth")
_PURE_NOT = ("asyncio", "aiohttp", "time", "yarl", "socket", "ssl", "threading", "random", "selectors")
_CLOCK_CALLS = {
    ("datetime", "now"),
    ("datetime", "utcnow"),
    ("datetime", "today"),
    ("date", "today"),
    ("time", "time"),
    ("time", "monotonic"),
}


@attrs.frozen
class Import:
    """One name that a module imports when it runs, inside functions too. Relative ones are made absolute."""

    module: str
    target: str
    line: int


def modules(package: Path) -> Iterator[tuple[str, Path, ast.Module]]:
    """Each module of the tree as (dotted name below the root, file, syntax tree). The root itself is ``""``."""
    for file in sorted(package.rglob("*.py")):
        parts = file.relative_to(package).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        yield name, file, _parsed(file.read_text("utf-8"))


@cache
def _parsed(text: str) -> ast.Module:
    return ast.parse(text)


def imports_of(name: str, file: Path, tree: ast.Module, package: Path) -> Iterator[Import]:
    """Everything that the module imports, except under ``if TYPE_CHECKING``."""
    for node in _running(tree):
        if isinstance(node, ast.Import):
            yield from (Import(name, alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                here = [ROOT, *name.split(".")] if name else [ROOT]
                up = node.level - (file.name == "__init__.py")
                base = ".".join([*here[: len(here) - up], *([base] if base else [])])
            for alias in node.names:
                yield Import(name, _narrowed(base, alias.name, package), node.lineno)


def _narrowed(base: str, name: str, package: Path) -> str:
    # `from rerank_async import errors` imports the module errors, not the whole of the package's face.
    if base.partition(".")[0] != ROOT:
        return base
    folder = package.joinpath(*base.split(".")[1:])
    return f"{base}.{name}" if (folder / f"{name}.py").exists() or (folder / name / "__init__.py").exists() else base


def _running(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from (inner for other in node.orelse for inner in (other, *_running(other)))
            continue
        yield node
        yield from _running(node)


def violations(package: Path) -> list[str]:
    """What breaks the layers, one sentence each: empty for a tree in order."""
    return [words for name, file, tree in modules(package) for words in _of_module(name, file, tree, package)]


def _of_module(name: str, file: Path, tree: ast.Module, package: Path) -> Iterator[str]:
    room = name.partition(".")[0]
    if room not in CORE:
        return
    where = f"{ROOT}.{name}".rstrip(".")
    for each in imports_of(name, file, tree, package):
        head, _, below = each.target.partition(".")
        if head != ROOT:
            yield from (f"{where} {words}" for words in _of_library(name, room, head))
        elif below.partition(".")[0] not in CORE[room]:
            yield f"{where} imports {each.target}"
    if room in _PURE:
        yield from (f"{where} reads the clock: {call}" for call in _clock_calls(tree))


def _of_library(name: str, room: str, library: str) -> Iterator[str]:
    if room in _PURE and library in _PURE_NOT:
        yield f"imports {library}, but is pure"
    if library == "aiohttp" and name != "runtime.http":
        yield "imports aiohttp"
    if library == "backoff" and name != "policy.retrying":
        yield "imports backoff"


def _clock_calls(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = ast.unparse(node.func.value).rpartition(".")[2]
            if (owner, node.func.attr) in _CLOCK_CALLS:
                yield f"{owner}.{node.func.attr}()"
