"""The token cache: one exchange for everyone who waits, renewed while the old token still serves."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from itertools import count
from typing import Protocol

from rerank_async.auth import Flow, GivenFunction, GivenToken, ZenApiKey
from rerank_async.auth.grant import StaticFlow, TokenGrant
from rerank_async.errors import ClientClosedError, RerankError
from rerank_async.runtime.clock import Clock
from rerank_async.runtime.http import Http
from rerank_async.runtime.token_sources import ExchangeSource, FunctionSource, is_cancelled
from rerank_async.runtime.token_store import MemoryTokenStore, Token, TokenStore, flights_of
from rerank_async.values.options import RetryOptions

_logger = logging.getLogger("rerank_async")

_REFRESH_FROM, _REFRESH_TO = 0.5, 0.75
"""The part of its life after which a token is renewed, drawn anew for each token, so that many processes which started
together do not renew together."""

_RETRY_PART = 0.02
"""After a failed renewal the next one may start after this part of the token's life, one second at the least."""

_SHORT_LIFE = 1.0
"""Seconds: after a token that lives shorter, the next exchange starts that much later than the last one at the
earliest, so that an endpoint whose tokens are no good is not asked without end."""

_functions = count()


class TokenSource(Protocol):
    """What the cache asks for a new token."""

    async def __call__(self) -> TokenGrant:
        """A new token."""


class TokenCache:
    """Serves one token to everyone. A living token costs no await and no lock: `alive`, else ``await get()``.

    Caches with the same store and key, such as those of several clients, share the token, and its exchange within an
    event loop.

    Attributes:
        url: The token endpoint; empty where a function is asked.
        failed: To be told of each failure after which the source tries again.
        exchanges: Exchanges started here so far.
        advice: What to say of a 401; None: a new token is tried first.
        granted: The last grant that was had here; None: none yet.
    """

    advice: str | None = None

    def __init__(
        self,
        source: TokenSource,
        clock: Clock,
        spread: Callable[[float, float], float] = random.uniform,
        *,
        store: TokenStore | None = None,
        key: str = "",
        url: str = "",
    ) -> None:
        self.url = url
        self._source = source
        self._clock = clock
        self._spread = spread
        self._store = MemoryTokenStore() if store is None else store
        self._key = key
        self._flights = flights_of(self._store, key)
        self.failed = self._flights.failed  # no method of this: a cycle would change when a client that is dropped ends
        self._task: asyncio.Task[Token] | None = None
        self._start_at = 0.0
        self._closed = False
        self.exchanges = 0
        self.granted: TokenGrant | None = None

    def alive(self) -> Token | None:
        """The cached token while it lives, at once; a renewal starts behind it when it is due. None: `get` a new one."""
        token = self._store.get(self._key)
        if token is None:
            return None
        now = self._clock.now()
        if now >= token.refresh_at:
            if now >= token.expires_at:
                return None
            if now >= self._flights.retry_at and not self._closed and self._flights.current() is None:
                self._start()
        return token

    async def get(self) -> Token:
        """A token that is alive: the cached one, else a new one, in one exchange for all who wait.

        Raises:
            AuthenticationError: The key was refused.
            RerankError: No token could be had.
        """
        while True:
            token = self.alive()
            if token is not None:
                return token
            if self._closed:
                raise ClientClosedError("the client is closed; make a new one")
            task = self._flights.current() or self._start()
            token = await self._wait_for(task, own=task is self._task)
            if token is not None:
                return token
            # Another client of the same store, which asked for all, was closed meanwhile: now this one asks.

    async def _wait_for(self, task: asyncio.Task[Token], *, own: bool) -> Token | None:
        """The token of an exchange; None: it was not started here, and the client that did was closed."""
        try:
            # Shielded: the exchange goes on for the others when one caller is cancelled.
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.cancelled() or is_cancelled() or (own and not self._closed):
                raise
            if self._closed:
                raise ClientClosedError("the client was closed while it waited for a token") from None
        except ClientClosedError as exc:
            if self._closed or own:
                raise _copy(exc) from exc.__cause__
        except RerankError as exc:
            # Each caller gets an error of its own: one that is raised many times collects all their frames.
            raise _copy(exc) from exc.__cause__
        return None

    def failure(self) -> RerankError | None:
        """How the exchange under way has failed so far, as an error of the caller's own; None: it has not."""
        return None if self._flights.failure is None else _copy(self._flights.failure)

    def drop(self, token: Token) -> None:
        """Forgets this token, if it is still the cached one: after a 401."""
        self._store.drop(self._key, token)

    async def aclose(self) -> None:
        """Ends an exchange that was started here."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def forget_loop(self) -> None:
        """Drops the exchange of an event loop that is gone. The token stays."""
        if self._task is not None:
            self._flights.remove(self._task)
        self._task = None

    def _start(self) -> asyncio.Task[Token]:
        self.exchanges += 1
        self._task = asyncio.get_running_loop().create_task(self._exchange(), name="rerank_async token")
        # A loop that is closed without ending its tasks takes this one with it, and that is no one's mistake.
        self._task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001
        self._flights.add(self._task)
        self._task.add_done_callback(self._done)
        return self._task

    async def _exchange(self) -> Token:
        wait = self._start_at - self._clock.now()
        if wait > 0:
            await self._clock.sleep(wait)
        started_at = self._clock.now()
        grant = await self._source()
        now = self._clock.now()
        if grant.lifetime < _SHORT_LIFE:
            self._start_at = started_at + _SHORT_LIFE
            _logger.warning("tokens live for only %.2g s: a new one is asked for once a second", grant.lifetime)
        part = self._spread(_REFRESH_FROM, _REFRESH_TO)
        token = Token(grant.authorization, now + grant.lifetime * part, now + grant.lifetime)
        self.granted = grant
        self._store.put(self._key, token)
        return token

    def _done(self, task: asyncio.Task[Token]) -> None:
        self._flights.remove(task)
        self._flights.failure = None
        if self._task is task:
            self._task = None
        if task.cancelled() or (exc := task.exception()) is None:
            return
        now = self._clock.now()
        token = self._store.get(self._key)
        if token is not None and now < token.expires_at:
            life_left = token.expires_at - now
            self._flights.retry_at = now + min(max(1.0, life_left * _RETRY_PART), life_left)
            _logger.warning("the token could not be renewed; the old one serves for another %.0f s: %s", life_left, exc)


class GivenTokenCache:
    """The same face for what is sent with each request as it is, and cannot be renewed."""

    url = ""
    exchanges = 0
    granted: TokenGrant | None = None

    def __init__(self, flow: StaticFlow, wall: Callable[[], float] = time.time) -> None:
        self._flow = flow
        self._wall = wall
        self._token = Token(flow.authorization(), float("inf"), float("inf"))

    @property
    def advice(self) -> str:
        """What to say of a 401."""
        return self._flow.advice(self._wall())

    def alive(self) -> Token:
        """The token."""
        return self._token

    async def get(self) -> Token:
        """The token."""
        return self._token

    def failure(self) -> None:
        """There is no exchange."""

    def drop(self, token: Token) -> None:
        """Does nothing: there is no other token."""

    async def aclose(self) -> None:
        """Nothing to end."""

    def forget_loop(self) -> None:
        """Nothing to drop."""


Tokens = TokenCache | GivenTokenCache


def tokens_for(
    flow: Flow,
    http: Http,
    retries: RetryOptions,
    clock: Clock,
    *,
    store: TokenStore | None = None,
    wall: Callable[[], float] = time.time,
) -> Tokens:
    """The cache for a way in.

    Args:
        flow: The way in.
        http: Sends its requests.
        retries: What is sent again.
        clock: Monotonic.
        store: Keeps the token; None: one of its own.
        wall: Unix time, for answers that say when a token ends and not how long it lives.
    """
    if isinstance(flow, GivenToken | ZenApiKey):
        return GivenTokenCache(flow, wall)
    if isinstance(flow, GivenFunction):
        # Functions cannot be told apart for good, so the token of one is not shared.
        return TokenCache(FunctionSource(flow, wall), clock, store=store, key=f"function:{next(_functions)}")
    key = f"{flow.name}:{flow.url}:{flow.identity()}"
    source = ExchangeSource(flow, http, retries, clock, wall)
    cache = TokenCache(source, clock, store=store, key=key, url=flow.url)
    source.failed = cache.failed
    return cache


def _copy(exc: RerankError) -> RerankError:
    twin = type(exc)(*exc.args)
    twin.__dict__.update(exc.__dict__)
    twin.__cause__ = exc.__cause__
    return twin
