"""``python -m rerank_async.cli``: the same as ``rerank-async``."""

import sys

from rerank_async.cli import main

if __name__ == "__main__":
    sys.exit(main())
