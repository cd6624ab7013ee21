"""A clock that tests turn by hand: no real time passes, and the same test always takes the same steps."""

import asyncio
import heapq
from collections.abc import Callable
from itertools import count

_MOST_ROUNDS = 10_000  # of the event loop; tasks that keep it busy for longer are spinning


async def settle() -> None:
    """Lets every task run until all of them wait for something."""
    # The queue of the loop is the only thing that says so exactly. Nothing here waits for sockets or real timers.
    ready = asyncio.get_running_loop()._ready
    for _ in range(_MOST_ROUNDS):
        await asyncio.sleep(0)
        if not ready:
            return
    raise AssertionError("the tasks never come to rest: something polls without waiting")


class FakeTimer:
    """A callback that is due at a time of the fake clock."""

    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when = when
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        """Calls it off; harmless if it ran or was called off before."""
        self.cancelled = True

    def run(self) -> None:
        """Calls back, once, unless it was called off."""
        if not self.cancelled:
            self.cancelled = True
            self.callback()


class FakeClock:
    """Implements `rerank_async.runtime.clock.Clock`. Time stands still but for `advance`."""

    def __init__(self, start: float = 1000.0) -> None:
        self._now = start
        self._numbers = count()
        self._timers: list[tuple[float, int, FakeTimer]] = []

    def now(self) -> float:
        """This moment."""
        return self._now

    def call_at(self, when: float, callback: Callable[[], None]) -> FakeTimer:
        """Calls ``callback`` in the running loop at ``when``, or in its next round if that is past."""
        timer = FakeTimer(when, callback)
        if when <= self._now:
            asyncio.get_running_loop().call_soon(timer.run)
        else:
            heapq.heappush(self._timers, (when, next(self._numbers), timer))
        return timer

    async def sleep(self, delay: float) -> None:
        """Waits for ``delay`` seconds."""
        if delay <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.get_running_loop().create_future()
        timer = self.call_at(self._now + delay, lambda: woken.done() or woken.set_result(None))
        try:
            await woken
        finally:
            timer.cancel()

    @property
    def pending(self) -> list[float]:
        """When the timers that were not called off are due, ascending."""
        return sorted(when for when, _, timer in self._timers if not timer.cancelled)

    def stall(self, seconds: float) -> None:
        """Time passes while something keeps the loop busy: no timer and no task runs."""
        self._now += seconds

    def run_due(self) -> None:
        """Runs the timers that fell due in a `stall`, in order; no task runs in between."""
        while self._timers and self._timers[0][0] <= self._now:
            heapq.heappop(self._timers)[2].run()

    async def advance(self, seconds: float) -> None:
        """Turns the clock: each due timer runs at its own time, in order, and then every task runs until it waits."""
        await self.advance_to(self._now + seconds)

    async def advance_to(self, target: float) -> None:
        """As `advance`, to a point in time."""
        await settle()
        while self._timers and self._timers[0][0] <= target:
            when, _, timer = heapq.heappop(self._timers)
            if timer.cancelled:
                continue
            self._now = max(self._now, when)
            timer.run()
            await settle()
        self._now = max(self._now, target)
        await settle()
