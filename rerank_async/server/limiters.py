"""The three ways in which a service may count "8 requests per 1s", as pure rules: a time in, a verdict out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Final, Protocol

import attrs

from rerank_async.server.options import RateLimit


@attrs.frozen
class Verdict:
    """What a limiter says to one request.

    Attributes:
        allowed: Whether it passes. A refused request costs nothing.
        remaining: Whole requests that would pass at this same instant after it.
        retry_after: Seconds until a request would pass; 0 if this one did.
    """

    allowed: bool
    remaining: int
    retry_after: float


class Limiter(Protocol):
    """Decides on one request after the other; `now` never goes back."""

    def admit(self, now: float) -> Verdict:
        """Decide on a request that arrives at `now`, seconds on any monotonic clock."""
        ...


class TokenBucket:
    """Holds up to `requests` tokens, starts full, refills `requests / window` of them a second."""

    # Refilled in one step or in ten, the sum differs by rounding; a token short of that much is a token.
    _ROUNDING: Final = 1e-9

    def __init__(self, requests: int, window: float) -> None:
        self._capacity = requests
        self._rate = requests / window
        self._tokens = float(requests)
        self._settled_at: float | None = None

    def admit(self, now: float) -> Verdict:
        """Take a token, or say when the next one is there."""
        if self._settled_at is not None:
            self._tokens = min(self._capacity, self._tokens + (now - self._settled_at) * self._rate)
        self._settled_at = now
        if self._tokens >= 1 - self._ROUNDING:
            self._tokens = max(0.0, self._tokens - 1)
            return Verdict(True, int(self._tokens + self._ROUNDING), 0.0)
        return Verdict(False, 0, (1 - self._tokens) / self._rate)


class FixedWindow:
    """Admits `requests` between two multiples of `window`, so up to twice as many around a multiple."""

    def __init__(self, requests: int, window: float) -> None:
        self._requests = requests
        self._window = window
        self._number: float | None = None
        self._used = 0

    def admit(self, now: float) -> Verdict:
        """Count the request in the window it falls into, or say when the next window opens."""
        number = now // self._window
        if number != self._number:
            self._number, self._used = number, 0
        if self._used < self._requests:
            self._used += 1
            return Verdict(True, self._requests - self._used, 0.0)
        return Verdict(False, 0, (number + 1) * self._window - now)


class SlidingWindow:
    """Admits `requests` in any `window` seconds: one that passed stops counting exactly `window` later."""

    def __init__(self, requests: int, window: float) -> None:
        self._requests = requests
        self._window = window
        self._admitted: deque[float] = deque(maxlen=requests)

    def admit(self, now: float) -> Verdict:
        """Count the request among the last `window` seconds, or say when the oldest of them leaves."""
        while self._admitted and self._admitted[0] + self._window <= now:
            self._admitted.popleft()
        if len(self._admitted) < self._requests:
            self._admitted.append(now)
            return Verdict(True, self._requests - len(self._admitted), 0.0)
        return Verdict(False, 0, self._admitted[0] + self._window - now)


_KINDS: Final[Mapping[str, Callable[[int, float], Limiter]]] = {
    "token_bucket": TokenBucket,
    "fixed_window": FixedWindow,
    "sliding_window": SlidingWindow,
}


def limiter_for(limit: RateLimit) -> Limiter:
    """Make the limiter that a `RateLimit` describes."""
    return _KINDS[limit.kind](limit.requests, limit.window)
