"""What each fault does to an answer: one small coroutine a fault, all of the same form."""

from __future__ import annotations

import asyncio
import json
import math
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Mapping
from random import Random
from typing import Any, Final, NoReturn

import attrs
from aiohttp import web

from rerank_async.server import bodies
from rerank_async.server.bodies import Refusal
from rerank_async.server.issuing import dead_token
from rerank_async.values import contract

_HTML: Final = "<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>"
_JSON: Final = "application/json"
_TOKEN_NAMES: Final = frozenset({"access_token", "token", "accessToken"})


@attrs.frozen(kw_only=True)
class Scene:
    """What a fault has to work with.

    Attributes:
        request: The request.
        headers: Headers that every answer carries.
        honest: Works out the answer that the client would have got, as a new dict that a fault may change.
        refuse: Makes the answer with a documented error body.
        rate_refusal: The 429 of the rate limit, with the server's numbers.
        random: The fault's own source of chance.
        seconds: `Fault.seconds`.
        begin: Hears the status of an answer in pieces before its first byte; None: nobody asks.
    """

    request: web.Request
    headers: Mapping[str, str]
    honest: Callable[[], Awaitable[dict[str, Any]]]
    refuse: Callable[[Refusal], web.Response]
    rate_refusal: Refusal
    random: Random
    seconds: float | None
    begin: Callable[[int], None] | None = None

    def raw(self, status: int, body: bytes = b"", content_type: str | None = None) -> web.Response:
        """Make an answer of these bytes."""
        return web.Response(status=status, body=body, content_type=content_type, headers=self.headers)

    def html(self, status: int, title: str) -> web.Response:
        """Make the kind of page that a gateway answers with."""
        return self.raw(status, _HTML.format(title=title).encode(), "text/html")

    async def honest_bytes(self) -> bytes:
        """Give the honest answer as it would travel."""
        return encoded(await self.honest())


Behaviour = Callable[[Scene], Awaitable[web.StreamResponse]]


def encoded(value: object) -> bytes:
    """Give JSON as UTF-8, without escapes."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def refusal(status: int, code: str, message: str) -> Behaviour:
    """Answer with a documented error body, without scoring."""

    async def behave(scene: Scene) -> web.StreamResponse:
        return scene.refuse(Refusal(status, code, message))

    return behave


def page(status: int, title: str) -> Behaviour:
    """Answer with an HTML page, without scoring."""

    async def behave(scene: Scene) -> web.StreamResponse:
        return scene.html(status, title)

    return behave


def identity(status: int, code: str, message: str) -> Behaviour:
    """Answer with an error body of the token endpoint; `seconds` becomes a Retry-After."""

    async def behave(scene: Scene) -> web.StreamResponse:
        response = scene.raw(status, encoded(bodies.identity_error(code, message)), _JSON)
        if scene.seconds is not None:
            response.headers["Retry-After"] = f"{scene.seconds:g}"
        return response

    return behave


def altered(change: Callable[[dict[str, Any], Random], object]) -> Behaviour:
    """Score honestly, then let `change` edit the decoded answer."""

    async def behave(scene: Scene) -> web.StreamResponse:
        value = await scene.honest()
        change(value, scene.random)
        return scene.raw(200, encoded(value), _JSON)

    return behave


async def rate_limited(scene: Scene) -> web.StreamResponse:
    """Answer as the rate limit does, with permits left."""
    return scene.refuse(scene.rate_refusal)


async def token_expired(scene: Scene) -> web.StreamResponse:
    """Say that a good token has expired."""
    return scene.refuse(bodies.token_expired())


async def token_rejected(scene: Scene) -> web.StreamResponse:
    """Say that a good token is none."""
    return scene.refuse(bodies.token_not_valid())


async def no_trace(_: Scene) -> web.StreamResponse:
    """Answer 500 with the error body less its ``trace`` and its optional fields, and without a content type."""
    body = {"errors": [{"code": contract.BACKEND_FAILED, "message": "Something failed"}]}
    return web.Response(status=500, body=encoded(body), headers={"Content-Type": ""})


async def empty_error(scene: Scene) -> web.StreamResponse:
    """Answer 503 with no body at all."""
    return scene.raw(503)


async def redirect(scene: Scene) -> web.StreamResponse:
    """Answer 307 to a host that does not exist."""
    response = scene.raw(307)
    response.headers["Location"] = "https://elsewhere.invalid" + contract.RERANK_PATH
    return response


async def hang(_: Scene) -> web.StreamResponse:
    """Never answer; ends when the client leaves or the server stops."""
    return await _forever()


async def slow(scene: Scene) -> web.StreamResponse:
    """Answer honestly, `seconds` late."""
    await asyncio.sleep(1.0 if scene.seconds is None else scene.seconds)
    return scene.raw(200, await scene.honest_bytes(), _JSON)


async def drip(scene: Scene) -> web.StreamResponse:
    """Answer honestly a byte at a time, `seconds` apart."""
    body = await scene.honest_bytes()
    response = await _begun(scene, len(body))
    for at in range(len(body)):
        await response.write(body[at : at + 1])
        await asyncio.sleep(0.001 if scene.seconds is None else scene.seconds)
    await response.write_eof()
    return response


async def reset_before(scene: Scene) -> web.StreamResponse:
    """Reset the connection before the first byte."""
    return await _cut(scene.request)


async def reset_inside(scene: Scene) -> web.StreamResponse:
    """Send the headers and half of the body, then reset the connection."""
    body = await scene.honest_bytes()
    response = await _begun(scene, len(body))
    await response.write(body[: len(body) // 2])
    # The half must be on its way before the reset, which throws away what is still in the buffers.
    await asyncio.sleep(0.01)
    return await _cut(scene.request)


async def truncated_json(scene: Scene) -> web.StreamResponse:
    """Complete as HTTP, half a JSON document."""
    body = await scene.honest_bytes()
    return scene.raw(200, body[: len(body) // 2], _JSON)


async def nonsense_json(scene: Scene) -> web.StreamResponse:
    """Answer 200 with JSON that is no rerank answer."""
    return scene.raw(200, encoded({"status": "ok", "results": "soon"}), _JSON)


def missing_result(value: dict[str, Any], random: Random) -> None:
    """Leave one result out."""
    del value["results"][random.randrange(len(value["results"]))]


def duplicate_index(value: dict[str, Any], random: Random) -> None:
    """Repeat one result."""
    value["results"].append(dict(random.choice(value["results"])))


def wrong_index(value: dict[str, Any], random: Random) -> None:
    """Move one result out of the range of the inputs."""
    random.choice(value["results"])["index"] += 1_000_000


def nan_score(value: dict[str, Any], random: Random) -> None:
    """Write one score as NaN, which Python's JSON reads and JSON does not know."""
    random.choice(value["results"])["score"] = math.nan


def unsorted(value: dict[str, Any], random: Random) -> None:
    """Shuffle the results: legal, and seen in IBM's own fixtures."""
    random.shuffle(value["results"])


def extra_fields(value: dict[str, Any], _: Random) -> None:
    """Add fields that no client knows yet, and a warning: legal."""
    value["system"] = {"warnings": [{"id": "LOCAL", "message": "This answer carries more fields than documented."}]}
    value["new_field"] = {"nested": [1, 2, 3]}
    for result in value["results"]:
        result["new_field"] = None


def without_token(value: dict[str, Any], _: Random) -> None:
    """Leave the token out."""
    for name in _TOKEN_NAMES & value.keys():
        del value[name]


def expired_token(value: dict[str, Any], _: Random) -> None:
    """Give a token that has expired already, and say so in all ways in which the answer can."""
    value |= dict.fromkeys(_TOKEN_NAMES & value.keys(), dead_token(time.time()))
    value |= {name: 0 for name in ("expires_in", "expiration") if name in value}


async def _begun(scene: Scene, length: int) -> web.StreamResponse:
    response = web.StreamResponse(headers=scene.headers)
    response.content_type = _JSON
    response.content_length = length
    if scene.begin is not None:
        scene.begin(response.status)
    await response.prepare(scene.request)
    return response


async def _cut(request: web.Request) -> web.StreamResponse:
    transport = request.transport
    if transport is not None:
        connection = transport.get_extra_info("socket")
        # Lingering for 0 s makes the close a reset instead of an orderly end.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    # The lost connection cancels this handler; a response of any kind would be written to a closed transport.
    return await _forever()


async def _forever() -> NoReturn:
    await asyncio.get_running_loop().create_future()
    raise AssertionError("nothing ends this but a cancellation")
