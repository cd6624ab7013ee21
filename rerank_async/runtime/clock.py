"""The clock that everything waits by, so that tests can turn it by hand."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    """A call that is due later."""

    def cancel(self) -> None:
        """Calls it off; harmless if it ran or was called off before."""


class Clock(Protocol):
    """Monotonic time in float seconds, and waiting."""

    def now(self) -> float:
        """This moment."""

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Calls ``callback`` in the running loop at ``when``, or in its next round if that is past."""

    async def sleep(self, delay: float) -> None:
        """Waits for ``delay`` seconds."""


class MonotonicClock:
    """The system's monotonic clock, with the timers of the running event loop."""

    now = staticmethod(time.monotonic)

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Calls ``callback`` in the running loop at ``when``, or in its next round if that is past."""
        return asyncio.get_running_loop().call_later(max(0.0, when - time.monotonic()), callback)

    async def sleep(self, delay: float) -> None:
        """Waits for ``delay`` seconds."""
        await asyncio.sleep(delay)


async def set_in_time(event: asyncio.Event, clock: Clock, delay: float) -> None:
    """Waits until somebody sets the event; after ``delay`` seconds it sets it itself."""
    timer = clock.call_at(clock.now() + delay, event.set)
    try:
        await event.wait()
    finally:
        timer.cancel()
