"""Both JSON codecs, so that a test can run under each."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from rerank_async.policy.json_codec import codec

NAMES = ("stdlib", "orjson")


@contextmanager
def use_codec(name: str) -> Iterator[None]:
    """Makes one codec that of this process, by the package's own choice: with orjson in reach, and without."""
    hidden = {"orjson": None} if name == "stdlib" else {}
    with patch.dict(sys.modules, hidden):
        codec.cache_clear()
        chosen = codec().dumps.__module__
    assert chosen == ("orjson" if name == "orjson" else "rerank_async.policy.json_codec")
    try:
        yield
    finally:
        codec.cache_clear()
