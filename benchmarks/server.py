"""The benchmarks' server, in a process of its own: many doors, each with a port, a limit and faults of its own.

It speaks HTTP by hand over uvloop, so that it costs little beside what it measures. A control port opens doors, changes
them while they are in use, shuts them for a while and tells who came and when.
"""

from __future__ import annotations

import asyncio
import base64
import random
import ssl
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import orjson
import uvloop
from door import Settings, counter_of, drawn, score, words_over

_REASONS = {200: "OK", 400: "Bad Request", 429: "Too Many Requests", 500: "Internal Server Error"}
_HTML = b"<html><body><h1>Service Unavailable</h1></body></html>"
_EXPIRES_AT = 4_000_000_000  # far away
_CLAIMS = base64.urlsafe_b64encode(orjson.dumps({"sub": "made-up", "exp": _EXPIRES_AT})).decode().rstrip("=")
_TOKEN = orjson.dumps(
    {
        "access_token": f"{_CLAIMS}.{_CLAIMS}.made-up",  # IBM's client reads the claims
        "token_type": "Bearer",
        "expires_in": 3600,
        "expiration": _EXPIRES_AT,
    }
)

_COMPUTE = {"type": "machine_learning", "name": "made-up", "guid": "made-up", "crn": "crn:made:up"}
_PROJECT = orjson.dumps(
    {"metadata": {"guid": "p"}, "entity": {"storage": {"type": "bmcos_object_storage"}, "compute": [_COMPUTE]}}
)


def answer(status: int, body: bytes, headers: Mapping[str, str] | None = None, kind: str = "application/json") -> bytes:
    """A whole HTTP answer."""
    lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Trouble')}", f"Content-Type: {kind}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


def error(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> bytes:
    """An error in the service's shape."""
    body = {"errors": [{"code": code, "message": message}], "trace": "made-up", "status_code": status}
    return answer(status, orjson.dumps(body), headers)


class Connection(asyncio.Protocol):
    """Reads requests one after the other and hands each to ``handle(connection, path, body)``."""

    def __init__(self, handle: Callable[[Connection, str, bytes], None], members: set[Connection]) -> None:
        self._handle = handle
        self._members = members
        self._buffer = bytearray()
        self._path = ""
        self._size = -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Someone came."""
        self.transport = transport
        self._members.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - as the protocol says
        """They left."""
        self._members.discard(self)

    def data_received(self, data: bytes) -> None:
        """Hands out each request that is whole."""
        self._buffer += data
        while True:
            if self._size < 0:
                end = self._buffer.find(b"\r\n\r\n")
                if end < 0:
                    return
                head = bytes(self._buffer[:end])
                del self._buffer[: end + 4]
                at = head.lower().find(b"\r\ncontent-length:")
                self._size = int(head[at + 17 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
                self._path = head.split(b" ", 2)[1].decode().partition("?")[0]
            if len(self._buffer) < self._size:
                return
            body = bytes(self._buffer[: self._size])
            del self._buffer[: self._size]
            self._size = -1
            self._handle(self, self._path, body)

    def write(self, data: bytes) -> None:
        """Sends, if there is still someone to send to."""
        if not self.transport.is_closing():
            self.transport.write(data)

    def break_off(self, data: bytes = b"") -> None:
        """Resets the connection, after ``data``."""
        if not self.transport.is_closing():
            if data:
                self.transport.write(data)
                self.transport.close()
            else:
                self.transport.abort()


class Door:
    """A port with a limit, faults and a log of who came."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.log: list[tuple[float, str, int, str]] = []
        self.port = 0
        self._counter = counter_of(settings.kind)
        self._dice = random.Random(settings.seed)
        self._connections: set[Connection] = set()
        self._server: asyncio.AbstractServer | None = None
        self._resets = 0

    async def open(self) -> None:
        """Listens, on the port that it had."""
        context = None
        if self.settings.certificate is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(self.settings.certificate)
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Connection(self._handle, self._connections),
            "127.0.0.1",
            self.port,
            reuse_address=True,
            backlog=1024,
            ssl=context,
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def shut(self, seconds: float) -> None:
        """Refuses connections for a while; those that are open break."""
        self._server.close()
        for connection in tuple(self._connections):
            connection.break_off()
        await asyncio.sleep(seconds)
        await self.open()

    def _handle(self, connection: Connection, path: str, body: bytes) -> None:
        if path.endswith("/rerank"):
            self._rerank(connection, orjson.loads(body))
        elif path.endswith("/identity/token"):
            connection.write(answer(200, _TOKEN))
        else:  # what IBM's client asks before it ranks
            connection.write(answer(200, _PROJECT))

    def _rerank(self, connection: Connection, body: dict[str, Any]) -> None:
        now, settings = time.monotonic(), self.settings
        cohere = "documents" in body
        if cohere:
            body["inputs"] = [{"text": text} for text in body["documents"]]
        count = len(body["inputs"])
        left = self._counter.admit(now, settings.rate) if settings.rate is not None else 0
        outcome = "limited" if left < 0 else self._outcome(body)
        self.log.append((now, body["query"], count, outcome))  # as an `Arrival`; orjson takes no NamedTuple
        headers = self._headers(left)
        if outcome == "ok":
            self._later(connection, body["query"], count, answer(200, _ranking(body, cohere=cohere), headers))
        elif outcome == "reset":
            self._resets += 1
            whole = answer(200, _ranking(body, cohere=cohere), headers)
            connection.break_off(whole[: len(whole) * 2 // 3] if self._resets % 2 else b"")
        elif outcome == "truncated":
            whole = _ranking(body, cohere=cohere)
            self._later(connection, body["query"], count, answer(200, whole[: len(whole) // 2], headers))
        else:
            connection.write(self._failure(outcome, body, headers))

    def _outcome(self, body: Mapping[str, Any]) -> str:
        settings = self.settings
        if settings.refused:
            return "refused"
        if settings.max_words is not None and words_over(body, settings.max_words):
            return "too long"
        return drawn(settings.faults, self._dice) if settings.faults else "ok"

    def _later(self, connection: Connection, query: str, count: int, whole: bytes) -> None:
        settings = self.settings
        seconds = settings.base + settings.per_input * count
        if settings.slow_share and self._dice.random() < settings.slow_share:
            seconds *= settings.slow_factor
        if settings.slow_head and query.startswith("slow"):
            seconds += settings.slow_head
        if seconds:
            asyncio.get_running_loop().call_later(seconds, connection.write, whole)
        else:
            connection.write(whole)

    def _headers(self, left: int) -> dict[str, str]:
        settings = self.settings
        if settings.header is True:
            return {"x-requests-limit-rate": str(settings.rate), "x-requests-limit-remaining": str(max(0, left))}
        return {"x-requests-limit-rate": settings.header} if settings.header else {}

    def _failure(self, outcome: str, body: Mapping[str, Any], headers: dict[str, str]) -> bytes:
        settings = self.settings
        if outcome == "limited":
            told = f"Rate limit of {settings.rate} requests per 1s was reached for instance id made-up"
            return error(429, "rate_limit_reached_requests", told if settings.text else "Slow down", headers)
        if outcome == "429":
            if settings.stray_header is not None:
                headers = {"x-requests-limit-rate": settings.stray_header, "x-requests-limit-remaining": "0"}
            return error(429, "rate_limit_reached_requests", "Slow down", headers)
        if outcome == "too long":
            words = words_over(body, settings.max_words or 0)
            message = "Token sequence length is longer than the specified maximum sequence length for this model"
            return error(400, "invalid_input_argument", f"{message} ({words} > {settings.max_words}).", headers)
        if outcome == "refused":
            return error(400, "invalid_input_argument", "Invalid input argument: parameters is not an object", headers)
        if outcome == "500":
            return error(500, "downstream_request_failed", "The model did not answer", headers)
        return answer(503, _HTML, headers, "text/html")


def _ranking(body: Mapping[str, Any], *, cohere: bool) -> bytes:
    key = "relevance_score" if cohere else "score"
    results = [{"index": index, key: score(item["text"])} for index, item in enumerate(body["inputs"])]
    if cohere:
        return orjson.dumps({"id": "made-up", "results": results})
    head = {"model_id": body["model_id"], "created_at": "2025-01-01T00:00:00.000Z"}
    return orjson.dumps({**head, "results": results, "input_token_count": 10 * len(results)})


class Control:
    """Opens, changes and shuts doors, and tells who came."""

    def __init__(self) -> None:
        self._doors: dict[int, Door] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def handle(self, connection: Connection, path: str, body: bytes) -> None:
        """Takes one command; its answer is JSON."""
        task = asyncio.get_running_loop().create_task(self._do(connection, path[1:], orjson.loads(body)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _do(self, connection: Connection, command: str, given: dict[str, Any]) -> None:
        said: Any = time.monotonic()
        if command == "open":
            door = Door(Settings(**given))
            await door.open()
            self._doors[door.port] = door
            said = door.port
        else:
            door = self._doors[given.pop("port")]
            if command == "change":
                door.settings = attrs.evolve(door.settings, **given)
            elif command == "shut":
                task = asyncio.get_running_loop().create_task(door.shut(given["seconds"]))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            else:
                said = door.log
        connection.write(answer(200, orjson.dumps(said)))


async def main() -> None:
    members: set[Connection] = set()
    control = Control()
    listening = await asyncio.get_running_loop().create_server(
        lambda: Connection(control.handle, members), "127.0.0.1", 0
    )
    sys.stdout.write(f"{listening.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await listening.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
