"""A service that refuses connections: since when, and when the next request may find out whether it is back. Pure."""

from __future__ import annotations

from math import inf

PROBE_EVERY = 1.0
"""Seconds between the requests that find out whether a service that refuses connections is back
(docs/decisions.md, 14)."""


class Outage:
    """Begins with a refused connection, and ends with an answer of whatever kind.

    Attributes:
        lasts: Whether there is one.
        answered_at: When the last answer came; minus infinity: none ever did.
    """

    __slots__ = ("_probe_at", "_since", "answered_at", "lasts")

    def __init__(self) -> None:
        self.lasts = False
        self.answered_at = -inf
        self._since = -inf
        self._probe_at = -inf

    def refused(self, sent_at: float, now: float) -> bool:
        """Hears of a refused connection; returns whether the outage begins with it.

        Args:
            sent_at: When the request started; if before the last answer, it says nothing.
            now: When that was known.
        """
        if self.lasts or sent_at < self.answered_at:
            return False
        self.lasts = True
        self._since = now
        self._probe_at = now + PROBE_EVERY
        return True

    def answered(self, now: float) -> bool:
        """Hears of an answer; returns whether the outage ends with it."""
        self.answered_at = now
        ended, self.lasts = self.lasts, False
        return ended

    def wait(self, now: float) -> float:
        """Seconds until a request may go; 0: now, or there is no outage."""
        return max(0.0, self._probe_at - now) if self.lasts else 0.0

    def granted(self, now: float) -> None:
        """A request goes: while the outage lasts, the next may follow a second later."""
        self._probe_at = now + PROBE_EVERY

    def seconds(self, now: float) -> float:
        """How long it has lasted; 0: there is none."""
        return now - self._since if self.lasts else 0.0
