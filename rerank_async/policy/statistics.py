"""From a call's events to its statistics."""

from __future__ import annotations

from collections.abc import Iterable

from rerank_async.values.events import Answered, Event, Merged, Retried, Sent, Throttled
from rerank_async.values.response import ResponseStats


def stats_of(events: Iterable[Event]) -> ResponseStats:
    """Adds up the events of one call."""
    requests = retries = throttled = 0
    waited = seconds = 0.0
    exchanges = []
    for event in events:
        if isinstance(event, Sent):
            requests += 1
            waited += event.waited
        elif isinstance(event, Answered):
            exchanges.append(event)
        elif isinstance(event, Retried):
            retries += 1
        elif isinstance(event, Throttled):
            throttled += 1
        elif isinstance(event, Merged):
            seconds = event.seconds
    return ResponseStats(requests, retries, throttled, 0, waited, seconds, tuple(exchanges))
