"""The token cache: one exchange for everyone who waits, renewed while the old token still serves."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import NamedTuple, Protocol

import attrs
from yarl import URL

from rerank_async.auth import Flow, GivenToken, IamApiKey
from rerank_async.auth.grant import TokenGrant
from rerank_async.errors import ClientClosedError, RerankError
from rerank_async.policy.retrying import Again, Pause, backoff_delay, decide
from rerank_async.runtime.clock import Clock
from rerank_async.runtime.http import Http
from rerank_async.values.options import RetryOptions
from rerank_async.values.secret import Secret

_logger = logging.getLogger("rerank_async")

_REFRESH_FROM, _REFRESH_TO = 0.5, 0.75
"""The part of its life after which a token is renewed, drawn anew for each token, so that many processes which started
together do not renew together."""

_RETRY_PART = 0.02
"""After a failed renewal the next one may start after this part of the token's life, one second at the least."""


class TokenSource(Protocol):
    """What the cache asks for a new token."""

    async def __call__(self) -> TokenGrant:
        """A new token."""


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


class TokenCache:
    """Serves one token to everyone. A living token costs no await and no lock: `alive`, else ``await get()``.

    Attributes:
        exchanges: Exchanges started so far.
        advice: What to say of a 401; None: a new token is tried first.
    """

    advice: str | None = None

    def __init__(
        self, source: TokenSource, clock: Clock, spread: Callable[[float, float], float] = random.uniform
    ) -> None:
        self._source = source
        self._clock = clock
        self._spread = spread
        self._token: Token | None = None
        self._task: asyncio.Task[Token] | None = None
        self._retry_at = 0.0
        self._closed = False
        self.exchanges = 0

    def alive(self) -> Token | None:
        """The cached token while it lives, at once; a renewal starts behind it when it is due. None: `get` a new one."""
        token = self._token
        if token is None:
            return None
        now = self._clock.now()
        if now >= token.refresh_at:
            if now >= token.expires_at:
                return None
            if self._task is None and now >= self._retry_at and not self._closed:
                self._start()
        return token

    async def get(self) -> Token:
        """A token that is alive: the cached one, else a new one, in one exchange for all who wait.

        Raises:
            AuthenticationError: The key was refused.
            RerankError: No token could be had.
        """
        token = self.alive()
        if token is not None:
            return token
        if self._closed:
            raise ClientClosedError("the client is closed; make a new one")
        task = self._task or self._start()
        try:
            # Shielded: the exchange goes on for the others when one caller is cancelled.
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled() and self._ended_by_closing():
                raise ClientClosedError("the client was closed while it waited for a token") from None
            raise
        except RerankError as exc:
            # Each caller gets an error of its own: one that is raised many times collects all their frames.
            raise _copy(exc) from exc.__cause__

    def drop(self, token: Token) -> None:
        """Forgets this token, if it is still the cached one: after a 401."""
        if self._token is token:
            self._token = None

    async def aclose(self) -> None:
        """Ends an exchange that is under way."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def forget_loop(self) -> None:
        """Drops the exchange of an event loop that is gone. The token stays."""
        self._task = None

    def _ended_by_closing(self) -> bool:
        """Whether the caller who asks was not itself cancelled."""
        current = asyncio.current_task()
        return self._closed and not (current is not None and current.cancelling())

    def _start(self) -> asyncio.Task[Token]:
        self.exchanges += 1
        self._task = asyncio.get_running_loop().create_task(self._exchange(), name="rerank_async token")
        self._task.add_done_callback(self._done)
        return self._task

    async def _exchange(self) -> Token:
        grant = await self._source()
        now = self._clock.now()
        part = self._spread(_REFRESH_FROM, _REFRESH_TO)
        self._token = Token(grant.authorization, now + grant.lifetime * part, now + grant.lifetime)
        return self._token

    def _done(self, task: asyncio.Task[Token]) -> None:
        if self._task is task:
            self._task = None
        if task.cancelled() or (exc := task.exception()) is None:
            return
        now = self._clock.now()
        if self._token is not None and now < self._token.expires_at:
            life_left = self._token.expires_at - now
            self._retry_at = now + min(max(1.0, life_left * _RETRY_PART), life_left)
            _logger.warning("the token could not be renewed; the old one serves for another %.0f s: %s", life_left, exc)


class GivenTokenCache:
    """The same face for a token that was given and cannot be renewed."""

    exchanges = 0
    advice = "the token was given and cannot be renewed here: pass a new one, or api_key= to have tokens renewed"

    def __init__(self, flow: GivenToken) -> None:
        self._token = Token(flow.authorization(), float("inf"), float("inf"))

    def alive(self) -> Token:
        """The token."""
        return self._token

    async def get(self) -> Token:
        """The token."""
        return self._token

    def drop(self, token: Token) -> None:
        """Does nothing: there is no other token."""

    async def aclose(self) -> None:
        """Nothing to end."""

    def forget_loop(self) -> None:
        """Nothing to drop."""


Tokens = TokenCache | GivenTokenCache


def tokens_for(flow: Flow, http: Http, retries: RetryOptions, clock: Clock) -> Tokens:
    """The cache for a way in."""
    if isinstance(flow, GivenToken):
        return GivenTokenCache(flow)
    return TokenCache(_IamSource(flow, http, retries, clock), clock)


@attrs.frozen(eq=False)
class _IamSource:
    """Exchanges an API key, with retries of what a retry may mend: IAM's own 429 and 5xx, and broken connections."""

    flow: IamApiKey
    http: Http
    retries: RetryOptions
    clock: Clock

    async def __call__(self) -> TokenGrant:
        attempt = 1
        while True:
            try:
                return await self._once()
            except RerankError as exc:
                decision = decide(exc, attempts=attempt, throttled=attempt, renewed=True, options=self.retries)
                if isinstance(decision, Again):
                    delay = decision.delay
                elif isinstance(decision, Pause) and attempt < self.retries.max_attempts:
                    delay = max(decision.retry_after or 0.0, backoff_delay(attempt, self.retries))
                else:
                    exc.attempts = attempt
                    raise
            await self.clock.sleep(delay)
            attempt += 1

    async def _once(self) -> TokenGrant:
        request = self.flow.request()
        answer = await self.http.send("POST", URL(request.url), headers=request.headers, body=request.body)
        return self.flow.parse(answer.status, answer.headers, Secret(answer.body.decode("latin-1")))


def _copy(exc: RerankError) -> RerankError:
    twin = type(exc)(*exc.args)
    twin.__dict__.update(exc.__dict__)
    twin.__cause__ = exc.__cause__
    return twin
