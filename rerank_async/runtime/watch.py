"""One timer for all requests under way, which may all take equally long.

A timer for each request is what aiohttp's total timeout costs: some 7 % of a small request. Here the requests stand in
the order in which they started, which is the order of their ends, so that only the first needs a timer.
"""

from __future__ import annotations

import asyncio
from typing import Any


class Watch:
    """Cancels the task of each request that takes longer than ``seconds``. Belongs to one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._loop = loop
        self._seconds = seconds
        self._entered = 0
        # By number, in the order in which they began: when its time is up, its task, how often that had been cancelled.
        self._under_way: dict[int, tuple[float, asyncio.Task[Any], int]] = {}
        self._expired: dict[int, tuple[float, asyncio.Task[Any], int]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def enter(self) -> int:
        """The current task begins a request, whose number this is; it must `leave`."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a request is sent from a task")
        due_at = self._loop.time() + self._seconds
        self._entered = number = self._entered + 1
        self._under_way[number] = (due_at, task, task.cancelling())
        if self._timer is None:
            self._timer = self._loop.call_at(due_at, self._look)
        return number

    def is_late(self, number: int) -> bool:
        """Whether a CancelledError of the task came from here alone, and not from the caller too. To be asked once."""
        if number not in self._expired:
            return False
        _, task, cancelling = self._expired[number]
        return task.uncancel() <= cancelling

    def leave(self, number: int) -> None:
        """The request has ended. Harmless when repeated."""
        if self._under_way.pop(number, None) is None:
            self._expired.pop(number, None)
        if not self._under_way and self._timer is not None:
            self._timer.cancel()  # or it would keep a client alive that nobody uses any more
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        now = self._loop.time()
        while self._under_way:
            first = next(iter(self._under_way))
            due_at, task, _ = self._under_way[first]
            if due_at > now:
                self._timer = self._loop.call_at(due_at, self._look)
                return
            self._expired[first] = self._under_way.pop(first)
            task.cancel()
