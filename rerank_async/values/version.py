"""The version of this package, as pyproject.toml has it (a test compares them): no metadata look-up at import."""

import sys
from typing import Final

VERSION: Final[str] = "0.1.0"

USER_AGENT: Final[str] = (
    f"rerank_async/{VERSION} (Python {sys.version_info.major}.{sys.version_info.minor}; {sys.platform})"
)
"""What every request says of its sender: products with comments, as RFC 9110 has it."""
