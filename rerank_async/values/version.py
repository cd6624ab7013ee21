"""The version of this package, as pyproject.toml has it (a test compares them): no metadata look-up at import."""

from typing import Final

VERSION: Final = "0.1.0"
