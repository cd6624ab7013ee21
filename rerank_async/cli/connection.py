"""Where a command's requests go: the service that the environment names, or a local server for this one call."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import attrs

from rerank_async.cli.exits import InputError
from rerank_async.cli.streams import standard_input
from rerank_async.values.credentials import Credentials, sealed

_NOWHERE = "set WATSONX_URL or give --url, or use --local for the model on this machine"


@attrs.frozen(kw_only=True)
class Target:
    """What the options of a command say about the service.

    Attributes:
        url: The address; None: from the environment.
        project_id: The project; None: from the environment.
        space_id: The space instead of a project; likewise.
        local: Start a server for this call instead.
        credentials: A JSON file with the fields of `Credentials`, ``-`` for standard input; None: from the environment.
    """

    url: str | None = None
    project_id: str | None = None
    space_id: str | None = None
    local: bool = False
    credentials: str | None = None

    def __attrs_post_init__(self) -> None:
        """Refuses options that would have no effect."""
        given = {
            "--url": self.url,
            "--project-id": self.project_id,
            "--space-id": self.space_id,
            "--credentials": self.credentials,
        }
        for name, value in given.items():
            if self.local and value is not None:
                raise InputError(f"--local brings its own server, so {name} has no effect; leave one of them out")
        if self.project_id is not None and self.space_id is not None:
            raise InputError("--project-id and --space-id are both given; the service takes one of them")


@attrs.frozen
class Access:
    """What a client is made with."""

    credentials: Credentials
    project_id: str | None
    space_id: str | None


@asynccontextmanager
async def access(target: Target, *, preload: str | None) -> AsyncIterator[Access]:
    """The way to the service; for a local one, its server runs as long as the context is open.

    Args:
        target: From the options.
        preload: The model that a local server loads before it begins; None: none.

    Raises:
        InputError: The environment lacks something, or the local model cannot be had.
        InvalidArgumentError: A value cannot be right.
    """
    async with AsyncExitStack() as stack:
        if target.local:
            yield await stack.enter_async_context(_local(preload))
            return
        credentials = _credentials(target)
        places = (target.project_id, target.space_id)
        known = (credentials.project_id, credentials.space_id)
        if not any((*places, *known, os.environ.get("WATSONX_PROJECT_ID"), os.environ.get("WATSONX_SPACE_ID"))):
            raise InputError("no project: set WATSONX_PROJECT_ID, or give --project-id or --space-id")
        yield Access(credentials, *places)


@asynccontextmanager
async def keyless_access(target: Target) -> AsyncIterator[Access]:
    """The way to what the service tells without a token: its model specs.

    Raises:
        InputError: There is no address.
        InvalidArgumentError: The address is not one.
    """
    async with AsyncExitStack() as stack:
        if target.local:
            yield await stack.enter_async_context(_local(None))
            return
        # A client wants a token and a project; the request for the specs carries neither.
        yield Access(Credentials(_url(target), token="none"), "none", None)  # noqa: S106 - not a secret: never sent


def _url(target: Target) -> str:
    url = target.url or os.environ.get("WATSONX_URL")
    if not url:
        raise InputError(f"no address of a service: {_NOWHERE}")
    return url


def _credentials(target: Target) -> Credentials:
    if target.credentials is not None:
        fields = read_credentials(target.credentials)
        return Credentials.from_dict({**fields, "url": target.url} if target.url else fields)
    return Credentials.from_env(_url(target))


def read_credentials(name: str) -> dict[str, Any]:
    """The fields in a JSON file, each string sealed: nothing of the file is shown, whatever is wrong with it.

    Raises:
        InputError: There is no such file, or it holds no JSON object.
    """
    what = "standard input" if name == "-" else name
    try:
        # Never bound to a name: a traceback with locals would show it.
        fields = sealed(json.loads(standard_input().read() if name == "-" else Path(name).read_bytes()))
    except OSError as exc:
        raise InputError(f"--credentials: cannot read {what}: {exc.strerror}") from exc
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        raise InputError(f"--credentials: {what} does not hold a JSON object with the fields of Credentials")
    return fields


@asynccontextmanager
async def _local(preload: str | None) -> AsyncIterator[Access]:
    from rerank_async.server import LexicalScorer, MiniLMScorer, ModelUnavailableError, serve

    known = (MiniLMScorer.model_id, LexicalScorer.model_id)
    if preload is not None and preload not in known:
        raise InputError(f"the local server has no model {preload!r}; it has {' and '.join(known)}")
    async with AsyncExitStack() as stack:
        try:
            server = await stack.enter_async_context(serve(preload=() if preload is None else (preload,)))
        except ModelUnavailableError as exc:
            raise InputError(f"{exc}; --model {LexicalScorer.model_id} works without it") from exc
        yield Access(Credentials(server.url, server.api_key), server.project_id, None)
