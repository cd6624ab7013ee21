"""The advice of errors, put in what a command can be told: each translation must still meet its message."""

import ast
from pathlib import Path

import pytest

import rerank_async
from rerank_async.cli.wording import _FOR_COMMANDS, for_commands

LIBRARY = Path(rerank_async.__file__).parent


def wording(node):
    """What a literal says, with one word in the place of each value; None: it is no text."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(wording(part) or "value" for part in node.values)
    return None


@pytest.fixture(scope="module")
def texts():
    """Every literal of the library outside of its command line, without docstrings."""
    modules = [path for path in LIBRARY.rglob("*.py") if "cli" not in path.relative_to(LIBRARY).parts]
    nodes = [node for path in modules for node in ast.walk(ast.parse(path.read_text()))]
    docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    return [text for text in map(wording, (node for node in nodes if id(node) not in docstrings)) if text]


@pytest.mark.parametrize(("pattern", "words"), _FOR_COMMANDS, ids=[pattern.pattern for pattern, _ in _FOR_COMMANDS])
def test_each_translation_meets_a_message_of_the_library(texts, pattern, words):
    met = [text for text in texts if pattern.search(text)]
    assert met
    for text in met:
        assert words in for_commands(text)
        assert not pattern.search(for_commands(text))


def test_a_message_without_advice_for_programs_stays_as_it_is():
    assert for_commands("cannot reach https://example.com: no route") == "cannot reach https://example.com: no route"
