"""`make bench`: every benchmark, each in a process of its own, and one table. All claims are ratios within one run.

`make bench-quick` does everything once, with one kind of limit. The points are those of "limits" (the instance's rate,
faults, fairness, several processes) and "batches" (sizes, over-length texts, slow tails, streams, many queries).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from report import Figure, table

HERE = Path(__file__).parent
PARTS = ("cpu", "rate_limits", "faults", "fairness", "processes", "big_list", "slow_tail", "over_length", "many")
TABLES = ("imports", "tokens", "fastapi_load")
"""These print tables of their own; only the first is part of the quick form."""


def figures_of(part: str, *, quick: bool) -> list[Figure]:
    """Runs one part."""
    command = [sys.executable, str(HERE / f"{part}.py"), "--json", *(["--quick"] if quick else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        figures = [Figure(**json.loads(line)) for line in process.stdout]
    if process.returncode:
        words = f"{part}.py ended with {process.returncode}"
        figures.append(Figure(point=part, what="the whole part", value=float("nan"), context=words))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="once, with one kind of limit")
    parser.add_argument("parts", nargs="*", help=f"of {', '.join((*PARTS, *TABLES))}; none: all")
    options = parser.parse_args()
    began_at = time.monotonic()
    figures: list[Figure] = []
    for part in PARTS:
        if not options.parts or part in options.parts:
            print(f"{part} ... ({time.monotonic() - began_at:.0f} s)", file=sys.stderr, flush=True)
            figures += figures_of(part, quick=options.quick)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    runs = "one run, one kind of limit" if options.quick else "medians of 5 runs"
    print(f"{machine}, {datetime.now(UTC):%d %B %Y}, {runs}, load before {_load}\n")
    print(table(figures), flush=True)
    for part in TABLES[: 1 if options.quick else None]:
        if not options.parts or part in options.parts:
            path = HERE / f"{part}.py"
            title = path.read_text(encoding="utf-8").partition('"""')[2].partition("\n")[0].removesuffix('"""')
            print(f"\n## {title}\n", flush=True)
            subprocess.run([sys.executable, str(path)], check=True)
    print(f"\n{time.monotonic() - began_at:.0f} s in all", flush=True)


_load = f"{os.getloadavg()[0]:.1f}"

if __name__ == "__main__":
    main()
