"""The Python code of README.md runs as it stands there, from top to bottom, in one namespace."""

from pathlib import Path

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

README = Path(__file__).parents[2] / "README.md"


@pytest.mark.filterwarnings("ignore::DeprecationWarning:sybil")
def test_the_code_of_the_readme_runs(capsys):
    document = Sybil(parsers=[PythonCodeBlockParser()]).parse(README)
    examples = list(document.examples())
    assert examples, "README.md shows no Python code block"
    for example in examples:
        try:
            example.evaluate()
        except Exception as exc:
            exc.add_note(f"in the Python code block that begins at line {example.line} of README.md")
            raise
