"""A small authenticating HTTP proxy: forwards plain http, tunnels by CONNECT, and keeps what it was asked."""

import asyncio
from base64 import b64encode
from contextlib import asynccontextmanager

import attrs

_ERRORS = (OSError, asyncio.IncompleteReadError)


@attrs.frozen(repr=False)
class Asked:
    """One request as the proxy saw it: all of a forwarded one's headers, of a tunnel only those of the CONNECT."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]

    def header(self, name):
        return [value for key, value in self.headers if key.lower() == name.lower()]


@attrs.define(repr=False)
class ProxyServer:
    """A running proxy.

    Attributes:
        names: Where the proxy finds hosts by ``name:port``: ports of loopback. What is not there is looked for on
            loopback itself, and nothing else is reached.
        asked: What it was asked for, refused requests included.
        refusal: A status line to answer a CONNECT with instead of opening the tunnel.
        tunnelled: Bytes that went through tunnels towards the targets.
    """

    port: int = 0
    credentials: tuple[str, str] | None = None
    names: dict[str, int] = attrs.Factory(dict)
    asked: list[Asked] = attrs.Factory(list)
    refusal: str | None = None
    tunnelled: bytearray = attrs.Factory(bytearray)

    def url(self, user_info=""):
        return f"http://{user_info and user_info + '@'}127.0.0.1:{self.port}"

    def targets(self):
        return [(asked.method, asked.target.partition("?")[0]) for asked in self.asked]

    def _is_let_in(self, asked):
        if self.credentials is None:
            return True
        pair = b64encode(":".join(self.credentials).encode()).decode()
        return asked.header("Proxy-Authorization") == [f"Basic {pair}"]

    def _port_of(self, place):
        host, _, port = place.rpartition(":")
        if place in self.names:
            return self.names[place]
        if host != "127.0.0.1":
            raise AssertionError(f"a test asked the proxy for {place!r}")
        return int(port)


@asynccontextmanager
async def proxy(credentials=None, names=None, ssl_context=None):
    """A proxy on loopback; with credentials, a (user, password) that every request must bring."""
    running = ProxyServer(credentials=credentials, names=names or {})
    tasks = set()

    async def connected(reader, writer):
        task = asyncio.current_task()
        tasks.add(task)
        try:
            await _serve(running, reader, writer)
        except (*_ERRORS, asyncio.CancelledError):
            pass  # a cancelled task would be logged as an error by the streams of Python 3.11
        finally:
            tasks.discard(task)
            writer.close()

    listening = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=ssl_context)
    running.port = listening.sockets[0].getsockname()[1]
    try:
        yield running
    finally:
        listening.close()
        for task in tuple(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(tuple(tasks))
        await listening.wait_closed()


async def _serve(running, reader, writer):
    while True:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *lines = head.strip().split("\r\n")
        method, target, _ = line.split(" ")
        asked = Asked(method, target, tuple((key, value) for key, _, value in (each.partition(": ") for each in lines)))
        running.asked.append(asked)
        if not running._is_let_in(asked):
            await _body(reader, asked)
            _say(writer, "407 Proxy Authentication Required", 'Proxy-Authenticate: Basic realm="test"')
        elif method != "CONNECT":
            await _forward(running, asked, await _body(reader, asked), writer)
        elif running.refusal:
            _say(writer, running.refusal)
        else:
            await _tunnel(running, running._port_of(target), reader, writer)
            return


def _say(writer, status, *headers):
    writer.write("\r\n".join([f"HTTP/1.1 {status}", *headers, "Content-Length: 0", "", ""]).encode())


async def _body(reader, asked):
    return await reader.readexactly(int((asked.header("Content-Length") or ["0"])[0]))


async def _forward(running, asked, body, writer):
    """Sends one request on, without what was meant for the proxy, and hands the answer back unread."""
    place, _, path = asked.target.removeprefix("http://").partition("/")
    port = running._port_of(place if ":" in place else f"{place}:80")
    there, to_there = await asyncio.open_connection("127.0.0.1", port)
    try:
        kept = [(key, value) for key, value in asked.headers if not key.lower().startswith("proxy-")]
        lines = [f"{asked.method} /{path} HTTP/1.1", *(f"{key}: {value}" for key, value in kept), "Connection: close"]
        to_there.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        while part := await there.read(2**16):
            writer.write(part)
            await writer.drain()
    finally:
        to_there.close()


async def _tunnel(running, port, reader, writer):
    there, to_there = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
    try:
        await asyncio.gather(_pump(reader, to_there, running.tunnelled), _pump(there, writer, None))
    finally:
        to_there.close()


async def _pump(source, target, record):
    try:
        while part := await source.read(2**16):
            if record is not None:
                record += part
            target.write(part)
            await target.drain()
    finally:
        target.close()
