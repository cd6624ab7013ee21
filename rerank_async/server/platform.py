"""The platform's routes for a project and a space, which other clients look up before they rank."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, Literal

from aiohttp import web

from rerank_async.server import bodies
from rerank_async.server.answering import timestamp
from rerank_async.server.bearer import check_token
from rerank_async.server.bodies import Refusal
from rerank_async.server.issuing import TokenIssuer
from rerank_async.server.record import Counts
from rerank_async.server.replies import TRACE_HEADER, json_reply, refused
from rerank_async.server.settings import Settings

PROJECT_PATH: Final = "/v2/projects/{place_id}"
SPACE_PATH: Final = "/v2/spaces/{place_id}"
"""Source: IBM's API documentation of projects and spaces; ibm-watsonx-ai 1.8.1 asks them with ``Rerank(project_id=)``
and ``Rerank(space_id=)``, at the ``platform_url`` of its credentials."""

_ACCOUNT_ID: Final = "00000000000000000000000000000002"
_COMPUTE_ID: Final = "00000000-0000-4000-8000-000000000003"
_STORAGE_ID: Final = "00000000-0000-4000-8000-000000000004"


class PlatformDoor:
    """``GET /v2/projects/{id}`` or ``GET /v2/spaces/{id}``.

    It needs a token, as the rerank route does, and knows the one project or space that the rerank route takes,
    or any, where that takes any. It meets no faults and no rate limit.

    Args:
        kind: Which of the two.
        settings: The server's settings.
        issuer: Knows the tokens.
        counts: Counters to keep.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        kind: Literal["project", "space"],
        settings: Settings,
        issuer: TokenIssuer,
        counts: Counts,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kind = kind
        self._known = settings.project_id if kind == "project" else settings.space_id
        self._issuer = issuer
        self._counts = counts
        self._clock = clock
        self._made_at = datetime.now(UTC)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        self._counts.platform += 1
        headers = {TRACE_HEADER: bodies.new_trace()}
        try:
            check_token(request, self._issuer, self._clock())
            return json_reply(200, self._described(request.match_info["place_id"]), headers)
        except Refusal as refusal:
            return refused(refusal, headers)

    def _described(self, place_id: str) -> dict[str, Any]:
        if self._known is not None and place_id != self._known:
            raise Refusal(404, "not_found", f"There is no {self._kind} '{place_id}' here")
        describe = project_body if self._kind == "project" else space_body
        return describe(place_id, self._made_at)


def project_body(project_id: str, made_at: datetime) -> dict[str, Any]:
    """Describe a project with a machine learning instance, as ``GET /v2/projects/{id}`` does.

    Source: IBM's API documentation of projects; ``ProjectService`` of IBM's Java SDK. Of it ibm-watsonx-ai 1.8.1 reads
    ``entity.storage.type`` and ``entity.compute``.
    """
    return {
        "metadata": {"guid": project_id, "url": f"/v2/projects/{project_id}", **_times(made_at)},
        "entity": {
            "name": "local project",
            "description": "",
            "type": "wx",
            "public": False,
            "creator": "local-user",
            "scope": {"bss_account_id": _ACCOUNT_ID},
            "storage": _storage(),
            "compute": [_compute()],
        },
    }


def space_body(space_id: str, made_at: datetime) -> dict[str, Any]:
    """Describe a deployment space with a machine learning instance, as ``GET /v2/spaces/{id}`` does.

    Source: IBM's API documentation of spaces. Of it ibm-watsonx-ai 1.8.1 reads ``entity.compute``.
    """
    return {
        "metadata": {
            "id": space_id,
            "url": f"/v2/spaces/{space_id}",
            "creator_id": "local-user",
            **_times(made_at),
        },
        "entity": {
            "name": "local space",
            "description": "",
            "type": "wx",
            "scope": {"bss_account_id": _ACCOUNT_ID},
            "status": {"state": "active"},
            "storage": _storage(),
            "compute": [_compute()],
        },
    }


def _times(made_at: datetime) -> dict[str, str]:
    return {"created_at": timestamp(made_at), "updated_at": timestamp(made_at)}


def _storage() -> dict[str, Any]:
    crn = f"crn:v1:bluemix:public:cloud-object-storage:global:a/{_ACCOUNT_ID}:{_STORAGE_ID}::"
    return {"type": "bmcos_object_storage", "guid": _STORAGE_ID, "resource_crn": crn}


def _compute() -> dict[str, Any]:
    crn = f"crn:v1:bluemix:public:pm-20:local:a/{_ACCOUNT_ID}:{_COMPUTE_ID}::"
    return {"type": "machine_learning", "name": "local", "guid": _COMPUTE_ID, "crn": crn}
