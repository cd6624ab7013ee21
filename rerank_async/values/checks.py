"""Validators of the values: each raises an error that names the argument, what it was and what it may be."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rerank_async.errors import InvalidArgumentError, InvalidTypeError
from rerank_async.values.secret import kind_of, sealed_headers

_OWN_HEADERS = frozenset({"authorization", "content-type", "content-length", "accept", "host", "transfer-encoding"})

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a token of RFC 9110

Validator = Callable[[Any, Any, Any], None]


def number(value: object, name: str) -> float:
    """Returns ``value`` as it is if it is an int or a float other than NaN."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidTypeError(f"{name} must be a number, not {type(value).__name__}", argument=name)
    if isinstance(value, float) and math.isnan(value):
        raise InvalidArgumentError(f"{name} must be a number, not NaN", argument=name)
    return value


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an int that no float can hold
        return False


def integer(value: object, name: str) -> int:
    """Returns ``value`` as it is if it is an int and not a bool."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidTypeError(f"{name} must be an int, not {type(value).__name__}", argument=name)
    return value


def integer_from(least: int, *, optional: bool = False) -> Validator:
    """An attrs validator: an int of at least ``least`` (or None, if ``optional``)."""

    def check(_: Any, attribute: Any, value: Any) -> None:
        if value is None and optional:
            return
        if integer(value, attribute.name) < least:
            raise InvalidArgumentError(
                f"{attribute.name} must be at least {least}, not {value}", argument=attribute.name
            )

    return check


def number_from(
    least: float, *, above: bool = False, most: float | None = None, finite: bool = True, optional: bool = False
) -> Validator:
    """An attrs validator: a number of at least ``least``, or above it, and at most ``most``; ``finite``: no infinity."""

    def check(_: Any, attribute: Any, value: Any) -> None:
        if value is None and optional:
            return
        name = attribute.name
        number(value, name)
        if value < least or (above and value == least):
            bound = f"above {least:g}" if above else f"at least {least:g}"
            raise InvalidArgumentError(f"{name} must be {bound}, not {value!r}", argument=name)
        if most is not None and value > most:
            raise InvalidArgumentError(f"{name} must be at most {most:g}, not {value!r}", argument=name)
        if not _is_finite(value) and (finite or value != math.inf):
            raise InvalidArgumentError(f"{name} must be finite, not {value!r}", argument=name)

    return check


def boolean(_: Any, attribute: Any, value: Any) -> None:
    """An attrs validator: a bool."""
    if not isinstance(value, bool):
        raise InvalidTypeError(
            f"{attribute.name} must be True or False, not {type(value).__name__}", argument=attribute.name
        )


def one_of(*choices: str) -> Validator:
    """An attrs validator: one of these words."""

    def check(_: Any, attribute: Any, value: Any) -> None:
        chosen(value, attribute.name, choices)

    return check


def chosen(value: object, name: str, choices: Iterable[str]) -> str:
    """Returns ``value`` if it is one of the words in ``choices``."""
    if not isinstance(value, str):
        raise InvalidTypeError(f"{name} must be a str, not {type(value).__name__}", argument=name)
    if value not in choices:
        raise InvalidArgumentError(
            f"{name} must be one of {', '.join(map(repr, choices))}, not {value!r}", argument=name
        )
    return value


def optional_boolean(_: Any, attribute: Any, value: Any) -> None:
    """An attrs validator: a bool or None."""
    if value is not None:
        boolean(_, attribute, value)


def suggestion(name: str, known: Iterable[str]) -> str:
    """What to say of an unknown name: the nearest known one, and all of them."""
    import difflib  # noqa: PLC0415 - only a mistake needs it

    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}Known: {', '.join(names)}"


def timeout_seconds(timeout: object) -> float | None:
    """A call's ``timeout``: above 0 and finite, or None for no bound.

    Raises:
        InvalidArgumentError: Out of range.
        InvalidTypeError: Not a number.
    """
    if timeout is None:
        return None
    seconds = number(timeout, "timeout")
    if seconds <= 0 or not _is_finite(seconds):
        raise InvalidArgumentError(
            f"timeout must be above 0 and finite, not {timeout!r}; None is no bound", argument="timeout"
        )
    return seconds


def header_fields(headers: object) -> Mapping[str, str]:
    """A call's ``extra_headers``, sealed: names and values that can be sent, and none that the client sets itself.

    Raises:
        InvalidArgumentError: Such a name, or characters that a header cannot carry.
        InvalidTypeError: Not a mapping of str to str.
    """
    headers = sealed_headers(headers)
    if not isinstance(headers, Mapping):
        raise InvalidTypeError(f"extra_headers must be a dict, not {kind_of(headers)}", argument="extra_headers")
    for name in headers:
        if not isinstance(name, str) or not isinstance(headers[name], str):
            raise InvalidTypeError("extra_headers must map str to str", argument="extra_headers")
        if name.lower() in _OWN_HEADERS:
            raise InvalidArgumentError(f"extra_headers sets {name!r}, which the client sets", argument="extra_headers")
        if not _HEADER_NAME.fullmatch(name) or not headers[name].isprintable():
            raise InvalidArgumentError(
                f"extra_headers[{name!r}] holds characters that a header cannot carry", argument="extra_headers"
            )
    return headers


def check_encodable(text: str, argument: str, index: int | None) -> None:
    """Refuses text that UTF-8 cannot carry.

    Raises:
        InvalidArgumentError: The text holds a lone surrogate; the message says where, and shows no text.
    """
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        where = argument if index is None else f"{argument}[{index}]"
        position = exc.start
    else:
        return
    raise InvalidArgumentError(
        f"{where} holds a lone surrogate at character {position}, which UTF-8 cannot carry; it often comes from "
        "decoding with errors='surrogateescape'",
        argument=argument,
        index=index,
    )
