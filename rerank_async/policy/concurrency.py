"""How many requests may be in flight: a fixed bound that overload halves and clean answers restore. Pure."""

from __future__ import annotations

import math

SLOW_START = 8
"""Requests in flight at first where no rate is known: one second's worth of the documented default of 8 a second."""

OUTWEIGHS = 4
"""Clean answers that outweigh one 503 or timeout, so up to one in five of those is taken for chance. Retries carry that
many. Halving at each of them instead, 5 % of chance 503s would hold 32 callers down to 15 requests in flight."""

_ENOUGH = (
    3 * OUTWEIGHS
)  # three with hardly a clean answer between them; at 5 % by chance about one in a hundred is that


class ConcurrencyBound:
    """A bound on requests in flight. Nothing here measures latency: rate, size and concurrency would oscillate together.

    Slow start is that of TCP (RFC 5681, 3.1): each clean answer makes room for one more, so a full window doubles in a
    round trip. It ends at ``most``, at the first halving, or when a limit becomes known. After a halving each
    ``bound`` clean answers restore one place (congestion avoidance, ibid.).

    Attributes:
        most: The bound when nothing is wrong.
        bound: Requests that may be in flight now, 1 to ``most``.
    """

    __slots__ = ("_clean", "_halved_at", "_slow", "_strain", "bound", "most")

    def __init__(self, most: int, *, slow_start: bool) -> None:
        """Sets the bound.

        Args:
            most: At least 1.
            slow_start: Whether to begin with `SLOW_START`; else with ``most``.
        """
        self.most = most
        self.bound = min(SLOW_START, most) if slow_start else most
        self._slow = slow_start
        self._clean = 0  # answers since the last step
        self._strain = 0  # 503s and timeouts that clean answers have not yet outweighed
        self._halved_at = -math.inf

    def answered(self, sent_at: float, now: float) -> None:  # noqa: ARG002 - heard in the same words as `crowded`
        """Hears an answer that was neither overload nor a 429.

        Args:
            sent_at: When its request started. What was sent before the last halving says nothing about the new bound.
            now: When it came.
        """
        if self.bound == self.most and not self._strain:
            return
        if sent_at < self._halved_at:
            return
        if self._strain:
            self._strain -= 1
        if self.bound == self.most:
            return
        if self._slow:
            self.bound += 1
            return
        self._clean += 1
        if self._clean >= self.bound:
            self._clean = 0
            self.bound += 1

    def crowded(self, sent_at: float, now: float) -> None:
        """Hears that the model's pool is full: halves the bound, once for all that was in flight.

        Args:
            sent_at: When the request started that met it.
            now: When that was known.
        """
        if sent_at < self._halved_at:
            return
        self._slow = False
        self._halved_at = now
        self._clean = 0
        self.bound = max(1, self.bound // 2)

    def strained(self, sent_at: float, now: float) -> None:
        """Hears a 503 or a timeout: halves the bound as `crowded` does, if there are more of them than chance explains.

        Args:
            sent_at: When the request started that met it.
            now: When that was known.
        """
        if sent_at < self._halved_at:
            return
        self._strain = min(_ENOUGH, self._strain + OUTWEIGHS)
        if self._strain == _ENOUGH:  # and it stays so: if the strain goes on, each round trip halves
            self.crowded(sent_at, now)

    def limit_heard(self) -> None:
        """A rate is known, so the pace guards the service: slow start ends at ``most``. A halved bound stays halved."""
        if self._slow:
            self._slow = False
            self.bound = self.most
