"""The command line: ``rerank-async rank``, ``bulk``, ``eval``, ``models``, ``serve`` and ``auth check``; needs the extra ``cli``."""

import importlib
import sys

NEEDED = ("click", "rich")
HINT = "the command line needs the extra 'cli': pip install '.[cli]' in a checkout of rerank_async"


def main() -> int:
    """Runs the command that the arguments name.

    Returns:
        The exit code, as the class `rerank_async.cli.exits.Exit` lists them; 2 where the extra is not installed.
    """
    try:
        try:
            for name in NEEDED:
                importlib.import_module(name)
        except ImportError as exc:
            if exc.name not in NEEDED:
                raise
            sys.stderr.write(f"{HINT}\n")
            return 2
        from rerank_async.cli.app import run

        return run()
    except KeyboardInterrupt:  # while modules were still being imported
        return 130
