"""The version of this package, as pyproject.toml has it (a test compares them): no metadata look-up at import."""

from typing import Final

VERSION: Final[str] = "0.1.0"

USER_AGENT: Final[str] = f"rerank_async/{VERSION}"
