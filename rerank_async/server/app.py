"""The web application: routes to doors, documented bodies for everything else, and an end to work in flight."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from aiohttp import web

from rerank_async.server.bodies import Refusal, new_trace
from rerank_async.server.replies import TRACE_HEADER, as_refusal, refused
from rerank_async.values import contract

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

logger: Final = logging.getLogger("rerank_async.server")
logger.addHandler(logging.NullHandler())


def build_app(routes: Mapping[tuple[str, str], Handler], max_body: int) -> web.Application:
    """Make the application.

    Args:
        routes: Handlers by (method, path).
        max_body: Bytes of a request's body above which it is answered with a 413.

    Returns:
        An application that cancels the requests being worked on when it is shut down: an answer that is still being
        computed, or a fault that never answers, must not hold up the end of a test.
    """
    working: set[asyncio.Task[object]] = set()

    @web.middleware
    async def tracked(request: web.Request, handler: Handler) -> web.StreamResponse:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a handler always runs in a task
        working.add(task)
        try:
            return await handler(request)
        finally:
            working.discard(task)

    async def cancel_work(_: web.Application) -> None:
        for task in working:
            task.cancel()
        if working:
            await asyncio.wait(set(working))

    app = web.Application(middlewares=[_logged, tracked, _documented], client_max_size=max_body)
    for (method, path), handler in routes.items():
        app.router.add_route(method, path, handler)
    app.on_shutdown.append(cancel_work)
    return app


@web.middleware
async def _logged(request: web.Request, handler: Handler) -> web.StreamResponse:
    # Path and status only: a header may hold a token and a body may hold texts.
    started_at = time.monotonic()
    response = await handler(request)
    logger.info("%s %s %d %.3f s", request.method, request.path, response.status, time.monotonic() - started_at)
    return response


@web.middleware
async def _documented(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPMethodNotAllowed as exc:
        headers = {TRACE_HEADER: new_trace(), "Allow": exc.headers["Allow"]}
        message = f"The method {request.method} is not allowed for {request.path}"
        return refused(Refusal(405, contract.INVALID_REQUEST, message), headers)
    except web.HTTPNotFound:
        message = f"There is nothing at {request.path}"
        return refused(Refusal(404, "not_found", message), {TRACE_HEADER: new_trace()})
    except Exception as exc:  # noqa: BLE001 - every answer of this server is a documented one
        return refused(as_refusal(exc), {TRACE_HEADER: new_trace()})
