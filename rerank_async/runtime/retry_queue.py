"""Where failed batches wait until the client's retry budget lets them go again."""

from __future__ import annotations

import asyncio
from collections import deque
from math import inf

from rerank_async.errors import ClientClosedError
from rerank_async.policy.budget import Kind, RetryBudget
from rerank_async.runtime.clock import Clock, Timer

_CLOSED = "the client was closed while this call was under way"


class RetryQueue:
    """Lets retries go as the budget allows, first come, first served. Belongs to one event loop at a time."""

    def __init__(self, budget: RetryBudget, clock: Clock) -> None:
        self._budget = budget
        self._clock = clock
        self._waiting: deque[tuple[float, asyncio.Future[Kind | None]]] = deque()
        self._timer: Timer | None = None
        self._closed = False

    async def turn(self, until: float | None = None) -> Kind | None:
        """Waits until a retry may go; what is not sent after all is given back: `give_back`.

        Args:
            until: On the monotonic clock; None: for ever.

        Returns:
            What it may go for; None: its time was up.

        Raises:
            ClientClosedError: The client is closed, or was closed meanwhile.
        """
        if self._closed:
            raise ClientClosedError(_CLOSED)
        if not self._waiting and (turn := self._budget.take(self._clock.now())) is not None:
            return turn
        future: asyncio.Future[Kind | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((inf if until is None else until, future))
        self._pump()
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                turn = future.result()
                if turn is not None:
                    self.give_back(turn)
            raise

    def give_back(self, turn: Kind) -> None:
        """A turn was not used."""
        self._budget.give_back(turn)
        self._pump()

    def succeeded(self, turn: Kind | None) -> None:
        """An answer was good; ``turn`` is what let its request go, None if it was a first one."""
        self._budget.succeeded(turn)
        if self._waiting:
            self._pump()

    def close(self) -> None:
        """Ends everything that waits here with ClientClosedError, now and from now on."""
        self._closed = True
        self._cancel_timer()
        for _, future in self._waiting:
            if not future.done():
                future.set_exception(ClientClosedError(_CLOSED))
        self._waiting.clear()

    def forget_loop(self) -> None:
        """Drops what belonged to an event loop that is gone."""
        self._waiting.clear()
        self._cancel_timer()

    def _pump(self) -> None:
        self._cancel_timer()
        now = self._clock.now()
        for until, future in self._waiting:
            if until <= now and not future.done():
                future.set_result(None)
        while self._waiting:
            _, future = self._waiting[0]
            if future.done():  # cancelled, or its time is up
                self._waiting.popleft()
                continue
            turn = self._budget.take(now)
            if turn is None:
                due_at = min(now + self._budget.wait(now), *(until for until, each in self._waiting if not each.done()))
                self._timer = self._clock.call_at(due_at, self._pump)
                return
            self._waiting.popleft()
            future.set_result(turn)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
