"""The gate: one queue for permits, over everything that shares a client. A permit is one POST to rerank."""

from __future__ import annotations

import asyncio
from bisect import bisect_left, insort
from itertools import count
from math import inf

from rerank_async.errors import ClientClosedError, DeadlineExceededError
from rerank_async.policy.limiting import WindowLimiter
from rerank_async.runtime.clock import Clock, Timer
from rerank_async.values.response import LimitStatus

_CLOSED = "the client was closed while this call was under way"


class Permit:
    """The right to send one request now.

    Attributes:
        waited: Seconds between asking and getting.
        sent_at: When its request started, on the monotonic clock; None: not yet.
        era: Which of the gate's event loops it belongs to, counted from 0.
    """

    __slots__ = ("era", "sent_at", "waited")

    def __init__(self, waited: float, era: int) -> None:
        self.waited = waited
        self.sent_at: float | None = None
        self.era = era


class _Waiter:
    __slots__ = ("asked_at", "future", "ticket")

    def __init__(self, ticket: int, asked_at: float, future: asyncio.Future[Permit]) -> None:
        self.ticket = ticket
        self.asked_at = asked_at
        self.future = future

    def __lt__(self, other: _Waiter) -> bool:
        return self.ticket < other.ticket


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class Gate:
    """Grants permits first come, first served, within a rate and a bound on requests in flight.

    The life of a permit: `enter`, then `sent` when the request starts, then `leave` when the exchange has ended in
    whatever way. A permit that leaves without having been sent is returned. Belongs to one event loop at a time;
    `forget_loop` when the next one begins.

    Attributes:
        granted: Permits granted so far and not returned, for benchmarks and tests.
    """

    def __init__(self, limiter: WindowLimiter, max_concurrency: int, clock: Clock) -> None:
        self._limiter = limiter
        self._max_concurrency = max_concurrency
        self._clock = clock
        self._tickets = count()
        self._waiters: list[_Waiter] = []
        self._resting: set[asyncio.Future[None]] = set()
        self._in_flight = 0
        self._era = 0
        self._timer: Timer | None = None
        self._closed = False
        self.granted = 0

    def ticket(self) -> int:
        """A place in the queue: the lower, the earlier. A batch keeps its ticket when it must go again."""
        return next(self._tickets)

    def enter_now(self) -> Permit | None:
        """A permit at once, if nobody waits and nothing holds it back; else None: `enter`."""
        if self._waiters or self._closed or self._in_flight >= self._max_concurrency:
            return None
        now = self._clock.now()
        return None if self._limiter.wait(now) else self._grant(now, now)

    async def enter(self, ticket: int, deadline: float | None = None) -> Permit:
        """Waits for a permit; the caller sends at once, or leaves.

        Args:
            ticket: From `ticket`.
            deadline: On the monotonic clock; None: none.

        Raises:
            DeadlineExceededError: The limiter alone would take until after the deadline. Nothing was waited for.
            ClientClosedError: The client is closed, or was closed meanwhile.
        """
        if self._closed:
            raise ClientClosedError(_CLOSED)
        permit = self.enter_now()
        if permit is not None:
            return permit
        now = self._clock.now()
        if deadline is not None:
            self._check(now, bisect_left(self._waiters, ticket, key=lambda waiter: waiter.ticket), deadline)
        waiter = _Waiter(ticket, now, asyncio.get_running_loop().create_future())
        insort(self._waiters, waiter)
        self._pump()
        try:
            permit = await waiter.future
        except asyncio.CancelledError:
            self._leave_queue(waiter)
            raise
        if self._limiter.paused_until <= self._clock.now():
            return permit
        self.leave(permit)  # a 429 came between the grant and now
        return await self.enter(ticket, deadline)

    def sent(self, permit: Permit) -> float:
        """The permit's request starts now; returns when that is."""
        now = permit.sent_at = self._clock.now()
        self._limiter.start(now)
        if self._waiters and self._timer is None:
            self._pump()
        return now

    def leave(self, permit: Permit) -> None:
        """The exchange has ended: its place in flight is free, and the permit spent. Unsent, it is returned."""
        if permit.era != self._era:
            return  # of a loop that is gone, cleaned up late
        permit.era = -1  # whoever leaves twice makes no room twice
        if permit.sent_at is None:
            self._limiter.give_back()
            self.granted -= 1
        self._in_flight -= 1
        if self._waiters:
            self._pump()

    def throttled(self, permit: Permit, retry_after: float | None) -> float:
        """Hears a 429, before its permit leaves, and holds every request; returns for how many seconds."""
        now = self._clock.now()
        delay = self._limiter.throttled(now, now if permit.sent_at is None else permit.sent_at, retry_after)
        self._cancel_timer()
        self._pump()
        return delay

    def answered(self, permit: Permit) -> None:
        """Hears an answer other than a 429."""
        if permit.sent_at is not None:
            self._limiter.answered(permit.sent_at)

    async def rest(self, delay: float) -> None:
        """Waits for ``delay`` seconds before a batch asks for its next permit.

        Raises:
            ClientClosedError: The client was closed meanwhile.
        """
        if self._closed:
            raise ClientClosedError(_CLOSED)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = self._clock.call_at(self._clock.now() + delay, lambda: _wake(future))
        self._resting.add(future)
        try:
            await future
        finally:
            self._resting.discard(future)
            timer.cancel()

    def close(self) -> None:
        """Ends everything that waits here with ClientClosedError, now and from now on."""
        self._closed = True
        self._cancel_timer()
        waiting: list[asyncio.Future[Permit] | asyncio.Future[None]] = [waiter.future for waiter in self._waiters]
        waiting.extend(self._resting)
        self._waiters.clear()
        for future in waiting:
            if not future.done():
                future.set_exception(ClientClosedError(_CLOSED))

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
        self._resting.clear()
        self._cancel_timer()
        self._in_flight = 0
        self._era += 1
        self._limiter.forget_granted()

    def _check(self, now: float, ahead: int, deadline: float) -> None:
        ready_at = self._limiter.ready_at(now, ahead)
        if ready_at > deadline:
            raise DeadlineExceededError(
                f"the limiter is {ready_at - now:.1f} s behind, the deadline is in {max(0.0, deadline - now):.1f} s. "
                "Nothing was sent for what is left; give the call more time, or ask for less at once"
            )

    def _grant(self, now: float, asked_at: float) -> Permit:
        self._limiter.grant()
        self._in_flight += 1
        self.granted += 1
        return Permit(now - asked_at, self._era)

    def _pump(self) -> None:
        """Grants what may be granted now, and sets the one timer for the rest."""
        now = self._clock.now()
        while self._waiters and self._in_flight < self._max_concurrency:
            if wait := self._limiter.wait(now):
                if self._timer is None and wait < inf:
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
        future = waiter.future
        if future.done() and not future.cancelled() and future.exception() is None:
            self.leave(future.result())
        elif waiter in self._waiters:
            self._waiters.remove(waiter)
        if not self._waiters:
            self._cancel_timer()
