"""`make bench`: every benchmark, each in a process of its own. All claims are ratios within one run."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

PARTS = ("cpu.py", "imports.py", "pacing.py", "tokens.py", "fastapi_load.py")


def main() -> None:
    print(f"{platform.machine()}, Python {platform.python_version()}\n", flush=True)
    for part in PARTS:
        path = Path(__file__).parent / part
        title = path.read_text(encoding="utf-8").partition('"""')[2].partition("\n")[0].removesuffix('"""')
        print(f"## {title}\n", flush=True)
        subprocess.run([sys.executable, str(path)], check=True)
        print(flush=True)


if __name__ == "__main__":
    main()
