"""One HTTP exchange over aiohttp, and the session behind it. The only importer of aiohttp's client."""

from __future__ import annotations

import asyncio
import errno
import os
import ssl
import warnings
from collections.abc import AsyncGenerator, Mapping
from http.cookies import SimpleCookie
from typing import Any, NamedTuple

import aiohttp
from aiohttp.connector import Connection
from yarl import URL

from rerank_async.errors import (
    AnswerTooLargeError,
    CertificateError,
    ClientClosedError,
    ConnectionFailedError,
    InvalidArgumentError,
    InvalidTypeError,
    ProxyError,
    RequestTimeoutError,
    RerankError,
)
from rerank_async.runtime.outgoing import payload, proxy_headers, whole_headers, without_frames
from rerank_async.runtime.proxies import Proxies, Proxy
from rerank_async.runtime.tls import Verify, checked_verify, ssl_of
from rerank_async.runtime.watch import Watch
from rerank_async.values.made import made
from rerank_async.values.options import Timeouts
from rerank_async.values.secret import Secret

_CLOSED = "this client is closed; make a new one"
_DIRECTLY: dict[str, Any] = {}

_NOT_TLS = frozenset({"WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG", "UNKNOWN_PROTOCOL"})
"""OpenSSL's names for a first record that is none of TLS, by its versions."""

_READ_SIZE = 64 * 2**10

ANSWER_LIMIT = 64 * 2**20
"""Bytes of an answer, unpacked. The largest honest ones echo their request's texts, ``BatchOptions.max_bytes``."""

TOKEN_ANSWER_LIMIT = 256 * 2**10
"""Bytes of an answer of a token endpoint. Tokens are a few kB: headers have to carry them."""


class Answer(NamedTuple):
    """What came back. ``headers`` are looked up without regard to case; ``body`` is never shown."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def __repr__(self) -> str:
        return f"Answer(status={self.status}, {len(self.body)} bytes)"


class Http:
    """Sends requests over one session, made lazily in the running loop, or over a session that was given.

    What it made it closes, with the loop at the latest; what it was given it leaves alone.
    """

    def __init__(
        self,
        *,
        verify: Verify,
        timeouts: Timeouts,
        session: aiohttp.ClientSession | None = None,
        proxies: Proxies | None = None,
    ) -> None:
        if session is not None and not isinstance(session, aiohttp.ClientSession):
            raise InvalidTypeError(
                f"session must be an aiohttp.ClientSession, not {type(session).__name__}", argument="session"
            )
        if session is not None and verify is not None:
            raise InvalidArgumentError(
                "verify has no effect on a session that is given: set ssl= on its connector", argument="verify"
            )
        self._verify = checked_verify(verify)
        self._proxies = proxies
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=timeouts.connect)
        self._seconds = timeouts.request
        self._watch: Watch | None = None
        self._given = session
        self._session: aiohttp.ClientSession | None = None
        self._keeper: AsyncGenerator[None, None] | None = None
        self._left_behind: list[object] = []
        self._closed = False

    async def send(
        self,
        method: str,
        url: URL,
        *,
        headers: Mapping[str, str],
        authorization: Secret | None = None,
        body: bytes | Secret | None = None,
        limit: int = ANSWER_LIMIT,
    ) -> Answer:
        """Sends one request and reads the whole answer, whatever its status. Redirects are not followed.

        Args:
            method: Such as ``"POST"``.
            url: The whole address.
            headers: Without secrets. An ``X-Global-Transaction-Id`` is added where there is none.
            authorization: The Authorization header's value.
            body: The bytes to send; a Secret is sent as UTF-8.
            limit: Bytes of the answer's body above which it is not read on.

        Raises:
            ConnectionFailedError: No connection, or it broke before the answer was whole.
            CertificateError: The certificate was not accepted.
            ProxyError: The proxy refused.
            RequestTimeoutError: It took too long.
            AnswerTooLargeError: The answer is above the limit.
            ClientClosedError: The session that was given is closed.
        """
        self.check()
        proxy = None if self._proxies is None else self._proxies.of(url)
        session = self._given or self._session or await self._open()
        watch = self._watch or self._new_watch()
        watched = watch.enter()
        try:
            response = await session.request(
                method,
                url,
                data=payload(body),
                headers=whole_headers(headers, authorization, proxy if url.scheme == "http" else None),
                allow_redirects=False,
                raise_for_status=False,
                timeout=self._timeout,
                **(_DIRECTLY if proxy is None else {"proxy": proxy.url, "proxy_headers": proxy_headers(proxy)}),
            )
            if self._given is None and response.content.is_eof():
                # A short answer came as a whole, and gave the connection back. Who traces a session hears of reads.
                content: bytes | None = response.content.read_nowait()
            else:
                # Reading to the end gives the connection back, and a read that fails closes it.
                content = await _content(response, limit)
            if content is not None and len(content) > limit:
                content = None
            if content is not None and not (response.status == 407 and proxy is not None):
                return made(Answer, (response.status, response.headers, content))
            error: RerankError = _unusable(response.status, proxy, url, limit)
            cause: BaseException | None = None
        except asyncio.CancelledError:
            if not watch.is_late(watched):
                raise
            error = too_late(str(url.with_query(None)), "whole answer from", "request")
            cause = None
        except (aiohttp.ClientError, OSError, TimeoutError) as exc:
            error = ClientClosedError(_CLOSED) if self._closed else error_for(exc, url, proxy)
            # aiohttp's errors about responses hold the request's headers, so they are not attached.
            cause = None if isinstance(exc, aiohttp.ClientResponseError) else without_frames(exc)
        finally:
            watch.leave(watched)
        # Outside of the block, so that no context holds the exception either.
        raise error from cause

    def check(self) -> None:
        """Whether something can be sent.

        Raises:
            ClientClosedError: This was closed, or the session that was given.
        """
        if self._closed:
            raise ClientClosedError(_CLOSED)
        if self._given is not None and self._given.closed:
            raise ClientClosedError("the aiohttp session that was given to this client is closed")

    async def aclose(self) -> None:
        """Closes the session that was made here, if there is one; what is under way ends with ClientClosedError."""
        self._closed = True
        keeper, self._keeper, self._session = self._keeper, None, None
        if keeper is not None:
            await keeper.aclose()

    def forget_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """The next loop begins: the session of the last one is left to that loop's own end, which closes it."""
        if self._keeper is not None and not loop.is_closed():
            self._left_behind.append(self._keeper)
        self._keeper = self._session = self._watch = None

    def forget_process(self) -> None:
        """After a fork: the parent's session is dropped, its sockets untouched (its objects are kept alive)."""
        _kept_after_fork.append((self._session, self._keeper, self._watch))
        self._keeper = self._session = self._watch = None

    def _new_watch(self) -> Watch:
        self._watch = Watch(asyncio.get_running_loop(), self._seconds)
        return self._watch

    async def _open(self) -> aiohttp.ClientSession:
        session = aiohttp.ClientSession(
            # The gate bounds requests in flight, so the pool must never queue (docs/decisions.md, 6).
            connector=_Connector(limit=0, ssl=ssl_of(self._verify)),
            cookie_jar=_NoCookies(),
        )
        # A generator parked on the loop: asyncio.run closes it, and with it the session, before the loop is closed.
        self._session, self._keeper = session, _keep(session)
        await anext(self._keeper)
        return session

    def __del__(self) -> None:
        session = getattr(self, "_session", None)
        if session is not None and not session.closed:
            warnings.warn(
                "A rerank_async client was dropped while open: use `async with` or `await client.aclose()`",
                ResourceWarning,
                source=self,
                stacklevel=1,
            )


class _Connector(aiohttp.TCPConnector):
    """Lets asyncio read plain HTTP into smaller buffers.

    It allocates 256 KiB for each read and shrinks the block to what came. From 128 KiB on glibc maps and unmaps such a
    block through the system (mallopt(3), ``M_MMAP_THRESHOLD``), which is up to a tenth of a short call's CPU. Under TLS
    blocks are freed whole, which makes glibc raise its threshold, so there is nothing to gain.
    """

    async def connect(self, *arguments: Any, **options: Any) -> Connection:
        connection = await super().connect(*arguments, **options)
        transport: Any = connection.transport
        if getattr(transport, "max_size", 0) > _READ_SIZE:  # only asyncio's own transports of sockets have it
            transport.max_size = _READ_SIZE
        return connection


class _NoCookies(aiohttp.DummyCookieJar):
    """Has none to send, without making an empty jar for each request."""

    _none: SimpleCookie = SimpleCookie()

    def filter_cookies(self, request_url: URL) -> SimpleCookie:  # noqa: ARG002 - of the interface
        return self._none


_kept_after_fork: list[object] = []


async def _keep(session: aiohttp.ClientSession) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        await session.close()


async def _content(response: aiohttp.ClientResponse, limit: int) -> bytes | None:
    """The body, unpacked; None: it is above the limit, and the connection was closed."""
    length = response.content_length
    if length is not None and length <= limit and "Content-Encoding" not in response.headers:
        return await response.read()
    content = bytearray()
    try:
        if length is None or length <= limit:
            async for part in response.content.iter_any():
                content += part
                if len(content) > limit:
                    break
            else:
                return bytes(content)
    except BaseException:
        response.close()
        raise
    response.close()
    return None


def _unusable(status: int, proxy: Proxy | None, url: URL, limit: int) -> RerankError:
    where = str(url.with_query(None))
    if status == 407 and proxy is not None:
        return ProxyError(f"cannot reach {where}: {proxy.wants_credentials()}", url=where)
    return AnswerTooLargeError(
        f"the answer of {where} (status {status}) is larger than {limit:,} bytes, which no honest one is; "
        "it was not read to its end. Check the URL",
        url=where,
    )


def too_late(where: str, what: str, option: str) -> RequestTimeoutError:
    """The error for what took longer than an option of `Timeouts` allows."""
    return RequestTimeoutError(f"no {what} {where} in time (Timeouts.{option})", url=where)


def error_for(exc: BaseException, url: URL, proxy: Proxy | None = None) -> RerankError:
    """Our error for an exception of aiohttp or the system below it."""
    where = str(url.with_query(None))
    if isinstance(exc, aiohttp.ClientConnectorCertificateError | aiohttp.ServerFingerprintMismatch):
        reason = getattr(exc, "certificate_error", exc)
        return CertificateError(
            f"the TLS certificate of {exc.host} was not accepted for {where}: {reason}. If its CA is your own, "
            "pass verify='/path/to/ca.pem'",
            url=where,
        )
    if isinstance(exc, aiohttp.ClientHttpProxyError) and proxy is not None:
        return _refused_by(proxy, exc.status, exc.message, where)
    if isinstance(exc, TimeoutError):
        early = isinstance(exc, aiohttp.ConnectionTimeoutError)
        return too_late(where, "connection to" if early else "whole answer from", "connect" if early else "request")
    if isinstance(exc, aiohttp.ClientConnectorSSLError) and getattr(exc.os_error, "reason", None) in _NOT_TLS:
        return ConnectionFailedError(
            f"cannot connect to {where}: the server does not speak TLS at this port. Should the URL begin with http://?",
            url=where,
            final=True,
        )
    refused = False
    if isinstance(exc, aiohttp.ClientConnectorError):
        reason = _reason(exc.os_error)
        refused = exc.os_error.errno == errno.ECONNREFUSED
        message = f"cannot connect to {where}: {reason}. Check the URL, the network and that the service is up"
        if isinstance(exc, aiohttp.ClientProxyConnectionError) and proxy is not None:
            message = f"cannot connect to the proxy {proxy.url} ({proxy.source}) for {where}: {reason}"
    elif isinstance(exc, aiohttp.ClientPayloadError):
        message = f"the connection broke in the middle of the answer of {where}"
    else:
        message = f"the connection to {where} broke before its answer ({type(exc).__name__})"
        if url.scheme == "http" and isinstance(exc, aiohttp.ServerDisconnectedError | ConnectionResetError):
            message += ". If the server speaks TLS at this port, the URL should begin with https://"
        if isinstance(exc, aiohttp.ClientResponseError):
            message = f"{where} answered something that is not HTTP: {exc.message}"
    return ConnectionFailedError(message, url=where, refused=refused)


def _reason(exc: OSError) -> str:
    """Why there is no connection, in the system's words."""
    if isinstance(exc, ssl.SSLError):
        return str(exc)  # its number is none of the system's
    if exc.errno is not None and exc.errno > 0:
        return os.strerror(exc.errno)  # asyncio words it by its own calls
    return exc.strerror or str(exc) or type(exc).__name__  # look-ups of names have negative numbers and good words


def _refused_by(proxy: Proxy, status: int, reason: str, where: str) -> ConnectionFailedError:
    if status == 407:
        return ProxyError(f"cannot reach {where}: {proxy.wants_credentials()}", url=where)
    message = f"the proxy {proxy.url} ({proxy.source}) did not open the way to {where}: {status} {reason}"
    return (ConnectionFailedError if status >= 500 else ProxyError)(message, url=where)
