"""Where new tokens come from: the requests of a way in, or a function of the caller's."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable
from typing import Any

import attrs
from yarl import URL

from rerank_async.auth import GivenFunction
from rerank_async.auth.function import sealed_result
from rerank_async.auth.grant import ExchangeFlow, TokenAnswer, TokenGrant, TokenRequest
from rerank_async.errors import RerankError
from rerank_async.policy.retrying import Again, Pause, backoff_delay, decide
from rerank_async.runtime.clock import Clock
from rerank_async.runtime.http import TOKEN_ANSWER_LIMIT, Http
from rerank_async.runtime.outgoing import without_frames
from rerank_async.values.options import RetryOptions
from rerank_async.values.secret import Secret

_logger = logging.getLogger("rerank_async")

_PATIENCE = 5
"""An exchange serves every call that waits, so it gets so many times the retries of one batch."""

_LONGEST_EXCHANGE = 60.0
"""Seconds after which nothing is tried again: an endpoint that hangs is not waited for five times over."""

_LONGEST_DELAY = 1.0
"""Seconds between two attempts, unless the endpoint asks for more: calls wait meanwhile."""


@attrs.define(eq=False)
class ExchangeSource:
    """Asks an endpoint, again where a retry may mend it: its own 429 and 5xx, broken connections, nonsense.

    Attributes:
        flow: The way in. Where it names another one for the future, that is taken from then on.
        http: Sends.
        retries: As for a batch; see `_PATIENCE`.
        clock: For the waits.
        wall: Unix time.
        jitter: The longest wait to the wait; None: full jitter.
        failed: Hears of each failure after which it is tried again; None: nobody does.
    """

    flow: ExchangeFlow
    http: Http
    retries: RetryOptions
    clock: Clock
    wall: Callable[[], float]
    jitter: Callable[[float], float] | None = None
    failed: Callable[[RerankError], None] | None = None

    async def __call__(self) -> TokenGrant:
        """A new token.

        Raises:
            AuthenticationError: The key was refused.
            RerankError: No token could be had.
        """
        options = attrs.evolve(
            self.retries,
            max_attempts=1 + _PATIENCE * (self.retries.max_attempts - 1),
            base_delay=min(self.retries.base_delay, _LONGEST_DELAY),
            max_delay=min(self.retries.max_delay, _LONGEST_DELAY),
        )
        attempt = 1
        end = self.clock.now() + _LONGEST_EXCHANGE
        while True:
            try:
                return await self._once()
            except RerankError as exc:
                delay = self._delay(exc, attempt, options)
                exc.attempts = attempt
                if delay is None or self.clock.now() >= end:
                    raise
                if self.failed is not None:
                    self.failed(exc)
                _logger.info("no token yet, tried %d times, again in %.1f s: %s", attempt, delay, exc)
            await self.clock.sleep(delay)
            attempt += 1

    def _delay(self, error: RerankError, attempt: int, options: RetryOptions) -> float | None:
        decision = decide(error, attempts=attempt, throttled=attempt, renewed=True, options=options, jitter=self.jitter)
        if isinstance(decision, Again):
            return decision.delay
        if isinstance(decision, Pause) and attempt < options.max_attempts:
            return max(decision.retry_after or 0.0, backoff_delay(attempt, options, self.jitter))
        return None

    async def _once(self) -> TokenGrant:
        steps = self.flow.exchange()
        try:
            request = next(steps)
            while True:
                try:
                    answer = await self._send(request)
                except RerankError as exc:
                    request = steps.throw(exc)
                else:
                    request = steps.send(answer)
        except StopIteration as ended:
            grant: TokenGrant = ended.value
        finally:
            steps.close()
        self.flow = grant.next_flow or self.flow
        return grant

    async def _send(self, request: TokenRequest) -> TokenAnswer:
        answer = await self.http.send(
            request.method, URL(request.url), headers=request.headers, body=request.body, limit=TOKEN_ANSWER_LIMIT
        )
        return TokenAnswer(answer.status, answer.headers, Secret(answer.body.decode("latin-1")), self.wall())


@attrs.frozen(eq=False)
class FunctionSource:
    """Calls a function of the caller's: one that may block in a thread, a coroutine function in the loop.

    Attributes:
        flow: The function.
        wall: Unix time.
    """

    flow: GivenFunction
    wall: Callable[[], float]

    async def __call__(self) -> TokenGrant:
        """A new token.

        Raises:
            AuthenticationError: The function raised, or returned no token.
        """
        cause: BaseException | None = None
        result: object = None
        try:
            result = await self._result()
        except asyncio.CancelledError as exc:
            if is_cancelled():
                raise
            cause = exc  # it raised that by itself, so nobody's call shall look cancelled
            without_frames(exc)
        except Exception as exc:  # noqa: BLE001 - whatever a function of the caller's raises
            cause = exc
            without_frames(exc)
        if cause is not None:
            raise self.flow.failed(cause) from cause
        return self.flow.parse(result, self.wall())

    async def _result(self) -> object:
        arguments = self.flow.arguments()
        if self.flow.in_thread:
            made = await asyncio.to_thread(_called, self.flow.function, arguments)
        else:
            made = _called(self.flow.function, arguments)
        return sealed_result(await made) if inspect.isawaitable(made) else made


def _called(function: Callable[..., Any], arguments: tuple[None, ...]) -> Any:
    """What the function makes: an awaitable, or the result, sealed before any other frame sees it."""
    made = function(*arguments)
    return made if inspect.isawaitable(made) else sealed_result(made)


def is_cancelled() -> bool:
    """Whether the running task was asked to end."""
    current = asyncio.current_task()
    return current is not None and current.cancelling() > 0
