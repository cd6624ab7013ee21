"""What an answer says about the instance's limit: its headers, or the words of a 429. Nonsense says nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, Literal

import attrs

from rerank_async.values.contract import LIMIT_HEADER, REMAINING_HEADER

MOST_PER_SECOND: Final = 10_000.0
"""Requests a second. A limit above it is taken for nonsense: 1,000 times what a production instance allows would not
slow anybody down, and believing it would switch the pacing off."""

LONGEST_WINDOW: Final = 60.0
"""Seconds. A limit on a longer window is not believed: it could stop the client for that long."""

# "Rate limit of 8 requests per 1s was reached for instance id ..." Source: IBM/unitxt#1215, langflow-ai/openrag#615.
_WORDS: Final = re.compile(
    r"\brate limit of ([0-9]{1,9}) requests? per (?:([0-9]{1,6}(?:\.[0-9]{1,6})?) ?)?([a-z]+)", re.IGNORECASE | re.ASCII
)
_UNITS: Final[Mapping[str, float]] = {
    **dict.fromkeys(("ms", "millisecond", "milliseconds"), 0.001),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60.0),
}
Source = Literal["header", "429", "learned"]

_DIGITS: Final = re.compile(r"[0-9]{1,9}")


@attrs.frozen
class Limit:
    """So many requests in so many seconds.

    Attributes:
        requests: At least 1.
        seconds: Above 0. A header is read as requests a second, as IBM's SDK does.
        source: Where it was read; ``learned``: nowhere, the limiter measured it.
    """

    requests: int
    seconds: float
    source: Source


@attrs.frozen
class Heard:
    """What one answer says; None: nothing, or nonsense.

    Attributes:
        limit: The instance's limit.
        remaining: Requests that would pass right after this one, at least 0.
    """

    limit: Limit | None
    remaining: int | None


def heard_of(headers: Mapping[str, str], message: str | None = None) -> Heard | None:
    """Reads ``x-requests-limit-rate`` and ``x-requests-limit-remaining``, and the text of a 429.

    A header's number wins over the text; if both name the same number, the text says for how many seconds it holds.

    Args:
        headers: By lower-case name, or a mapping that ignores case.
        message: The words of a 429; None for any other answer.

    Returns:
        None if the answer says nothing about a limit.
    """
    rate = headers.get(LIMIT_HEADER)
    left = headers.get(REMAINING_HEADER)
    if rate is None and left is None and message is None:
        return None
    limit = None if rate is None else _limit_of_header(rate)
    if message is not None:
        told = _limit_of_words(message)
        if told is not None and (limit is None or limit.requests == told.requests):
            limit = told if limit is None else Limit(told.requests, told.seconds, "header")
    remaining = None if left is None else _whole(left)
    return None if limit is None and remaining is None else Heard(limit, remaining)


def _whole(text: str) -> int | None:
    text = text.strip()
    return int(text) if _DIGITS.fullmatch(text) else None


@lru_cache(maxsize=32)  # the same few characters on each answer
def _limit_of_header(text: str) -> Limit | None:
    requests = _whole(text)
    return None if requests is None else _sane(requests, 1.0, "header")


def _limit_of_words(message: str) -> Limit | None:
    found = _WORDS.search(message)
    if found is None:
        return None
    unit = _UNITS.get(found[3].lower())
    if unit is None:
        return None
    return _sane(int(found[1]), unit * float(found[2] or 1), "429")


def _sane(requests: int, seconds: float, source: Source) -> Limit | None:
    possible = requests >= 1 and 0 < seconds <= LONGEST_WINDOW and requests / seconds <= MOST_PER_SECOND
    return Limit(requests, seconds, source) if possible else None
