"""Answers of the documented shapes, as aiohttp responses."""

from __future__ import annotations

import logging
import traceback
from typing import Final

from aiohttp import web

from rerank_async.server.bodies import Refusal, error_body
from rerank_async.server.misbehaviour import encoded
from rerank_async.values import contract

TRACE_HEADER: Final = "x-global-transaction-id"

logger: Final = logging.getLogger("rerank_async.server")


def json_reply(status: int, value: object, headers: dict[str, str]) -> web.Response:
    """Make an answer of a decoded body."""
    return web.Response(status=status, body=encoded(value), content_type="application/json", headers=headers)


def refused(refusal: Refusal, headers: dict[str, str]) -> web.Response:
    """Make an answer of a refusal, with the trace of the headers."""
    return json_reply(refusal.status, error_body(refusal, headers[TRACE_HEADER]), headers)


def as_refusal(exc: Exception) -> Refusal:
    """Give what the client is told of an exception: itself, aiohttp's status, or a 500 that names its type only."""
    if isinstance(exc, Refusal):
        return exc
    if isinstance(exc, web.HTTPException):
        return Refusal(exc.status, contract.INVALID_REQUEST, exc.reason)
    # Where it failed, but not the exception's own words: they may quote a text or a query.
    where = "".join(traceback.format_tb(exc.__traceback__))
    logger.error("A request failed in the server with %s\n%s", type(exc).__name__, where)
    return Refusal(500, "internal_server_error", f"The server failed with {type(exc).__name__}")
