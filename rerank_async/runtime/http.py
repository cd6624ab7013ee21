"""One HTTP exchange over aiohttp, and the session behind it. The only importer of aiohttp's client."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import ssl
import warnings
from collections.abc import AsyncGenerator, Mapping
from typing import Any, NamedTuple

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from rerank_async.errors import (
    CertificateError,
    ClientClosedError,
    ConnectionFailedError,
    InvalidArgumentError,
    InvalidTypeError,
    RequestTimeoutError,
    RerankError,
)
from rerank_async.runtime.watch import Watch
from rerank_async.values.options import Timeouts
from rerank_async.values.secret import Secret

_CLOSED = "this client is closed; make a new one"
_STREAM_FROM = 2**20  # bytes; aiohttp warns of larger bodies given as bytes

Verify = bool | str | os.PathLike[str] | ssl.SSLContext | None


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

    def __init__(self, *, verify: Verify, timeouts: Timeouts, session: aiohttp.ClientSession | None = None) -> None:
        if session is not None and not isinstance(session, aiohttp.ClientSession):
            raise InvalidTypeError(
                f"session must be an aiohttp.ClientSession, not {type(session).__name__}", argument="session"
            )
        if session is not None and verify is not None:
            raise InvalidArgumentError(
                "verify has no effect on a session that is given: set ssl= on its connector", argument="verify"
            )
        self._verify = _checked_verify(verify)
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
    ) -> Answer:
        """Sends one request and reads the whole answer, whatever its status. Redirects are not followed.

        Args:
            method: Such as ``"POST"``.
            url: The whole address.
            headers: Without secrets.
            authorization: The Authorization header's value.
            body: The bytes to send; a Secret is sent as UTF-8.

        Raises:
            ConnectionFailedError: No connection, or it broke before the answer was whole.
            CertificateError: The certificate was not accepted.
            RequestTimeoutError: It took too long.
            ClientClosedError: The session that was given is closed.
        """
        self.check()
        session = self._given or self._session or await self._open()
        watch = self._watch or self._new_watch()
        watched = watch.enter()
        try:
            response = await session.request(
                method,
                url,
                data=_payload(body),
                headers=headers if authorization is None else _authorized(headers, authorization),
                allow_redirects=False,
                raise_for_status=False,
                timeout=self._timeout,
            )
            content = response.content
            if content.is_eof() and self._given is None:
                # A short answer came as a whole, and gave the connection back. Who traces a session hears of reads.
                return Answer(response.status, response.headers, content.read_nowait())
            # Reading to the end gives the connection back, and a read that fails closes it.
            return Answer(response.status, response.headers, await response.read())
        except asyncio.CancelledError:
            if not watched.is_all():
                raise
            error: RerankError = too_late(str(url.with_query(None)), "whole answer from", "request")
            cause: BaseException | None = None
        except (aiohttp.ClientError, OSError, TimeoutError) as exc:
            error = ClientClosedError(_CLOSED) if self._closed else error_for(exc, url)
            # aiohttp's errors about responses hold the request's headers, so they are not attached.
            cause = None if isinstance(exc, aiohttp.ClientResponseError) else _bare(exc)
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
            connector=aiohttp.TCPConnector(limit=0, ssl=_ssl_of(self._verify)),
            cookie_jar=aiohttp.DummyCookieJar(),
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


_kept_after_fork: list[object] = []


async def _keep(session: aiohttp.ClientSession) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        await session.close()


def _authorized(headers: Mapping[str, str], authorization: Secret) -> CIMultiDict[str]:
    """The headers with the token. Called inline, so that no frame that waits holds the secret."""
    whole = CIMultiDict(headers)
    whole["Authorization"] = authorization.reveal()
    return whole


def _payload(body: bytes | Secret | None) -> Any:
    if isinstance(body, Secret):
        return body.reveal().encode()
    return io.BytesIO(body) if body is not None and len(body) >= _STREAM_FROM else body


def _checked_verify(verify: Verify) -> Verify:
    if verify is None or isinstance(verify, bool | ssl.SSLContext):
        return verify
    if not isinstance(verify, str | os.PathLike):
        raise InvalidTypeError(
            f"verify must be True, False, a path or an ssl.SSLContext, not {type(verify).__name__}", argument="verify"
        )
    if not os.path.exists(verify):  # noqa: PTH110 - verify may be any os.PathLike
        raise InvalidArgumentError(
            f"verify: there is no file or folder {os.fspath(verify)!r}; give a CA file (PEM) or a folder of them",
            argument="verify",
        )
    return verify


def _ssl_of(verify: Verify) -> ssl.SSLContext | bool:
    if verify is None or isinstance(verify, bool | ssl.SSLContext):
        return True if verify is None else verify
    path = os.fspath(verify)
    try:
        if os.path.isdir(path):  # noqa: PTH112 - as above
            return ssl.create_default_context(capath=path)
        return ssl.create_default_context(cafile=path)
    except (ssl.SSLError, OSError) as exc:
        raise InvalidArgumentError(
            f"verify: {path!r} is not a readable CA file (PEM): {exc}", argument="verify"
        ) from exc


def too_late(where: str, what: str, option: str) -> RequestTimeoutError:
    """The error for what took longer than an option of `Timeouts` allows."""
    return RequestTimeoutError(f"no {what} {where} in time (Timeouts.{option})", url=where)


def error_for(exc: BaseException, url: URL) -> RerankError:
    """Our error for an exception of aiohttp or the system below it."""
    where = str(url.with_query(None))
    if isinstance(exc, aiohttp.ClientConnectorCertificateError | aiohttp.ServerFingerprintMismatch):
        reason = getattr(exc, "certificate_error", exc)
        return CertificateError(
            f"the TLS certificate of {url.host} was not accepted for {where}: {reason}. If its CA is your own, "
            "pass verify='/path/to/ca.pem'",
            url=where,
        )
    if isinstance(exc, TimeoutError):
        early = isinstance(exc, aiohttp.ConnectionTimeoutError)
        return too_late(where, "connection to" if early else "whole answer from", "connect" if early else "request")
    refused = False
    if isinstance(exc, aiohttp.ClientConnectorError):
        number = exc.os_error.errno
        # asyncio words it by its own calls; those of name look-ups (negative numbers) are good.
        reason = os.strerror(number) if number is not None and number > 0 else exc.os_error.strerror or exc.os_error
        refused = number == errno.ECONNREFUSED
        message = f"cannot connect to {where}: {reason}. Check the URL, the network and that the service is up"
    elif isinstance(exc, aiohttp.ClientPayloadError):
        message = f"the connection broke in the middle of the answer of {where}"
    else:
        message = f"the connection to {where} broke before its answer ({type(exc).__name__})"
        if isinstance(exc, aiohttp.ClientResponseError):
            message = f"{where} answered something that is not HTTP: {exc.message}"
    return ConnectionFailedError(message, url=where, refused=refused)


def _bare(exc: BaseException) -> BaseException:
    """The exception and what led to it without their frames, which hold the headers that were sent."""
    link: BaseException | None = exc
    seen = set()
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return exc
