"""JSON to and from UTF-8 bytes: orjson where it is installed (extra ``orjson``), else the standard library."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any, NamedTuple


class Codec(NamedTuple):
    """What one library can do.

    Attributes:
        dumps: A value to UTF-8 bytes, without escapes for letters outside ASCII and without spaces.
        loads: Bytes to a value; raises a ValueError.
        body: A request's body: at least one field, and behind them ``inputs`` with these texts.
        loads_alike: As ``loads``, with numbers as orjson has them: NaN and what is too large for a double are refused, and
            a whole number over 64 bits is a float.
        strict: Whether both refuse half of a surrogate pair, which UTF-8 does not have.
    """

    dumps: Callable[[Any], bytes]
    loads: Callable[[bytes], Any]
    loads_alike: Callable[[bytes], Any]
    body: Callable[[Mapping[str, Any], Sequence[str]], bytes]
    strict: bool


_slow = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False)
# JSONEncoder.encode builds this encoder anew for each value, which is a fifth of what a body costs.
_make = getattr(json.encoder, "c_make_encoder", None)
_fast = _make and _make(None, _slow.default, json.encoder.encode_basestring, None, ":", ",", False, False, True)


_string = json.encoder.encode_basestring
_scan: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder().scan_once  # type: ignore[attr-defined]  # typeshed lacks it
_CONTROL = bytes(range(32))
_MOST_DIGITS = len(str(-(2**63)))  # of a whole number of 64 bits, its sign included


def _encode(value: Any) -> str:
    return "".join(_fast(value, 0)) if _fast else _slow.encode(value)


def _dumps(value: Any) -> bytes:
    return _encode(value).encode()


def _body(fields: Mapping[str, Any], texts: Sequence[str]) -> bytes:
    # Joined by hand: two thirds of what the encoder needs, which would ask of each text whether it is one.
    if not texts:
        return f'{_encode(fields)[:-1]},"inputs":[]}}'.encode()
    # Most characters need no escape, and to see that for a whole batch takes a quarter of looking at each. The quick
    # looks come first: a batch that is escaped after all loses next to nothing.
    whole = "".join(texts)
    if "\n" not in whole and '"' not in whole and "\\" not in whole:
        plain = '"},{"text":"'.join(texts).encode()
        if len(plain.translate(None, _CONTROL)) == len(plain):
            return b'%b,"inputs":[{"text":"%b"}]}' % (_encode(fields)[:-1].encode(), plain)
    inputs = '},{"text":'.join(map(_string, texts))
    return f'{_encode(fields)[:-1]},"inputs":[{{"text":{inputs}}}]}}'.encode()


def _finite(number: str) -> float:
    value = float(number)
    if math.isinf(value):
        raise ValueError("a number that is too large")
    return value


def _whole(number: str) -> float:
    if len(number) > _MOST_DIGITS or not -(2**63) <= (value := int(number)) < 2**64:
        return _finite(number)
    return value


def _refused(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


_scan_alike: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder(
    parse_float=_finite, parse_int=_whole, parse_constant=_refused
).scan_once  # type: ignore[attr-defined]  # likewise


def _loads(data: bytes, scan: Callable[[str, int], tuple[Any, int]] = _scan) -> Any:
    # As json.loads does it, without its choices: given bytes, it would look for UTF-16 first.
    try:
        text = data.decode().strip(" \t\n\r")
        value, end = scan(text, 0)
    except StopIteration:
        raise ValueError("no JSON value") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if end != len(text):
        raise ValueError("more than one JSON value")
    return value


@cache
def codec() -> Codec:
    """The codec of this process, chosen at first use."""
    try:
        import orjson  # noqa: PLC0415 - an extra, looked for when it is needed
    except ImportError:
        return Codec(_dumps, _loads, partial(_loads, scan=_scan_alike), _body, strict=False)

    def body(fields: Mapping[str, Any], texts: Sequence[str]) -> bytes:
        return orjson.dumps({**fields, "inputs": [{"text": text} for text in texts]})

    return Codec(orjson.dumps, orjson.loads, orjson.loads, body, strict=True)


def json_size(text: str) -> int:
    """Bytes of a text as a JSON string, quotes included. The same under both codecs."""
    return len(_dumps(text))
