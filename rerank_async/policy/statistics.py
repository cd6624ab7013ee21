"""From a call's events to its statistics: an observer like any other."""

from __future__ import annotations

from rerank_async.values.events import Answered, Event, Merged, Retried, Sent, Throttled
from rerank_async.values.response import ExchangeStats, ResponseStats


class Statistics:
    """Adds up the events of one call."""

    __slots__ = ("_answers", "_requests", "_retries", "_seconds", "_throttled", "_waited")

    def __init__(self) -> None:
        self._requests = self._retries = self._throttled = 0
        self._waited = self._seconds = 0.0
        self._answers: list[Answered] = []

    def __call__(self, event: Event) -> None:
        """Takes one event."""
        kind = type(event)
        if isinstance(event, Sent):
            self._requests += 1
            self._waited += event.waited
        elif isinstance(event, Answered):
            self._answers.append(event)
        elif isinstance(event, Merged):
            self._seconds = event.seconds
        elif kind is Retried:
            self._retries += 1
        elif kind is Throttled:
            self._throttled += 1

    def stats(self) -> ResponseStats:
        """The sums so far."""
        return ResponseStats(
            requests=self._requests,
            retries=self._retries,
            throttled=self._throttled,
            waited=self._waited,
            seconds=self._seconds,
            exchanges=tuple(
                ExchangeStats(each.batch, each.inputs, each.status, each.seconds, each.trace) for each in self._answers
            ),
        )
