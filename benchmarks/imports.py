"""What `import rerank_async` costs, as a ratio to `import aiohttp`: the median of 9 fresh interpreters each."""

from __future__ import annotations

import compileall
import statistics
import subprocess
import sys
from pathlib import Path

import rerank_async

_CODE = "import time; at = time.perf_counter(); import {}; print(time.perf_counter() - at)"


def seconds(module: str) -> float:
    """One fresh interpreter."""
    done = subprocess.run([sys.executable, "-c", _CODE.format(module)], capture_output=True, text=True, check=True)
    return float(done.stdout)


def compare() -> None:
    # As pip does for an installed package; an editable one may not be compiled yet.
    compileall.compile_dir(Path(rerank_async.__file__).parent, quiet=2)
    modules = ("aiohttp", "rerank_async")
    runs = [[seconds(module) for module in modules] for _ in range(9)]
    base, ours = (statistics.median(column) for column in zip(*runs, strict=True))
    print("| | ms |\n|---|---|")
    print(f"| import aiohttp | {base * 1e3:.0f} |\n| import rerank_async | {ours * 1e3:.0f} |")
    print(f"| **ratio** | **{ours / base:.2f}** |")


if __name__ == "__main__":
    compare()
