"""A fixed rate: at most N starts in any window, and a pause when the service says 429. Pure: ``now`` in, seconds out."""

from __future__ import annotations

import math
from collections import deque

from rerank_async.policy.window import GUARD

_BLIND_INTERVAL = 0.125
"""Seconds: the first pause after a 429 without a Retry-After where no rate is set; one request of the documented
default of 8 a second."""


class WindowLimiter:
    """Lets at most ``size`` requests start in any window of ``window`` seconds.

    That is within the limit whether the service counts by a token bucket, a fixed or a sliding window.
    """

    def __init__(self, rate: float, burst: int | None = None) -> None:
        """Sets the rate.

        Args:
            rate: Requests a second, above 0; ``math.inf``: no pacing.
            burst: The window's size in requests, at least 1; None: the requests of one second, at least one.
        """
        self.rate = rate
        self.paced = not math.isinf(rate)
        self.size = burst if burst is not None else (max(1, math.floor(rate)) if self.paced else 1)
        self.window = self.size / rate * (1 + GUARD) if self.paced else 0.0
        self.paused_until = -math.inf
        self._starts: deque[float] = deque()
        self._granted = 0  # and not yet started
        self._streak = 0
        self._throttled_at = -math.inf

    def wait(self, now: float) -> float:
        """Seconds until the next permit may be granted; 0: now; infinity: not before one that is out has started."""
        ready_at = self.paused_until
        if self.paced:
            starts = self._starts
            while starts and starts[0] <= now - self.window:
                starts.popleft()
            place = len(starts) + self._granted - self.size
            if place >= len(starts):
                return math.inf
            if place >= 0:
                ready_at = max(ready_at, starts[place] + self.window)
        return ready_at - now if ready_at > now else 0.0

    def grant(self) -> None:
        """Counts a permit that goes out."""
        self._granted += 1

    def start(self, now: float) -> None:
        """Counts the start of a request whose permit was granted: a busy event loop may come to it late."""
        self._granted -= 1
        if self.paced:
            self._starts.append(now)

    def give_back(self) -> None:
        """Forgets a permit that was not used."""
        self._granted -= 1

    def forget_granted(self) -> None:
        """Forgets the permits that were out in an event loop that is gone."""
        self._granted = 0

    def ready_at(self, now: float, ahead: int) -> float:
        """When a request with ``ahead`` others before it may start, as far as can be known."""
        begin = max(now, self.paused_until)
        if not self.paced:
            return begin
        starts = [at for at in self._starts if at > now - self.window] + [now] * self._granted
        # A start comes a window after the one that is `size` places before it, in the past or in the queue.
        rounds, place = divmod(ahead, self.size)
        place += len(starts) - self.size
        first = begin if place < 0 else max(begin, starts[place] + self.window)
        return first + rounds * self.window

    def throttled(self, now: float, sent_at: float, retry_after: float | None) -> float:
        """Hears a 429 and pauses.

        Args:
            now: When the answer came.
            sent_at: When its request started.
            retry_after: Seconds that the service asked for, kept to the letter; None: it did not say.

        Returns:
            Seconds for which nothing starts.
        """
        if sent_at >= self._throttled_at:
            self._streak += 1
            self._throttled_at = now
        elif retry_after is None:  # its request was on the way when an earlier 429 came: no new evidence
            return max(0.0, self.paused_until - now)
        if retry_after is None:
            # Until the next permit at half, then a quarter, ... of the pace is due; a window (or two requests) at most.
            interval = 1 / self.rate if self.paced else _BLIND_INTERVAL
            retry_after = interval * min(2**self._streak, max(2, self.size if self.paced else 8))
        self.paused_until = max(self.paused_until, now + retry_after)
        return self.paused_until - now

    def answered(self, sent_at: float) -> None:
        """Hears an answer that was not a 429."""
        if sent_at >= self._throttled_at:
            self._streak = 0
