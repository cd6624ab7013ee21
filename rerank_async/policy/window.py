"""At most N starts in any window, whatever the window's size is meanwhile changed to. Pure: ``now`` in, a time out."""

from __future__ import annotations

import math
from collections import deque
from itertools import islice

GUARD = 0.015
"""The window is held this fraction longer, so that requests which bunch up on their way do not exceed the limit at the
service's door. It costs 1.5 % of the rate (docs/decisions.md, 7)."""

_KEPT = 1024
"""Starts that are remembered at least, so that a window which becomes larger or longer knows its past."""


class StartWindow:
    """Lets at most ``size`` requests start in any window of ``length`` seconds.

    That is within a limit of ``size`` requests per ``length`` whether the service counts by a token bucket, a fixed or
    a sliding window. A permit that is granted and has not started holds a place until it does.

    Attributes:
        size: Starts in one window, at least 1.
        length: Seconds, the guard included.
        granted: Permits that are out and have not started.
    """

    __slots__ = ("_starts", "granted", "length", "size")

    def __init__(self, size: int, seconds: float) -> None:
        """Sets the window; ``seconds`` without the guard."""
        self._starts: deque[float] = deque(maxlen=max(_KEPT, size))
        self.granted = 0
        self.resize(size, seconds)

    def resize(self, size: int, seconds: float) -> None:
        """Changes the window from now on. What has started counts in the new one as it did in the old one."""
        self.size = size
        self.length = seconds * (1 + GUARD)
        if size > (self._starts.maxlen or 0):
            self._starts = deque(self._starts, maxlen=2 * size)

    def grant(self) -> None:
        """Counts a permit that goes out."""
        self.granted += 1

    def start(self, now: float) -> None:
        """Counts the start of a request whose permit was granted: a busy event loop may come to it late."""
        self.granted -= 1
        self._starts.append(now)

    def give_back(self) -> None:
        """Forgets a permit that was not used."""
        self.granted -= 1

    def forget_granted(self) -> None:
        """Forgets the permits that were out in an event loop that is gone."""
        self.granted = 0

    def opens_at(self) -> float:
        """When the next permit may be granted; minus infinity: at any time; infinity: when one that is out started."""
        return self.opens_after(self.size, self.length)

    def opens_after(self, size: int, length: float) -> float:
        """As `opens_at`, for another window over the same starts; ``length`` is taken as it is."""
        place = size - self.granted
        if place <= 0:
            return math.inf
        return self._starts[-place] + length if place <= len(self._starts) else -math.inf

    def free(self, now: float) -> int:
        """How many permits may be granted at once now."""
        return max(0, self.size - self.granted - self.since(now - self.length))

    def since(self, moment: float) -> int:
        """How many requests started after ``moment``, of those in the last window and as many as ``size``."""
        count = 0
        for at in islice(reversed(self._starts), self.size):
            if at <= moment:
                break
            count += 1
        return count

    def last(self) -> float:
        """When the last request started; minus infinity: none did."""
        return self._starts[-1] if self._starts else -math.inf

    def ready_at(self, now: float, ahead: int, begins: float) -> float:
        """When a request with ``ahead`` others before it may start, if the permits that are out start now.

        Args:
            now: This moment.
            ahead: How many ask before it, at least 0.
            begins: Nothing is granted before; at least ``now``.
        """
        recent = list(islice(reversed(self._starts), self.size))
        starts = [at for at in reversed(recent) if at > now - self.length] + [now] * self.granted
        # A start comes a window after the one that is `size` places before it, in the past or in the queue.
        rounds, place = divmod(ahead, self.size)
        place += len(starts) - self.size
        first = begins if place < 0 else max(begins, starts[place] + self.length)
        return first + rounds * self.length
