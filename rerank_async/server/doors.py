"""The routes that a rerank client needs: rerank and model specs. Those for tokens are in identity.py."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final

from aiohttp import hdrs, web

from rerank_async.server import bodies
from rerank_async.server.answering import rerank_body
from rerank_async.server.bearer import check_token
from rerank_async.server.bodies import Refusal
from rerank_async.server.faults import FAULTS, Drawn
from rerank_async.server.issuing import TokenIssuer
from rerank_async.server.limiters import limiter_for
from rerank_async.server.misbehaviour import Scene
from rerank_async.server.reading import RerankRequest, check_version, read_rerank
from rerank_async.server.record import Arrival, Counts, Visit
from rerank_async.server.replies import TRACE_HEADER, as_refusal, json_reply, refused
from rerank_async.server.scoring import ModelOutputError, ModelUnavailableError, OverlengthError
from rerank_async.server.settings import Settings
from rerank_async.server.specs import is_available, spec_of, specs_page
from rerank_async.values import contract

_INSTANCE_ID: Final = "00000000-0000-4000-8000-000000000001"
_USER_ID: Final = "local-user"
_THROTTLING: Final = frozenset({"rate_limited", "pool_full"})


class RerankDoor:
    """``POST /ml/v1/text/rerank``.

    The order at the door is: token, rate limit, body, fault, score. A gateway knows who asks before it counts against
    the instance, so a 401 costs no permit; it counts before it reads, so a bad body costs one as a good body does.

    Args:
        settings: The server's settings.
        issuer: Knows the tokens.
        counts: Counters to keep.
        clock: Monotonic seconds.
    """

    def __init__(
        self, settings: Settings, issuer: TokenIssuer, counts: Counts, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.arrivals: deque[Arrival] = deque(maxlen=settings.keep)
        self._settings = settings
        self._issuer = issuer
        self._counts = counts
        self._clock = clock
        self._limiter = None if settings.limit is None else limiter_for(settings.limit)
        self._plan = settings.plan("rerank")

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request, and record it however it ends."""
        visit = Visit(self._clock(), {TRACE_HEADER: bodies.new_trace()})
        counts = self._counts
        counts.rerank += 1
        counts.in_flight += 1
        counts.max_in_flight = max(counts.max_in_flight, counts.in_flight)
        try:
            try:
                response = await self._answer(request, visit)
            except Exception as exc:  # noqa: BLE001 - the door answers whatever happens, and the record says so
                response = refused(as_refusal(exc), visit.headers)
            visit.status = response.status
            return response
        finally:
            counts.in_flight -= 1
            if visit.status is not None:
                counts.statuses[visit.status] += 1
            self.arrivals.append(
                Arrival(
                    arrived_at=visit.arrived_at,
                    seconds=self._clock() - visit.arrived_at,
                    status=visit.status,
                    inputs=visit.inputs,
                    model_id=visit.model_id,
                    fault=visit.fault,
                    trace=visit.headers[TRACE_HEADER],
                )
            )

    async def _answer(self, request: web.Request, visit: Visit) -> web.StreamResponse:
        if self._settings.watcher is not None:
            self._settings.watcher(request, await request.read(), visit)
        check_token(request, self._issuer, self._clock())
        self._check_limit(visit)
        check_version(request.query.get("version"))
        asked = read_rerank(await request.read(), self._settings.max_inputs)
        visit.inputs, visit.model_id = len(asked.texts), asked.model_id
        self._check_place(asked)
        drawn = self._plan.next()
        if drawn is not None:
            return await self._misbehave(request, visit, asked, drawn)
        return json_reply(200, await self._score(asked), visit.headers)

    def _check_limit(self, visit: Visit) -> None:
        if self._limiter is None:
            return
        verdict = self._limiter.admit(self._clock())
        limit = self._settings.advertised
        if limit.headers:
            visit.headers[contract.LIMIT_HEADER] = str(limit.requests)
            visit.headers[contract.REMAINING_HEADER] = str(verdict.remaining)
        if not verdict.allowed:
            self._counts.throttled += 1
            self._add_retry_after(visit, verdict.retry_after)
            raise bodies.rate_limited(limit, _INSTANCE_ID, _USER_ID)

    def _add_retry_after(self, visit: Visit, delay: float) -> None:
        retry_after = self._settings.retry_after(delay)
        if retry_after is not None:
            visit.headers[hdrs.RETRY_AFTER] = retry_after

    def _check_place(self, asked: RerankRequest) -> None:
        pairs = ((asked.project_id, self._settings.project_id), (asked.space_id, self._settings.space_id))
        given, ours = pairs[0] if asked.project_id is not None else pairs[1]
        if ours is not None and given != ours:
            kind = "project" if asked.project_id is not None else "space"
            message = f"The user is not authorized for {kind} '{given}'"
            raise Refusal(403, contract.USER_NOT_AUTHORIZED, message, ("field", f"{kind}_id"))

    async def _score(self, asked: RerankRequest) -> dict[str, Any]:
        scorer = self._settings.scorers.get(asked.model_id)
        if scorer is None:
            # Both 400 and 404 were seen for this code. 404 tells a wrong name from a bad body, and no client retries it.
            message = f"Model '{asked.model_id}' is not supported here. Supported: {', '.join(self._settings.scorers)}"
            raise Refusal(404, contract.MODEL_NOT_SUPPORTED, message, ("field", "model_id"))
        delay = self._settings.latency.delay(len(asked.texts))
        if delay:
            await asyncio.sleep(delay)
        try:
            scored = await scorer.score(asked.query, asked.texts, asked.truncate)
        except OverlengthError as exc:
            raise bodies.overlength(asked.model_id, exc.tokens, exc.maximum) from exc
        except ModelUnavailableError as exc:
            raise Refusal(404, contract.MODEL_NOT_SUPPORTED, str(exc), ("field", "model_id")) from exc
        except ModelOutputError as exc:
            raise Refusal(500, "internal_server_error", str(exc)) from exc
        self._counts.inputs += len(asked.texts)
        return rerank_body(asked, scored, datetime.now(UTC))

    async def _misbehave(
        self, request: web.Request, visit: Visit, asked: RerankRequest, drawn: Drawn
    ) -> web.StreamResponse:
        name = drawn.fault.name
        visit.fault = name
        self._counts.faults[name] += 1
        if name == "rate_limited":
            self._add_retry_after(visit, self._settings.advertised.window)
        if name in _THROTTLING and self._settings.pause is not None:
            visit.headers[hdrs.RETRY_AFTER] = f"{self._settings.pause:g}"

        def begin(status: int) -> None:
            visit.begun = status

        scene = scene_of(request, visit.headers, drawn, self._settings, lambda: self._score(asked), begin)
        return await FAULTS[name].behaviour(scene)


class SpecsDoor:
    """``GET /ml/v1/foundation_model_specs``, which needs no token.

    Args:
        settings: The server's settings.
        counts: Counters to keep.
    """

    def __init__(self, settings: Settings, counts: Counts) -> None:
        self._specs = [
            spec_of(model_id, scorer) for model_id, scorer in settings.scorers.items() if is_available(scorer)
        ]
        self._counts = counts

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        self._counts.specs += 1
        headers = {TRACE_HEADER: bodies.new_trace()}
        try:
            check_version(request.query.get("version"))
            path = str(request.url.with_query(None))
            return json_reply(200, specs_page(self._specs, request.query, path), headers)
        except Refusal as refusal:
            return refused(refusal, headers)


def scene_of(
    request: web.Request,
    headers: dict[str, str],
    drawn: Drawn,
    settings: Settings,
    honest: Callable[[], Awaitable[dict[str, Any]]],
    begin: Callable[[int], None] | None = None,
) -> Scene:
    """Give a fault what it has to work with, see `Scene`."""
    return Scene(
        request=request,
        headers=headers,
        honest=honest,
        refuse=lambda refusal: refused(refusal, headers),
        rate_refusal=bodies.rate_limited(settings.advertised, _INSTANCE_ID, _USER_ID),
        random=drawn.random,
        seconds=drawn.fault.seconds,
        begin=begin,
    )
