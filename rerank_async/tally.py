"""What a call tells of itself: its statistics, and its events where somebody listens."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import count

from rerank_async.values.events import (
    Answered,
    Event,
    Failed,
    Hedged,
    Merged,
    Observer,
    Queued,
    Retried,
    Sent,
    Throttled,
)
from rerank_async.values.made import made
from rerank_async.values.response import ResponseStats

_logger = logging.getLogger("rerank_async")
_numbers = count(1)


class Tally:
    """Counts what happens to one call, and tells the observers.

    An event that nobody takes and no statistic needs is not made: this runs for every request.
    """

    __slots__ = ("_again", "_exchanges", "_hedges", "_observers", "_requests", "_waited", "call")

    def __init__(self, observers: Sequence[Observer]) -> None:
        self.call = next(_numbers)
        self._observers = observers
        self._requests = 0
        self._hedges = 0
        self._waited = 0.0
        self._exchanges: list[Answered] = []
        self._again: list[Retried | Throttled] | None = None

    def queued(self, at: float, inputs: int, unique: int, requests: int) -> None:
        """The call was accepted."""
        if self._observers:
            self._tell(Queued(self.call, at, inputs, unique, requests))

    def sent(self, at: float, batch: int, inputs: int, attempt: int, waited: float) -> None:
        """A request goes out."""
        self._requests += 1
        self._waited += waited
        if self._observers:
            self._tell(Sent(self.call, at, batch, inputs, attempt, waited))

    def answered(self, at: float, batch: int, inputs: int, status: int, seconds: float, trace: str | None) -> None:
        """An answer came."""
        event = made(Answered, (self.call, at, batch, inputs, status, seconds, trace))
        self._exchanges.append(event)
        if self._observers:
            self._tell(event)

    def again(self, event: Retried | Throttled) -> None:
        """A batch will go again."""
        if self._again is None:
            self._again = []
        self._again.append(event)
        if self._observers:
            self._tell(event)

    def hedged(self, at: float, batch: int, delay: float) -> None:
        """A second copy of a request goes out."""
        self._hedges += 1
        if self._observers:
            self._tell(Hedged(self.call, at, batch, delay))

    def merged(self, at: float, results: int, seconds: float) -> None:
        """The call is done."""
        if self._observers:
            self._tell(Merged(self.call, at, results, seconds))

    def failed(self, at: float, reason: str, seconds: float) -> None:
        """The call failed."""
        if self._observers:
            self._tell(Failed(self.call, at, reason, seconds))

    def stats(self, seconds: float) -> ResponseStats:
        """The sums so far; ``seconds`` since the call's start."""
        again = self._again or ()
        throttled = sum(isinstance(event, Throttled) for event in again) if again else 0
        return made(
            ResponseStats,
            (
                self._requests,
                len(again) - throttled,
                throttled,
                self._hedges,
                self._waited,
                seconds,
                tuple(self._exchanges),
                tuple(again),
            ),
        )

    def _tell(self, event: Event) -> None:
        for observer in self._observers:
            try:
                observer(event)
            except Exception:
                _logger.exception("an observer raised; the call goes on")
