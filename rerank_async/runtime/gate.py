"""The gate: one queue for permits, over everything that shares a client. A permit is one POST to rerank."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Hashable
from itertools import count
from math import inf

from rerank_async.errors import ClientClosedError, ConnectionFailedError, OverloadedError
from rerank_async.policy.concurrency import ConcurrencyBound
from rerank_async.policy.fairness import FairQueue
from rerank_async.policy.heard import Heard
from rerank_async.policy.limiter import Limiter
from rerank_async.policy.outage import Outage
from rerank_async.runtime.clock import Clock, Timer
from rerank_async.runtime.lateness import too_far_behind, too_many_requests
from rerank_async.runtime.permits import Permit, Waiter, wake
from rerank_async.values.response import LimitStatus

_logger = logging.getLogger("rerank_async")

_LOOK_AGAIN = 0.01
"""Seconds after which a gate looks again whether another one has sent what it was granted by the limiter of both."""

_CLOSED = "the client was closed while this call was under way"


class Gate:
    """Grants permits within a rate and a bound on requests in flight: in turns between flows, in order inside one.

    The life of a permit: `enter`, then `sent` when the request starts, then one of `answered`, `throttled`, `refused`
    and `crowded` as the case may be, then `leave` when the exchange has ended in whatever way. A permit that leaves
    without having been sent is returned. Belongs to one event loop at a time; `forget_loop` when the next one begins.

    While connections are refused, nothing goes out but one request a second, until any answer comes.

    Attributes:
        granted: Permits granted so far and not returned, for benchmarks and tests.
    """

    def __init__(
        self,
        limiter: Limiter,
        concurrency: ConcurrencyBound,
        clock: Clock,
        *,
        max_queued: int | None = None,
        patience: float | None = None,
    ) -> None:
        """Sets it up.

        Args:
            limiter: Paces the requests.
            concurrency: Bounds the requests in flight.
            clock: Everything waits by it.
            max_queued: How many calls may wait when a new one comes; None: any number.
            patience: Seconds of refused connections after which those fail that wait without a deadline; None: never.
        """
        self._limiter = limiter
        self._concurrency = concurrency
        self._clock = clock
        self._max_queued = max_queued
        self._patience = inf if patience is None else patience
        self._tickets = count()
        self._queue: FairQueue[Waiter] = FairQueue()
        self._timed: set[Waiter] = set()  # those in the queue that have a deadline
        self._resting: set[asyncio.Future[None]] = set()
        self._in_flight = 0
        self._unsent = 0
        self._era = 0
        self._timer: Timer | None = None
        self._outage = Outage()
        self._closed = False
        self.granted = 0

    def ticket(self) -> int:
        """A place in its flow: the lower, the earlier. A batch keeps its ticket when it must go again."""
        return next(self._tickets)

    def admit(self) -> None:
        """Refuses a new call that would have to wait, if as many as may are waiting.

        Raises:
            OverloadedError: They are.
        """
        if self._max_queued is None or len(self._queue) < self._max_queued or self._could_go():
            return
        now = self._clock.now()
        raise OverloadedError(
            f"{len(self._queue)} requests wait for their turn, and LimitOptions.max_queued = {self._max_queued} allows "
            f"no more; the limiter is {self._limiter.ready_at(now, len(self._queue)) - now:.1f} s behind. "
            "Nothing was sent; try again later",
            queued=len(self._queue),
        )

    def enter_now(self) -> Permit | None:
        """A permit at once, if nobody waits and nothing holds it back; else None: `enter`."""
        if self._queue.size or self._closed or self._outage.lasts or self._in_flight >= self._concurrency.bound:
            return None
        now = self._clock.now()
        return None if self._limiter.wait(now) else self._grant(now, now)

    async def enter(self, ticket: int, deadline: float | None = None, flow: Hashable = None) -> Permit:
        """Waits for a permit; the caller sends at once, or leaves.

        Args:
            ticket: From `ticket`; it may not be waiting already.
            deadline: On the monotonic clock; None: none.
            flow: Flows take turns; inside one the lowest ticket is first.

        Raises:
            DeadlineExceededError: The limiter alone would take until after the deadline. Nothing was waited for.
            ClientClosedError: The client is closed, or was closed meanwhile.
        """
        if self._closed:
            raise ClientClosedError(_CLOSED)
        permit = self.enter_now()
        if permit is not None:
            return permit
        asked_at = self._clock.now()
        while True:
            if deadline is not None:
                self._check(self._clock.now(), self._queue.ahead(flow, ticket), deadline)
            future: asyncio.Future[Permit] = asyncio.get_running_loop().create_future()
            waiter = Waiter(flow, ticket, asked_at, future, deadline=deadline)
            self._queue.push(flow, ticket, waiter)
            if deadline is not None:
                self._timed.add(waiter)
            self._pump()
            try:
                permit = await waiter.future
            except asyncio.CancelledError:
                self._leave_queue(waiter)
                raise
            finally:
                self._timed.discard(waiter)
            if self._limiter.paused_until <= self._clock.now():
                return permit
            self.leave(permit)  # a 429 came between the grant and now
            if self._closed:
                raise ClientClosedError(_CLOSED)

    def sent(self, permit: Permit) -> float:
        """The permit's request starts now; returns when that is."""
        now = permit.sent_at = self._clock.now()
        self._unsent -= 1
        self._limiter.start(now)
        if self._queue.size and self._timer is None:
            self._pump()
        return now

    def leave(self, permit: Permit) -> None:
        """The exchange has ended: its place in flight is free, and the permit spent. Unsent, it is returned."""
        if permit.era != self._era:
            return  # of a loop that is gone, cleaned up late
        permit.era = -1  # whoever leaves twice makes no room twice
        if permit.sent_at is None:
            self._limiter.give_back()
            self._unsent -= 1
            self.granted -= 1
        self._in_flight -= 1
        if self._queue.size:
            self._pump()

    def answered(self, permit: Permit, now: float, heard: Heard | None = None) -> None:
        """Hears an answer that does not say that the rate is too high, and what it said of the limit."""
        self._hear(now)
        sent_at = permit.sent_at
        if sent_at is None:
            return
        self._limiter.answered(now, sent_at, heard)
        if heard is not None:
            self._heard_limit()
            self._rearm()

    def landed(self, permit: Permit, now: float) -> None:
        """Hears that an answer was good: more may be in flight, if it was less than the most."""
        if permit.sent_at is not None:
            self._concurrency.answered(permit.sent_at, now)

    def throttled(self, permit: Permit, retry_after: float | None, heard: Heard | None = None) -> float:
        """Hears a 429, before its permit leaves, and holds every request; returns for how many seconds."""
        now = self._clock.now()
        self._hear(now)
        delay = self._limiter.throttled(now, now if permit.sent_at is None else permit.sent_at, retry_after, heard)
        self._heard_limit()
        self._fail_late(now)
        self._rearm()
        return delay

    def crowded(self, permit: Permit) -> None:
        """Hears that the model's pool is full: fewer requests at the same time."""
        if permit.sent_at is not None:
            self._concurrency.crowded(permit.sent_at, self._clock.now())

    def strained(self, permit: Permit) -> None:
        """Hears what may be a sign of too much to do, or chance: fewer at the same time if it comes often."""
        if permit.sent_at is not None:
            self._concurrency.strained(permit.sent_at, self._clock.now())

    def refused(self, permit: Permit, error: ConnectionFailedError) -> None:
        """Hears that the connection was refused: nothing more goes out but a probe now and then."""
        if permit.sent_at is None:
            return
        now = self._clock.now()
        if self._outage.refused(permit.sent_at, now):
            _logger.warning("%s; one request a second will try, everything else waits", error)
            self._rearm()
        elif self._outage.seconds(now) > self._patience:
            self._fail_impatient(error, self._outage.seconds(now))

    async def rest(self, delay: float) -> None:
        """Waits for ``delay`` seconds before a batch asks for its next permit.

        Raises:
            ClientClosedError: The client was closed meanwhile.
        """
        if self._closed:
            raise ClientClosedError(_CLOSED)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = self._clock.call_at(self._clock.now() + delay, lambda: wake(future))
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
        waiting: list[asyncio.Future[Permit] | asyncio.Future[None]] = [each.future for each in self._queue.clear()]
        waiting.extend(self._resting)
        for future in waiting:
            if not future.done():
                future.set_exception(ClientClosedError(_CLOSED))

    def free(self) -> int:
        """Permits that the limiter could grant at once."""
        return self._limiter.free(self._clock.now())

    def lanes(self) -> int:
        """Requests that may be in flight beside those that are."""
        return self._concurrency.bound - self._in_flight

    @property
    def queued(self) -> int:
        """Requests that wait for their permit."""
        return len(self._queue)

    @property
    def answers(self) -> bool:
        """Whether the service has ever answered this client."""
        return self._outage.answered_at > -inf

    def ready_at(self, ahead: int) -> float:
        """When a request would start that is asked for now with ``ahead`` others before it, the queue included."""
        return self._limiter.ready_at(self._clock.now(), len(self._queue) + ahead)

    def check(self, requests: int, deadline: float, flow: Hashable = None) -> None:
        """Refuses a call whose last request could not start before the deadline.

        Raises:
            DeadlineExceededError: As `enter`.
        """
        now, limiter = self._clock.now(), self._limiter
        ready_at = limiter.ready_at(now, self._queue.ahead(flow, inf, own=requests - 1))
        if ready_at <= deadline:
            return
        if requests == 1 or limiter.ready_at(now, self._queue.ahead(flow, inf, own=0)) > now:
            raise too_far_behind(ready_at - now, deadline - now)
        raise too_many_requests(requests, limiter.rate, ready_at - now, deadline - now)

    def status(self) -> LimitStatus:
        """This moment, for health checks."""
        now = self._clock.now()
        return LimitStatus(
            requests_per_second=self._limiter.rate,
            ceiling=self._limiter.ceiling,
            source=self._limiter.source,
            concurrency=self._concurrency.bound,
            queued=len(self._queue),
            in_flight=self._in_flight,
            paused=max(0.0, self._limiter.paused_until - now),
            outage=self._outage.seconds(now),
            behind=self._limiter.ready_at(now, len(self._queue)) - now,
        )

    def forget_loop(self) -> None:
        """Drops what belonged to an event loop that is gone: its waiters, its timer, its requests in flight."""
        self._queue.clear()
        self._timed.clear()
        self._resting.clear()
        self._cancel_timer()
        self._in_flight = self._unsent = 0
        self._era += 1
        self._limiter.forget_granted()

    def _fail_impatient(self, error: ConnectionFailedError, seconds: float) -> None:
        """Ends the waiting of those who have no deadline."""
        for waiter in self._queue.clear():
            if waiter.deadline is not None:
                self._queue.push(waiter.flow, waiter.ticket, waiter)
            elif not waiter.future.done():
                waiter.future.set_exception(
                    ConnectionFailedError(
                        f"{error} (connections were refused for {seconds:.0f} s, longer than RetryOptions.max_elapsed "
                        f"= {self._patience:g} s)",
                        url=error.url,
                        refused=True,
                    )
                )
        if not self._queue:
            self._cancel_timer()

    def _could_go(self) -> bool:
        return (
            not self._queue
            and not self._outage.lasts
            and self._in_flight < self._concurrency.bound
            and not self._limiter.wait(self._clock.now())
        )

    def _check(self, now: float, ahead: int, deadline: float) -> None:
        ready_at = self._limiter.ready_at(now, ahead)
        if ready_at > deadline:
            raise too_far_behind(ready_at - now, deadline - now)

    def _fail_late(self, now: float) -> None:
        """Ends the waiting of those whose deadline the pause that was just heard of does not leave."""
        paused_until = self._limiter.paused_until
        for waiter in [each for each in self._timed if each.deadline is not None and each.deadline < paused_until]:
            if not waiter.future.done():
                self._queue.remove(waiter.flow, waiter.ticket)
                waiter.future.set_exception(too_far_behind(paused_until - now, (waiter.deadline or now) - now))

    def _hear(self, now: float) -> None:
        """There is a service that answers."""
        if self._outage.answered(now):
            self._rearm()

    def _heard_limit(self) -> None:
        if self._limiter.limit_known:
            self._concurrency.limit_heard()

    def _grant(self, now: float, asked_at: float) -> Permit:
        self._limiter.grant()
        self._in_flight += 1
        self._unsent += 1
        self.granted += 1
        return Permit(now - asked_at, self._era)

    def _wait(self, now: float) -> float:
        wait = self._limiter.wait(now)
        return max(wait, self._outage.wait(now)) if self._outage.lasts else wait

    def _pump(self) -> None:
        """Grants what may be granted now, and sets the one timer for the rest."""
        now = self._clock.now()
        while self._queue and self._in_flight < self._concurrency.bound:
            if (wait := self._wait(now)) > 0:
                if wait == inf and not self._unsent:
                    wait = _LOOK_AGAIN  # the limiter is shared, and nobody tells this gate when the others send
                if self._timer is None and wait < inf:
                    self._timer = self._clock.call_at(now + wait, self._on_timer)
                return
            waiter = self._queue.pop()
            if not waiter.future.done():
                waiter.future.set_result(self._grant(now, waiter.asked_at))
                if self._outage.lasts:
                    self._outage.granted(now)

    def _rearm(self) -> None:
        """What holds the queue has changed."""
        self._cancel_timer()
        self._pump()

    def _on_timer(self) -> None:
        self._timer = None
        self._pump()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _leave_queue(self, waiter: Waiter) -> None:
        """Takes back a cancelled waiter, whose permit may have been granted in the same moment."""
        future = waiter.future
        if future.done() and not future.cancelled() and future.exception() is None:
            self.leave(future.result())
        elif future.cancelled():
            self._queue.remove(waiter.flow, waiter.ticket)
        if not self._queue:
            self._cancel_timer()
