"""The Python code of README.md and of the pages runs as it stands there, from top to bottom, in one namespace."""

import json
from pathlib import Path

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

ROOT = Path(__file__).parents[2]
FILES = {
    "queries.jsonl": json.dumps({"id": "q1", "query": "tall birds", "inputs": ["herons are tall birds", "a mouse"]}),
    "qrels.tsv": "q1 0 d1 1",
    "bm25.run": "q1 Q0 d2 1 2 x\nq1 Q0 d1 2 1 x",
    "reranked.run": "q1 Q0 d1 1 2 y\nq1 Q0 d2 2 1 y",
}


@pytest.fixture
def surroundings(rerank_server, tmp_path, monkeypatch):
    """What the pages take as given: a service in the environment, and files in the current folder."""
    for name, value in rerank_server.environ.items():
        monkeypatch.setenv(name, value)
    for name, content in FILES.items():
        (tmp_path / name).write_text(content + "\n")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("surroundings")
@pytest.mark.parametrize(
    "page", ["README.md", "docs/bulk.md", "docs/networks.md", "docs/streaming.md", "docs/testing.md"]
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning:sybil")
def test_the_code_of_the_page_runs(page, capsys, rerank_server):
    document = Sybil(parsers=[PythonCodeBlockParser()]).parse(ROOT / page)
    examples = list(document.examples())
    assert examples, f"{page} shows no Python code block"
    for example in examples:
        try:
            example.evaluate()
        except Exception as exc:
            exc.add_note(f"in the Python code block that begins at line {example.line} of {page}")
            raise
    for name, test in document.namespace.items():
        if name.startswith("test_"):
            test(rerank_server)


def test_every_page_with_code_is_run_here():
    pages = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "docs").glob("*.md")
        if "```python" in path.read_text("utf-8")
    ]
    assert sorted(pages) == ["docs/bulk.md", "docs/networks.md", "docs/streaming.md", "docs/testing.md"]
