"""Whose work is next: round robin between requests, each piece of work once. Pure: no threads, no clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
L = TypeVar("L", bound=Hashable)


class Turns(Generic[L, K]):
    """Hands out keys, one lane after the other, and each key once however many lanes want it.

    A lane is one request; its keys are pieces of work. Within a lane the order is the given one. A lane that arrives
    behind a long one waits for one key of every other lane, not for all of them.
    """

    def __init__(self) -> None:
        self._queues: dict[L, deque[K]] = {}
        self._order: deque[L] = deque()  # lanes whose queue is not empty
        self._lacking: dict[L, set[K]] = {}  # what a lane still waits for, queued or taken
        self._wanted: dict[K, list[L]] = {}
        self._taken: set[K] = set()

    def add(self, lane: L, keys: Iterable[K]) -> None:
        """Let a new lane want these keys; keys given twice count once.

        Raises:
            ValueError: The lane is already there.
        """
        if lane in self._lacking:
            raise ValueError(f"lane {lane!r} is already there")
        queue = deque(dict.fromkeys(keys))
        if not queue:
            return
        self._queues[lane] = queue
        self._order.append(lane)
        self._lacking[lane] = set(queue)
        for key in queue:
            self._wanted.setdefault(key, []).append(lane)

    def take(self) -> K | None:
        """Give the next key to work on; None if all that is wanted is taken or nothing is wanted."""
        while self._order:
            lane = self._order.popleft()
            queue = self._queues[lane]
            key = self._first_open(lane, queue)
            if queue:
                self._order.append(lane)
            else:
                del self._queues[lane]
            if key is not None:
                self._taken.add(key)
                return key
        return None

    def done(self, key: K) -> list[tuple[L, bool]]:
        """Take note that a taken key is worked out.

        Returns:
            The lanes that wanted it, each with whether it now has all that it wanted. Those are gone from here.
        """
        self._taken.discard(key)
        told = []
        for lane in self._wanted.pop(key, ()):
            lacking = self._lacking[lane]
            lacking.discard(key)
            told.append((lane, not lacking))
            if not lacking:
                self._forget(lane)
        return told

    def drop(self, lane: L) -> list[K]:
        """Let a lane leave.

        Returns:
            The keys that nobody wants any more and nobody works on.
        """
        freed = []
        for key in self._lacking.get(lane, ()):
            self._wanted[key].remove(lane)
            if not self._wanted[key]:
                del self._wanted[key]
                if key not in self._taken:
                    freed.append(key)
        self._forget(lane)
        return freed

    def lanes(self) -> list[L]:
        """Give the lanes that still wait for something."""
        return list(self._lacking)

    def _first_open(self, lane: L, queue: deque[K]) -> K | None:
        while queue:
            key = queue.popleft()
            # Another lane may have had it worked out or taken meanwhile.
            if key in self._lacking[lane] and key not in self._taken:
                return key
        return None

    def _forget(self, lane: L) -> None:
        self._lacking.pop(lane, None)
        if self._queues.pop(lane, None) is not None:
            self._order.remove(lane)
