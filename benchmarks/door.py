"""What the benchmarks' server does at its door, pure: how it counts, what it lets through, what it breaks, its scores."""

from __future__ import annotations

import random
import zlib
from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import attrs

KINDS = ("bucket", "fixed", "sliding")
FAULTS = {"500": 0.05, "503": 0.05, "reset": 0.05, "truncated": 0.03, "429": 0.02}
"""Shares of the requests: a storm of 20 %. Resets come in turns before the answer and inside its body."""


@attrs.define(kw_only=True)
class Settings:
    """How one door behaves.

    Attributes:
        kind: How requests are counted: one of `KINDS`.
        rate: Requests a second; None: no limit.
        header: Whether every answer carries the limit in its headers; a str: it carries that, whatever is true.
        text: Whether a 429 names the limit in its message, as the live service does.
        base: Seconds that an answer takes.
        per_input: Seconds more for each input.
        slow_share: Share of the requests that take ``slow_factor`` times as long.
        slow_factor: See there.
        slow_head: Seconds more for a query that starts with "slow".
        faults: What breaks, by name, with its share of the requests: names and order as in `FAULTS`.
        stray_header: What the limit's header of a stray 429 says; None: a stray 429 has no such header.
        max_words: The longest text that is scored without truncation; None: any.
        refused: Whether every request is a 400 with the code of over-length texts, about something else.
        seed: For faults and slow requests.
        certificate: PEM file of certificate and key; None: plain http.
    """

    kind: str = "bucket"
    rate: int | None = None
    header: bool | str = False
    text: bool = False
    base: float = 0.05
    per_input: float = 0.0
    slow_share: float = 0.0
    slow_factor: float = 50.0
    slow_head: float = 0.0
    faults: Mapping[str, float] = attrs.Factory(dict)
    stray_header: str | None = None
    max_words: int | None = None
    refused: bool = False
    seed: int = 1
    certificate: str | None = None


class Arrival(NamedTuple):
    """One request at the door.

    Attributes:
        at: When it came, on the machine's monotonic clock.
        tag: Its query.
        inputs: How many it asked about.
        outcome: "ok", "limited" (a 429 of the limit), the name of a fault, "too long" or "refused".
    """

    at: float
    tag: str
    inputs: int
    outcome: str


class Counter(Protocol):
    """Counts requests; the rate may change from one to the next."""

    def admit(self, now: float, rate: int) -> int:
        """How many more would pass at once after this one; below 0: this one does not pass."""
        ...


class Bucket:
    """Holds a second's requests, starts full, fills evenly."""

    def __init__(self) -> None:
        self._tokens, self._at = float("inf"), 0.0

    def admit(self, now: float, rate: int) -> int:
        """See `Counter`."""
        self._tokens, self._at = min(rate, self._tokens + (now - self._at) * rate), now
        if self._tokens < 1 - 1e-9:
            return -1
        self._tokens -= 1
        return int(self._tokens)


class FixedWindow:
    """Starts anew with each second of the clock."""

    def __init__(self) -> None:
        self._number, self._used = -1.0, 0

    def admit(self, now: float, rate: int) -> int:
        """See `Counter`."""
        if (number := now // 1) != self._number:
            self._number, self._used = number, 0
        if self._used >= rate:
            return -1
        self._used += 1
        return rate - self._used


class SlidingWindow:
    """Looks back over the last second at every request."""

    def __init__(self) -> None:
        self._passed: deque[float] = deque()

    def admit(self, now: float, rate: int) -> int:
        """See `Counter`."""
        while self._passed and self._passed[0] <= now - 1:
            self._passed.popleft()
        if len(self._passed) >= rate:
            return -1
        self._passed.append(now)
        return rate - len(self._passed)


def counter_of(kind: str) -> Counter:
    """The counter of a kind."""
    return {"bucket": Bucket, "fixed": FixedWindow, "sliding": SlidingWindow}[kind]()


def drawn(faults: Mapping[str, float], dice: random.Random) -> str:
    """The name of the fault that the next request meets, or "ok"."""
    at = dice.random()
    for name, share in faults.items():
        if at < share:
            return name
        at -= share
    return "ok"


def words_over(body: Mapping[str, Any], max_words: int) -> int:
    """How many words the longest text has that would fail the request; 0: none would."""
    cut = body.get("parameters", {}).get("truncate_input_tokens")
    if cut is not None and cut <= max_words:
        return 0
    longest = max((len(item["text"].split()) for item in body["inputs"]), default=0)
    return longest if longest > max_words else 0


def score(text: str) -> float:
    """What the server gives a text, whatever the query."""
    return zlib.crc32(text.encode()) % 100_003 / 1000
