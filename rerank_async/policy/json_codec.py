"""JSON to and from UTF-8 bytes: orjson where it is installed (extra ``orjson``), else the standard library."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple


class Codec(NamedTuple):
    """A pair of functions.

    Attributes:
        dumps: A value to UTF-8 bytes, without escapes for letters outside ASCII and without spaces.
        loads: Bytes to a value; raises a ValueError.
    """

    dumps: Callable[[Any], bytes]
    loads: Callable[[bytes], Any]


_slow = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False)
# JSONEncoder.encode builds this encoder anew for each value, which is a fifth of what a body costs.
_make = getattr(json.encoder, "c_make_encoder", None)
_fast = _make and _make(None, _slow.default, json.encoder.encode_basestring, None, ":", ",", False, False, True)


def _dumps(value: Any) -> bytes:
    return ("".join(_fast(value, 0)) if _fast else _slow.encode(value)).encode()


def _loads(data: bytes) -> Any:
    try:
        return json.loads(data.decode())  # given bytes, it would look for UTF-16 first
    except RecursionError:
        raise ValueError("nested too deeply") from None


@cache
def codec() -> Codec:
    """The codec of this process, chosen at first use."""
    try:
        import orjson  # noqa: PLC0415 - an extra, looked for when it is needed
    except ImportError:
        return Codec(_dumps, _loads)
    return Codec(orjson.dumps, orjson.loads)


def json_size(text: str) -> int:
    """Bytes of a text as a JSON string, quotes included. The same under both codecs."""
    return len(_dumps(text))
