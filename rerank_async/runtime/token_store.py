"""Where tokens are kept: `TokenStore`, which clients may share, and the one in memory."""

from __future__ import annotations

import asyncio
from typing import NamedTuple, Protocol
from weakref import WeakKeyDictionary

from rerank_async.errors import RerankError
from rerank_async.values.secret import Secret


class Token(NamedTuple):
    """A token in the cache. Times are of the monotonic clock.

    Attributes:
        authorization: The whole value of the Authorization header.
        refresh_at: From when on a use starts a renewal.
        expires_at: When it is dead.
    """

    authorization: Secret
    refresh_at: float
    expires_at: float


class TokenStore(Protocol):
    """Keeps tokens by key. A key names the way in, the endpoint and who asks, as a digest that tells no secret.

    Its methods are called for each request, and must not block.
    """

    def get(self, key: str) -> Token | None:
        """The token under a key, dead or alive; None: there is none."""

    def put(self, key: str, token: Token) -> None:
        """Keeps a new token."""

    def drop(self, key: str, token: Token) -> None:
        """Forgets this token, if it is still the one that is kept: after a 401."""


class MemoryTokenStore:
    """Keeps tokens as long as it lives, in this process. Give one to several clients, and they share their tokens."""

    def __init__(self) -> None:
        self._tokens: dict[str, Token] = {}

    def get(self, key: str) -> Token | None:
        """The token under a key, dead or alive; None: there is none."""
        return self._tokens.get(key)

    def put(self, key: str, token: Token) -> None:
        """Keeps a new token."""
        self._tokens[key] = token

    def drop(self, key: str, token: Token) -> None:
        """Forgets this token, if it is still the one that is kept."""
        if self._tokens.get(key) is token:
            del self._tokens[key]

    def __repr__(self) -> str:
        return f"MemoryTokenStore({len(self._tokens)} tokens)"


class Flights:
    """The exchanges under way for one key of one store, one in each event loop.

    Attributes:
        retry_at: When the next renewal may start, after one that failed.
        failure: How the exchange under way has failed so far, and is tried again; None: it has not.
    """

    __slots__ = ("_tasks", "failure", "retry_at")

    def __init__(self) -> None:
        self._tasks: dict[asyncio.AbstractEventLoop, asyncio.Task[Token]] = {}
        self.retry_at = 0.0
        self.failure: RerankError | None = None

    def failed(self, exc: RerankError) -> None:
        """The exchange under way failed, and is tried again."""
        self.failure = exc

    def current(self) -> asyncio.Task[Token] | None:
        """The one of the running loop."""
        task = self._tasks.get(asyncio.get_running_loop())
        return None if task is None or task.done() else task

    def add(self, task: asyncio.Task[Token]) -> None:
        """One that starts now. Those of loops that were closed in the middle are let go."""
        for loop in [loop for loop in self._tasks if loop.is_closed()]:
            del self._tasks[loop]
        self._tasks[task.get_loop()] = task

    def remove(self, task: asyncio.Task[Token]) -> None:
        """One that has ended, or whose loop is gone."""
        if self._tasks.get(task.get_loop()) is task:
            del self._tasks[task.get_loop()]


# Belongs to the stores: nothing is shared by those who do not share a store.
_flights: WeakKeyDictionary[TokenStore, dict[str, Flights]] = WeakKeyDictionary()


def flights_of(store: TokenStore, key: str) -> Flights:
    """What all who share a store have in common for a key."""
    try:
        return _flights.setdefault(store, {}).setdefault(key, Flights())
    except TypeError:  # a store that has no hash or no weak references: tokens are shared, exchanges are not
        return Flights()
