"""One timer for all requests under way, which may all take equally long.

A timer for each request is what aiohttp's total timeout costs: some 7 % of a small request. Here the requests stand in
the order in which they started, which is the order of their ends, so that only the first needs a timer.
"""

from __future__ import annotations

import asyncio
from typing import Any


class Watched:
    """One request under way.

    Attributes:
        expired: Whether its time was up: its task was cancelled for that.
    """

    __slots__ = ("_cancelling", "_task", "due_at", "expired")

    def __init__(self, task: asyncio.Task[Any], due_at: float) -> None:
        self._task = task
        self._cancelling = task.cancelling()
        self.due_at = due_at
        self.expired = False

    def expire(self) -> None:
        """Cancels the task."""
        self.expired = True
        self._task.cancel()

    def is_all(self) -> bool:
        """Whether a CancelledError of the task came from here alone, and not from the caller too. To be asked once."""
        return self.expired and self._task.uncancel() <= self._cancelling


class Watch:
    """Cancels each request that takes longer than ``seconds``. Belongs to one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._loop = loop
        self._seconds = seconds
        self._under_way: dict[Watched, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def enter(self) -> Watched:
        """The current task begins a request; it must `leave`."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a request is sent from a task")
        watched = Watched(task, self._loop.time() + self._seconds)
        self._under_way[watched] = None
        if self._timer is None:
            self._timer = self._loop.call_at(watched.due_at, self._look)
        return watched

    def leave(self, watched: Watched) -> None:
        """The request has ended."""
        self._under_way.pop(watched, None)
        if not self._under_way and self._timer is not None:
            self._timer.cancel()  # or it would keep a client alive that nobody uses any more
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        now = self._loop.time()
        while self._under_way:
            first = next(iter(self._under_way))
            if first.due_at > now:
                self._timer = self._loop.call_at(first.due_at, self._look)
                return
            del self._under_way[first]
            first.expire()
