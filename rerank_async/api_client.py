"""`AsyncAPIClient`: owns session, token cache and limiter, which any number of `AsyncRerank` share."""

from __future__ import annotations

import asyncio
import os
import ssl
import warnings
from collections.abc import Collection, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self

import attrs
from yarl import URL

from rerank_async.auth import Flow, asked, choose_flow, notes_on
from rerank_async.errors import ClientClosedError, DecodeError, EventLoopError, InvalidTypeError
from rerank_async.exchange import Channel, Checks
from rerank_async.policy.bounds import LearnedBounds
from rerank_async.policy.budget import RetryBudget
from rerank_async.policy.concurrency import ConcurrencyBound
from rerank_async.policy.latency import Latencies
from rerank_async.policy.limiter import Limiter
from rerank_async.runtime.clock import MonotonicClock
from rerank_async.runtime.gate import Gate
from rerank_async.runtime.http import Http
from rerank_async.runtime.logs import configure_from_env
from rerank_async.runtime.proxies import proxies_for, sealed_proxies
from rerank_async.runtime.retry_queue import RetryQueue
from rerank_async.runtime.token_store import TokenStore
from rerank_async.runtime.tokens import tokens_for
from rerank_async.settings import (
    as_credentials,
    checked_store,
    checked_version,
    headers_with,
    limiter_of,
    option,
    origin_of,
    trusted,
)
from rerank_async.values.contract import API_VERSION, MODEL_SPECS_PATH, RERANK_PATH, RERANK_SPECS_FILTER
from rerank_async.values.credentials import Credentials, project_or_space, sealed
from rerank_async.values.options import LimitOptions, RetryOptions, Timeouts
from rerank_async.values.response import LimitStatus, ModelSpec
from rerank_async.values.secret import sealed_headers
from rerank_async.values.urls import check_scheme

if TYPE_CHECKING:
    import aiohttp

_MOST_SPEC_PAGES = 100  # 200 specs each; a service whose pages never end must not hold the caller for ever


class AsyncAPIClient:
    """A connection to one watsonx.ai instance: one session, one token, one rate, for every model used over it.

    Making one needs no event loop and sends nothing. Use it with ``async with``, or `aclose` it. It serves event loops
    one after another, not two at the same time.
    """

    def __init__(
        self,
        credentials: Credentials | Mapping[str, Any] | None = None,
        project_id: str | None = None,
        space_id: str | None = None,
        verify: bool | str | os.PathLike[str] | ssl.SSLContext | None = None,
        *,
        api_version: str = API_VERSION,
        limits: LimitOptions | None = None,
        retries: RetryOptions | None = None,
        timeouts: Timeouts | None = None,
        session: aiohttp.ClientSession | None = None,
        allow_http_hosts: Collection[str] = (),
        limiter: Limiter | None = None,
        tokens: TokenStore | None = None,
        proxies: Mapping[str, str | None] | None = None,
        trust_env: bool | None = None,
        extra_headers: Mapping[str, str] | None = None,
    ) -> None:
        """Checks everything that can be checked without a request.

        Args:
            credentials: A `Credentials` or a dict of its fields; None: from the environment.
            project_id: The project; with neither this nor ``space_id``, from ``WATSONX_PROJECT_ID``.
            space_id: The deployment space, instead of a project; likewise ``WATSONX_SPACE_ID``.
            verify: How TLS certificates are checked, see `Credentials`; an argument wins over the credentials' field.
            api_version: The ``version`` of the REST API, ``YYYY-MM-DD``.
            limits: The rate.
            retries: What is sent again.
            timeouts: Time limits.
            session: Your own session, which stays yours to close; its connector must not queue.
            allow_http_hosts: Hosts besides loopback to which plain http is accepted.
            limiter: Paces the requests instead of the client's own limiter; it may be shared by clients of one event
                loop. Of ``limits`` only the bounds on concurrency and on the queue may be given beside it.
            tokens: Where tokens are kept: give one `MemoryTokenStore` to several clients, and those with the same
                credentials share the token and its exchange. None: a store of its own.
            proxies: The proxy by the scheme of the target, instead of the credentials' ``proxies``:
                ``{"https": "http://user:password@proxy:3128"}``; names are ``http``, ``https`` and ``all``. Token
                requests take it too. ``{}``: none, whatever the environment says.
            trust_env: Whether to read ``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY`` and ``NO_PROXY`` where ``proxies``
                is not given. Loopback never takes a proxy from there. None: yes, unless a ``session`` is given.
            extra_headers: Sent with each request to the service, not with those for tokens; a call's own win.

        Raises:
            InvalidArgumentError: Something is missing, contradictory or out of range; the message names it.
        """
        credentials, proxies = sealed(credentials), sealed_proxies(proxies)  # so that this frame shows no secret
        extra_headers = sealed_headers(extra_headers)
        configure_from_env()
        credentials = as_credentials(credentials)
        if isinstance(allow_http_hosts, str):
            raise InvalidTypeError(
                "allow_http_hosts must be a tuple of host names, not a str", argument="allow_http_hosts"
            )
        check_scheme(credentials.url, "credentials.url", allow_http_hosts)
        self._flow = flow = choose_flow(credentials)
        for url in asked(flow):
            check_scheme(url, origin_of(url, credentials), allow_http_hosts)
        note = notes_on(credentials)
        if note is not None:
            warnings.warn(note, UserWarning, stacklevel=2)
        if project_id is None and space_id is None:
            project_id, space_id = credentials.project_id, credentials.space_id
        self._project_id, self._space_id = project_or_space(project_id, space_id)
        self._timeouts = option(timeouts, Timeouts, "timeouts")
        self._limits = option(limits, LimitOptions, "limits")
        self._url = credentials.url
        self._version = checked_version(api_version)
        clock = MonotonicClock()
        retries = option(retries, RetryOptions, "retries")
        http = Http(
            verify=verify if verify is not None or session is not None else credentials.verify,
            timeouts=self._timeouts,
            session=session,
            proxies=proxies_for(
                credentials.proxies if proxies is None else proxies, trust_env=trusted(trust_env, session)
            ),
        )
        self._headers = headers_with(extra_headers)
        paced_by = limiter_of(self._limits, limiter)
        concurrency = ConcurrencyBound(self._limits.max_concurrency, slow_start=not paced_by.limit_known)
        where = self._url + RERANK_PATH
        self._channel = Channel(
            http=http,
            tokens=tokens_for(flow, http, retries, clock, store=checked_store(tokens)),
            gate=Gate(paced_by, concurrency, clock, max_queued=self._limits.max_queued, patience=retries.max_elapsed),
            retrying=RetryQueue(RetryBudget(retries.budget), clock),
            clock=clock,
            retries=retries,
            url=URL(where).with_query(version=self._version),
            where=where,
            checks=Checks(),
        )
        self._latencies = Latencies()
        self._bounds = LearnedBounds()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = os.getpid()
        self._closed = False

    @property
    def url(self) -> str:
        """The service's address."""
        return self._url

    @property
    def flow(self) -> Flow:
        """The way in that was chosen. For use inside this package."""
        return self._flow

    @property
    def project_id(self) -> str | None:
        """The project; None if a space is used."""
        return self._project_id

    @property
    def space_id(self) -> str | None:
        """The space; None if a project is used."""
        return self._space_id

    @property
    def timeouts(self) -> Timeouts:
        """The time limits."""
        return self._timeouts

    @property
    def limits(self) -> LimitOptions:
        """The rate as it was set."""
        return self._limits

    @property
    def headers(self) -> Mapping[str, str]:
        """What is sent with each request to the service, beside the token; looked up without regard to case."""
        return self._headers

    @property
    def limit_status(self) -> LimitStatus:
        """The limiter at this moment."""
        return self._channel.gate.status()

    @property
    def gate(self) -> Gate:
        """The queue for permits. For use inside this package."""
        return self._channel.gate

    @property
    def latencies(self) -> Latencies:
        """How long the models take. For use inside this package."""
        return self._latencies

    @property
    def bounds(self) -> LearnedBounds:
        """What the service has shown to be too large. For use inside this package."""
        return self._bounds

    def seconds_for(self, requests: int) -> float:
        """Seconds until the limiter lets the last of so many requests start, what waits there now included."""
        if requests < 1:
            return 0.0
        return max(0.0, self._channel.gate.ready_at(requests - 1) - self._channel.clock.now())

    def channel(self, *, once: bool = False) -> Channel:
        """What calls are made over, bound to the running event loop. For use inside this package.

        Args:
            once: Whether a request that fails is not sent again.

        Raises:
            ClientClosedError: The client is closed.
            EventLoopError: Another loop that is still running uses it.
        """
        if self._closed:
            raise ClientClosedError("this client is closed; make a new one")
        loop = asyncio.get_running_loop()
        if loop is not self._loop or os.getpid() != self._pid:
            self._move_to(loop)
        return attrs.evolve(self._channel, retries=RetryOptions(max_attempts=1)) if once else self._channel

    def check(self) -> None:
        """Raises `ClientStateError` if nothing can be sent now. For use inside this package."""
        self.channel().http.check()

    async def warm_up(self) -> None:
        """Gets the token and opens a connection, so that the first call does not wait for them.

        It asks for one model spec, which needs no permit.

        Raises:
            RerankError: The token or the service could not be had.
        """
        channel = self.channel()
        await channel.tokens.get()
        await self._specs_page("", 1, None)

    async def model_specs(self, filters: str = RERANK_SPECS_FILTER) -> tuple[ModelSpec, ...]:
        """The models that the service has now, in its order. Needs no token.

        Args:
            filters: In the service's grammar: ``filter[,filter][:and|or]``, with ``!`` for "not".

        Raises:
            StatusError: The service refused.
            NoAnswerError: It did not answer.
            DecodeError: Its answer is not a page of specs, or its pages never end.
        """
        found: list[ModelSpec] = []
        start: str | None = None
        for _ in range(_MOST_SPEC_PAGES):
            specs, start = await self._specs_page(filters, 200, start)
            found.extend(specs)
            if start is None:
                return tuple(found)
        raise DecodeError(f"{self._url}{MODEL_SPECS_PATH} did not end after {_MOST_SPEC_PAGES} pages", url=self._url)

    async def aclose(self) -> None:
        """Closes what this client made: its session, and a token exchange under way. Harmless when repeated."""
        if self._closed:
            return
        self._closed = True
        if self._loop is not None and self._loop is not asyncio.get_running_loop():
            self._forget(self._loop)
        self._channel.gate.close()
        self._channel.retrying.close()
        await self._channel.tokens.aclose()
        await self._channel.http.aclose()

    async def __aenter__(self) -> Self:
        self.channel()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        # Tracebacks with locals show clients whose constructor failed half-way.
        shown = {name: getattr(self, f"_{name}", None) for name in ("url", "project_id", "space_id")}
        return f"AsyncAPIClient({', '.join(f'{name}={value!r}' for name, value in shown.items() if value)})"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "clients do not pickle: they hold sockets and secrets. Pass the url and the project, and make a client in "
            "the other process; Credentials.from_env() reads the secret there"
        )

    async def _specs_page(
        self, filters: str, limit: int, start: str | None
    ) -> tuple[tuple[ModelSpec, ...], str | None]:
        from rerank_async.policy.specs import decode_specs  # noqa: PLC0415 - few programs ask for specs

        where = self._url + MODEL_SPECS_PATH
        query = {"version": self._version, "filters": filters, "limit": str(limit), "start": start}
        url = URL(where).with_query({name: value for name, value in query.items() if value})
        answer = await self.channel().http.send("GET", url, headers=self._headers)
        return decode_specs(answer.status, answer.headers, answer.body, where)

    def _move_to(self, loop: asyncio.AbstractEventLoop) -> None:
        """The first use in this loop, or in this process."""
        if os.getpid() != self._pid:
            self._channel.http.forget_process()
            self._channel.tokens.forget_loop()
            self._channel.gate.forget_loop()
            self._channel.retrying.forget_loop()
            self._pid = os.getpid()
        elif self._loop is not None:
            if self._loop.is_running():
                raise EventLoopError(
                    "this client is in use by another event loop that is still running: one client per thread"
                )
            self._forget(self._loop)
        self._loop = loop

    def _forget(self, loop: asyncio.AbstractEventLoop) -> None:
        self._channel.http.forget_loop(loop)
        self._channel.tokens.forget_loop()
        self._channel.gate.forget_loop()
        self._channel.retrying.forget_loop()
