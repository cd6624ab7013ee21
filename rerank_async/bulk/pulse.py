"""Whether the service answers, told by what the client's requests meet. Pure: ``now`` in."""

from __future__ import annotations

from rerank_async.values.events import Answered, Event, Merged, Queued, Retried, Sent, Throttled


class Pulse:
    """Hears the client's events.

    A failure is a request that goes again because it got no answer, a 5xx or one that makes no sense; and at the start,
    until the first request is sent, that there is no token to send it with. A query that was scored, and a refusal of
    one, are answers. A 429 is no failure either, but says little: an instance that is throttled for good is of no use.

    Attributes:
        failing_since: The first failure since the last answer; None: there was none.
        answers: Answers so far.
    """

    __slots__ = ("_refused", "_sent", "answers", "failing_since")

    def __init__(self) -> None:
        self.failing_since: float | None = None
        self.answers = 0
        self._sent = False
        self._refused: tuple[int, int] | None = None

    def hear(self, event: Event, now: float) -> None:
        """Takes an event of the client."""
        if isinstance(event, Merged):
            self._answer(event.results > 0)
        elif isinstance(event, Answered):
            if event.status >= 300:  # a 200 may make no sense, so `Merged` says whether it was good
                self._refused = (event.call, event.batch) if event.status < 500 else None
                self._answer(event.status < 500 and event.status != 429)
        elif isinstance(event, Retried):
            if (event.call, event.batch) != self._refused:
                self._fail(now)
        elif isinstance(event, Throttled):
            self.failing_since = None
        elif not self._sent:
            if isinstance(event, Sent):
                self._sent = True
                self.failing_since = None
            elif isinstance(event, Queued):
                self._fail(now)

    def _answer(self, good: bool) -> None:
        if good:
            self.answers += 1
            self.failing_since = None

    def _fail(self, now: float) -> None:
        if self.failing_since is None:
            self.failing_since = now
