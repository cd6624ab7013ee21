"""Hand-written loopback services: one that keeps what it was sent, byte for byte, and one below HTTP."""

import asyncio
import inspect
import json
from contextlib import asynccontextmanager

import attrs
from aiohttp import web

from rerank_async.server import LexicalScorer

RERANK = "/ml/v1/text/rerank"
TOKEN = "/identity/token"


@attrs.frozen(repr=False)
class Seen:
    """A request as it came. Its repr, which crash reports show, says nothing of it."""

    number: int  # from 1, at its own route
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name):
        """All values under a name."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    @property
    def json(self):
        return json.loads(self.body)


@attrs.define(repr=False)
class Service:
    """A running service."""

    url: str = ""
    api_key: str = "local-api-key"
    project_id: str = "local-project"
    seen: list[Seen] = attrs.Factory(list)
    token_requests: list[Seen] = attrs.Factory(list)
    connections: set[int] = attrs.Factory(set)


def honest(seen, **changes):
    """A complete answer, in the order of the inputs."""
    value = seen.json
    texts = [item["text"] for item in value["inputs"]]
    scored = LexicalScorer().score_now(value["query"], texts)
    options = value.get("parameters", {}).get("return_options", {})
    results = [{"index": index, "score": score} for index, score in enumerate(scored.scores)]
    if options.get("inputs"):
        for result, text in zip(results, texts, strict=True):
            result["input"] = {"text": text}
    if "top_n" in options:
        results = sorted(results, key=lambda result: (-result["score"], result["index"]))[: options["top_n"]]
    body = {"model_id": value["model_id"], "results": results, "created_at": "2024-02-21T17:32:28Z"}
    body["input_token_count"] = scored.input_token_count
    if options.get("query"):
        body["query"] = value["query"]
    return web.json_response(body | changes)


def refusal(status, code, message="Something is wrong", headers=None):
    """An error in the service's documented shape."""
    body = {"errors": [{"code": code, "message": message}], "trace": "0123456789abcdef", "status_code": status}
    return web.json_response(body, status=status, headers=headers)


def too_many(retry_after=None):
    """The service's 429."""
    headers = {} if retry_after is None else {"Retry-After": f"{retry_after:g}"}
    message = "Rate limit of 8 requests per 1s was reached for instance id X (user Y, plan v2-standard)"
    return refusal(429, "rate_limit_reached_requests", message, headers)


def grant(seen):
    """A token answer with another token each time."""
    return web.json_response({"access_token": f"made-up-token-{seen.number}", "expires_in": 3600})


@asynccontextmanager
async def service(answer=honest, token=grant, ssl_context=None, port=0):
    """A service that answers rerank requests by ``answer(seen)`` and token requests by ``token(seen)``."""
    running = Service()

    def route(record, reply):
        async def handle(request):
            running.connections.add(request.transport.get_extra_info("peername"))
            headers = tuple((name.decode(), value.decode()) for name, value in request.raw_headers)
            seen = Seen(len(record) + 1, request.method, request.raw_path, headers, b"")
            record.append(seen)
            seen = attrs.evolve(seen, body=await request.read())
            record[seen.number - 1] = seen
            answered = reply(seen)
            return await answered if inspect.isawaitable(answered) else answered

        return handle

    app = web.Application(client_max_size=2**26)
    app.router.add_route("*", RERANK, route(running.seen, answer))
    app.router.add_route("*", TOKEN, route(running.token_requests, token))
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port, ssl_context=ssl_context).start()
        running.url = f"{'https' if ssl_context else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
        yield running
    finally:
        await runner.cleanup()


@asynccontextmanager
async def raw_service(talk):
    """A service below HTTP: ``await talk(number, writer)`` is called for each request that was read whole."""
    running = Service()
    tasks = set()
    count = 0

    async def connected(reader, writer):
        nonlocal count
        task = asyncio.current_task()
        tasks.add(task)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    (
                        int(line.split(b":")[1])
                        for line in head.split(b"\r\n")
                        if line.lower().startswith(b"content-length")
                    ),
                    0,
                )
                await reader.readexactly(length)
                count += 1
                running.seen.append(head)
                await talk(count, writer)
        except (asyncio.CancelledError, asyncio.IncompleteReadError, ConnectionError):
            pass  # a cancelled task would be logged as an error by the streams of Python 3.11
        finally:
            tasks.discard(task)
            writer.close()

    listening = await asyncio.start_server(connected, "127.0.0.1", 0)
    running.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    try:
        yield running
    finally:
        listening.close()
        for task in tuple(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(tuple(tasks))
        await listening.wait_closed()


def http_answer(body, status="200 OK", headers=(), length=None):
    """The bytes of an HTTP answer; ``length`` instead of the body's own."""
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", *headers]
    lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join([*lines, "", ""]).encode() + body
