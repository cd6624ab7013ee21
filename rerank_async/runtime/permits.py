"""What the gate grants, and who waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable


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


class Waiter:
    """Someone who waits for a permit at the gate."""

    __slots__ = ("asked_at", "deadline", "flow", "future", "ticket")

    def __init__(
        self, flow: Hashable, ticket: int, asked_at: float, future: asyncio.Future[Permit], *, deadline: float | None
    ) -> None:
        self.flow = flow
        self.ticket = ticket
        self.asked_at = asked_at
        self.future = future
        self.deadline = deadline  # what alone bounds its waiting; None: nothing does


def wake(future: asyncio.Future[None]) -> None:
    """Ends the waiting of whoever awaits this, unless it has ended."""
    if not future.done():
        future.set_result(None)
