"""``rerank-async auth check``: whether the way in leads anywhere."""

from __future__ import annotations

import asyncio
import math
import time
import warnings
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import attrs
import click
from yarl import URL

from rerank_async.auth import GivenToken, ZenApiKey
from rerank_async.cli.connection import Access, Target, access
from rerank_async.cli.exits import TABLE, note
from rerank_async.cli.options import NAME, project_option, space_option, url_option
from rerank_async.cli.output import Column, write_json, write_rows
from rerank_async.cli.wording import for_commands
from rerank_async.errors import AuthenticationError, DeadlineExceededError, DecodeError, RerankError, StatusError
from rerank_async.policy.json_codec import codec
from rerank_async.policy.wire_errors import error_of
from rerank_async.values.options import RetryOptions
from rerank_async.values.platforms import platform_url

if TYPE_CHECKING:
    from rerank_async.api_client import AsyncAPIClient

_WORDS = {
    "iam": "an API key of IBM Cloud, exchanged at its IAM",
    "bearer": "a token that was given and cannot be renewed",
    "function": "a function of your own that returns tokens",
    "trusted_profile": "a trusted profile of IBM Cloud",
    "cp4d": "a user of Cloud Pak for Data",
    "cp4d_iam": "a user of Cloud Pak for Data with IAM integration",
    "zen": "a Zen API key of Cloud Pak for Data, sent as it is",
    "mcsp": "an API key, exchanged at AWS (MCSP)",
}
_RETRIES = RetryOptions(max_attempts=2)  # somebody is waiting, and wants to know of what fails
_TIMEOUT = "Seconds for the whole check."
_COLUMNS = (Column("what"), Column("result"))


@click.group()
def auth() -> None:
    """Look at the credentials."""


@auth.command(epilog=TABLE)
@click.option("--json", "as_json", is_flag=True, help="The same as one JSON object.")
@url_option
@project_option
@space_option
@click.option(
    "--credentials",
    type=NAME,
    metavar="FILE",
    help="A JSON object with the fields of Credentials, instead of the environment; - for standard input.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    metavar="S",
    help=_TIMEOUT,
    show_default=True,
)
@click.option("--local", is_flag=True, help="Try it on this machine: starts a local server for the call.")
def check(
    *,
    as_json: bool,
    url: str | None,
    project_id: str | None,
    space_id: str | None,
    credentials: str | None,
    timeout: float,
    local: bool,
) -> None:
    """Try the way in: get a token, ask the service for its models, look up the project or space.

    Says which flow and endpoint were used, when the token expires, and what could be reached. Nothing is ranked, so it
    costs nothing. No key, password or token is shown.

    \b
    rerank-async auth check
    rerank-async auth check --credentials cloud-pak.json --json
    """  # noqa: D301 - click reads the backspace: it keeps the lines below from being wrapped
    target = Target(url=url, project_id=project_id, space_id=space_id, local=local, credentials=credentials)
    findings = Findings()
    try:
        asyncio.run(_check(target, findings, timeout))
    except RerankError as error:
        findings.fail(error)
        raise
    finally:
        if as_json and findings.parts:
            write_json({"ok": findings.ok, **findings.parts})
        elif findings.rows:
            write_rows(_COLUMNS, [*findings.rows.items()])


@attrs.define
class Findings:
    """What was found so far, in words and for programs.

    Attributes:
        rows: Of what the result in words.
        parts: By name, for JSON.
        step: What is being tried.
        ok: Whether all of it worked.
    """

    rows: dict[str, str] = attrs.Factory(dict)
    parts: dict[str, Any] = attrs.Factory(dict)
    step: str = "credentials"
    ok: bool = False

    def add(self, what: str, words: str, **parts: Any) -> None:
        """One finding; a later one of the same takes its place."""
        self.rows[what] = words
        self.parts |= parts

    def way(self, name: str, endpoint: str) -> None:
        """Which way in is taken."""
        self.add("way in", f"{_WORDS[name]} ({name})", flow=name)
        self.add("endpoint", endpoint or "none: no endpoint is asked for a token", endpoint=endpoint or None)

    def fail(self, error: RerankError) -> None:
        """What was being tried has failed; the error itself goes to standard error."""
        self.rows[self.step] = "failed"
        found: dict[str, Any] = {"step": self.step, "type": type(error).__name__, "message": for_commands(str(error))}
        if isinstance(error, StatusError):
            found |= {"status": error.status, "code": error.code, "trace": error.trace}
        self.parts["error"] = found


async def _check(target: Target, findings: Findings, seconds: float) -> None:
    async with access(target, preload=None) as way, _client(way) as client:
        findings.way(client.flow.name, getattr(client.flow, "url", ""))
        steps: tuple[tuple[str, Callable[[AsyncAPIClient, Findings], Awaitable[None]]], ...] = (
            ("token", _token),
            ("service", _service),
            ("project" if client.project_id is not None else "space", _place),
        )
        try:
            async with asyncio.timeout(seconds):
                for findings.step, step in steps:
                    await step(client, findings)
        except TimeoutError as exc:
            if isinstance(exc, RerankError):
                raise
            raise DeadlineExceededError(
                f"the check was not done after {seconds:g} s, it waited for the {findings.step}"
            ) from None
        findings.ok = True


def _client(way: Access) -> AsyncAPIClient:
    from rerank_async.api_client import AsyncAPIClient

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        client = AsyncAPIClient(way.credentials, way.project_id, way.space_id, retries=_RETRIES)
    for warning in caught:
        note(f"warning: {warning.message}")
    return client


async def _token(client: AsyncAPIClient, findings: Findings) -> None:
    channel, flow = client.channel(), client.flow
    token = await channel.tokens.get()
    granted = channel.tokens.granted
    if granted is not None:
        findings.way(granted.flow, granted.url)  # which may be another than the one that was tried first
    left = token.expires_at - channel.clock.now()
    if isinstance(flow, GivenToken):
        end = flow.expires_at()
        left = math.inf if end is None else end - time.time()
    if math.isinf(left):
        words = "does not expire" if isinstance(flow, ZenApiKey) else "it does not say when it expires"
        findings.add("token", words, token={"expires_in": None, "expires_at": None})
        return
    moment = datetime.fromtimestamp(time.time() + left, UTC)
    findings.add(
        "token",
        f"good until {moment:%Y-%m-%d %H:%M:%S} UTC, {_length(left)} from now"
        if left > 0
        else f"expired at {moment:%Y-%m-%d %H:%M:%S} UTC, and cannot be renewed here",
        token={"expires_in": round(left, 1), "expires_at": f"{moment:%Y-%m-%dT%H:%M:%SZ}"},
    )


async def _service(client: AsyncAPIClient, findings: Findings) -> None:
    specs = await client.model_specs()
    count = "1 model" if len(specs) == 1 else f"{len(specs)} models"
    findings.add(
        "service", f"{client.url} answers: {count} can rerank", service={"url": client.url, "models": len(specs)}
    )


async def _place(client: AsyncAPIClient, findings: Findings) -> None:
    kind, place_id = findings.step, client.project_id or client.space_id or ""
    platform = platform_url(client.url)
    part: dict[str, Any] = {"kind": kind, "id": place_id, "platform": platform, "reachable": None}
    if platform is None:
        words = f"{place_id} was not looked up: no platform is known for {client.url}"
        findings.add(kind, words, place=part)
        return
    channel = client.channel()
    token = await channel.tokens.get()
    # The id is one segment of the path, whatever it holds.
    where = f"{platform}/v2/{kind}s/{quote(place_id, safe='')}"
    answer = await channel.http.send(
        "GET", URL(where, encoded=True), headers=client.headers, authorization=token.authorization
    )
    if answer.status != 200:
        error = error_of(answer.status, answer.headers, answer.body, where)
        if isinstance(error, AuthenticationError) and channel.tokens.advice is not None:
            error.args = (f"{error} ({channel.tokens.advice})",)
        raise error
    name = _name(answer.body, where)
    findings.add(kind, f"{place_id} can be reached: {name!r}", place={**part, "reachable": True, "name": name})


def _name(body: bytes, where: str) -> str | None:
    try:
        value = codec().loads(body)
        name = value["entity"]["name"]
    except (ValueError, LookupError, TypeError) as exc:
        raise DecodeError(f"{where} answered 200 with something that describes no project or space", url=where) from exc
    return name if isinstance(name, str) else None


def _length(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
