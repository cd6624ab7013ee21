"""The gate: one queue for permits, over everything that shares a client. A permit is one POST to rerank."""

from __future__ import annotations

import asyncio
from bisect import bisect_left, insort
from itertools import count

from rerank_async.errors import DeadlineExceededError
from rerank_async.policy.limiting import WindowLimiter
from rerank_async.runtime.clock import Clock, Timer
from rerank_async.values.response import LimitStatus


class Permit:
    """The right to send one request now.

    Attributes:
        granted_at: When, on the monotonic clock.
        waited: Seconds between asking and getting.
    """

    __slots__ = ("granted_at", "waited")

    def __init__(self, granted_at: float, waited: float) -> None:
        self.granted_at = granted_at
        self.waited = waited


class _Waiter:
    __slots__ = ("asked_at", "future", "ticket")

    def __init__(self, ticket: int, asked_at: float, future: asyncio.Future[Permit]) -> None:
        self.ticket = ticket
        self.asked_at = asked_at
        self.future = future

    def __lt__(self, other: _Waiter) -> bool:
        return self.ticket < other.ticket


class Gate:
    """Grants permits first come, first served, within a rate and a bound on requests in flight.

    Granted and unsent: `give_back`. Sent: `leave`, when the exchange has ended in whatever way. Belongs to one event
    loop at a time; `forget_loop` when the next one begins.

    Attributes:
        granted: Permits granted so far, for benchmarks and tests.
    """

    def __init__(self, limiter: WindowLimiter, max_concurrency: int, clock: Clock) -> None:
        self._limiter = limiter
        self._max_concurrency = max_concurrency
        self._clock = clock
        self._tickets = count()
        self._waiters: list[_Waiter] = []
        self._in_flight = 0
        self._timer: Timer | None = None
        self.granted = 0

    def ticket(self) -> int:
        """A place in the queue: the lower, the earlier. A batch keeps its ticket when a 429 sends it back."""
        return next(self._tickets)

    async def enter(self, ticket: int, deadline: float | None = None) -> Permit:
        """Waits for a permit; the caller sends at once, or gives it back.

        Args:
            ticket: From `ticket`.
            deadline: On the monotonic clock; None: none.

        Raises:
            DeadlineExceededError: The limiter alone would take until after the deadline. Nothing was waited for.
        """
        now = self._clock.now()
        if not self._waiters and self._in_flight < self._max_concurrency and not self._limiter.wait(now):
            return self._grant(now, now)
        ahead = bisect_left(self._waiters, ticket, key=lambda waiter: waiter.ticket)
        if deadline is not None:
            self._check(now, ahead, deadline)
        waiter = _Waiter(ticket, now, asyncio.get_running_loop().create_future())
        insort(self._waiters, waiter)
        self._pump()
        try:
            return await waiter.future
        except asyncio.CancelledError:
            self._leave_queue(waiter)
            raise

    def leave(self) -> None:
        """An exchange has ended: its place in flight is free. Its permit is spent."""
        self._in_flight = max(0, self._in_flight - 1)
        if self._waiters:
            self._pump()

    def give_back(self, permit: Permit) -> None:
        """Returns a permit that was not used."""
        self._limiter.give_back(permit.granted_at)
        self.granted -= 1
        self.leave()

    def throttled(self, permit: Permit, retry_after: float | None) -> float:
        """Hears a 429 and holds every request; returns for how many seconds."""
        delay = self._limiter.throttled(self._clock.now(), permit.granted_at, retry_after)
        self._cancel_timer()
        self._pump()
        return delay

    def answered(self, permit: Permit) -> None:
        """Hears an answer other than a 429."""
        self._limiter.answered(permit.granted_at)

    def ready_at(self, ahead: int) -> float:
        """When a request would start that is asked for now with ``ahead`` others before it, the queue included."""
        return self._limiter.ready_at(self._clock.now(), len(self._waiters) + ahead)

    def check(self, requests: int, deadline: float) -> None:
        """Refuses a call whose last request could not start before the deadline.

        Raises:
            DeadlineExceededError: As `enter`.
        """
        self._check(self._clock.now(), len(self._waiters) + requests - 1, deadline)

    def status(self) -> LimitStatus:
        """This moment, for health checks."""
        now = self._clock.now()
        return LimitStatus(
            requests_per_second=self._limiter.rate,
            source="option",
            queued=len(self._waiters),
            in_flight=self._in_flight,
            paused=max(0.0, self._limiter.paused_until - now),
            behind=self._limiter.ready_at(now, len(self._waiters)) - now,
        )

    def forget_loop(self) -> None:
        """Drops what belonged to an event loop that is gone: its waiters, its timer, its requests in flight."""
        self._waiters.clear()
        self._timer = None
        self._in_flight = 0

    def _check(self, now: float, ahead: int, deadline: float) -> None:
        ready_at = self._limiter.ready_at(now, ahead)
        if ready_at > deadline:
            raise DeadlineExceededError(
                f"the limiter is {ready_at - now:.1f} s behind, the deadline is in {max(0.0, deadline - now):.1f} s. "
                "Nothing was sent for what is left; give the call more time, or ask for less at once"
            )

    def _grant(self, now: float, asked_at: float) -> Permit:
        self._limiter.start(now)
        self._in_flight += 1
        self.granted += 1
        return Permit(now, now - asked_at)

    def _pump(self) -> None:
        """Grants what may be granted now, and sets the one timer for the rest."""
        now = self._clock.now()
        while self._waiters and self._in_flight < self._max_concurrency:
            if wait := self._limiter.wait(now):
                if self._timer is None:
                    self._timer = self._clock.call_at(now + wait, self._on_timer)
                return
            waiter = self._waiters.pop(0)
            if not waiter.future.done():
                waiter.future.set_result(self._grant(now, waiter.asked_at))

    def _on_timer(self) -> None:
        self._timer = None
        self._pump()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _leave_queue(self, waiter: _Waiter) -> None:
        """Takes back a cancelled waiter, whose permit may have been granted in the same moment."""
        if waiter.future.done() and not waiter.future.cancelled():
            self.give_back(waiter.future.result())
        elif waiter in self._waiters:
            self._waiters.remove(waiter)
        if not self._waiters:
            self._cancel_timer()
