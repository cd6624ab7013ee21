"""What was asked of a test's server, for assertions: contents too, but no token."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import attrs
from aiohttp import hdrs, web
from multidict import CIMultiDict, CIMultiDictProxy

from rerank_async.server.record import Visit


@attrs.frozen(kw_only=True)
class RecordedRequest:
    """One rerank request as it came, and what became of it by the time it was looked at.

    Attributes:
        model_id: The model asked for; None: the body does not say.
        query: The query; None: the body does not say.
        texts: The texts of ``inputs``, in order; empty: the body has none.
        parameters: The body's ``parameters``, decoded; empty: none. The client sends ``top_n`` only where it cuts.
        project_id: The project; None: not given.
        space_id: The space; None: not given.
        headers: By name, whatever its case; ``Authorization`` is left out.
        body: The whole body, decoded; None: not a JSON object.
        status: The status answered; None: not answered yet, or the connection was cut before.
        fault: The scripted fault that it met; None: none.
    """

    model_id: str | None
    query: str | None
    texts: tuple[str, ...]
    parameters: Mapping[str, Any]
    project_id: str | None
    space_id: str | None
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: Mapping[str, Any] | None = attrs.field(repr=False)
    status: int | None
    fault: str | None


class Recorder:
    """A watcher that keeps everything until it is told to forget."""

    def __init__(self) -> None:
        self._kept: list[tuple[RecordedRequest, Visit]] = []

    def __call__(self, request: web.Request, body: bytes, visit: Visit) -> None:
        """Keep a request."""
        headers = CIMultiDict(request.headers)
        headers.popall(hdrs.AUTHORIZATION, None)
        value = _decoded(body)
        parameters = value.get("parameters")
        self._kept.append(
            (
                RecordedRequest(
                    model_id=_text(value.get("model_id")),
                    query=_text(value.get("query")),
                    texts=_texts(value.get("inputs")),
                    parameters=parameters if isinstance(parameters, dict) else {},
                    project_id=_text(value.get("project_id")),
                    space_id=_text(value.get("space_id")),
                    headers=CIMultiDictProxy(headers),
                    body=value or None,
                    status=None,
                    fault=None,
                ),
                visit,
            )
        )

    def requests(self) -> tuple[RecordedRequest, ...]:
        """What was kept, in the order of arrival."""
        return tuple(
            attrs.evolve(request, status=visit.begun if visit.status is None else visit.status, fault=visit.fault)
            for request, visit in tuple(self._kept)
        )

    def forget(self) -> None:
        """Keep nothing of what came so far."""
        self._kept = []


def _decoded(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _texts(inputs: object) -> tuple[str, ...]:
    items = inputs if isinstance(inputs, list) else []
    return tuple(item["text"] for item in items if isinstance(item, dict) and isinstance(item.get("text"), str))
