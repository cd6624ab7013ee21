"""The Python code of README.md and of a page runs as it stands there, from top to bottom, in one namespace."""

from pathlib import Path

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("page", ["README.md", "docs/streaming.md"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning:sybil")
def test_the_code_of_the_page_runs(page, capsys):
    document = Sybil(parsers=[PythonCodeBlockParser()]).parse(ROOT / page)
    examples = list(document.examples())
    assert examples, f"{page} shows no Python code block"
    for example in examples:
        try:
            example.evaluate()
        except Exception as exc:
            exc.add_note(f"in the Python code block that begins at line {example.line} of {page}")
            raise
