"""`AsyncRerank`: the front door."""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterable, Callable, Collection, Coroutine, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self

from rerank_async.api_client import AsyncAPIClient
from rerank_async.arguments import (
    NO_HEADERS,
    checked_batching,
    checked_model,
    checked_observer,
    job_of,
    nothing,
    request_headers,
)
from rerank_async.call import Call, Job
from rerank_async.errors import InvalidArgumentError, InvalidTypeError
from rerank_async.many import RerankMany
from rerank_async.policy.planning import batches, pushed_top_n
from rerank_async.policy.wire import encode_body
from rerank_async.runtime.logs import log_event, wanted
from rerank_async.streaming import RerankStream
from rerank_async.values.checks import header_fields, timeout_seconds
from rerank_async.values.contract import RERANK_SPECS_FILTER
from rerank_async.values.credentials import Credentials, sealed
from rerank_async.values.events import Observer
from rerank_async.values.options import DEFAULT, BatchOptions, Default, LimitOptions, RetryOptions, Timeouts
from rerank_async.values.parameters import Crypto, RerankParameters, as_crypto, as_parameters
from rerank_async.values.requests import RerankRequest
from rerank_async.values.response import LimitStatus, ModelSpec, Plan, RerankResponse, RerankResult

if TYPE_CHECKING:
    import aiohttp


class AsyncRerank:
    """Ranks passages by a watsonx.ai reranker, with the names and the order of IBM's ``Rerank``.

    One object serves any number of concurrent calls. Lists of any length are cut into requests that start within the
    instance's rate limit, and the answers are merged into the one ranking that a single request would have given.

    Making one needs no event loop and sends nothing. Use it with ``async with``, or `aclose` it.
    """

    def __init__(
        self,
        model_id: str,
        params: RerankParameters | Mapping[str, Any] | None = None,
        credentials: Credentials | Mapping[str, Any] | None = None,
        project_id: str | None = None,
        space_id: str | None = None,
        verify: bool | str | os.PathLike[str] | ssl.SSLContext | None = None,
        api_client: AsyncAPIClient | None = None,
        *,
        batching: BatchOptions | None = None,
        limits: LimitOptions | None = None,
        retries: RetryOptions | None = None,
        timeouts: Timeouts | None = None,
        observer: Observer | None = None,
        session: aiohttp.ClientSession | None = None,
        allow_http_hosts: Collection[str] = (),
    ) -> None:
        """Checks everything that can be checked without a request.

        Args:
            model_id: The model, such as ``RerankModels.MS_MARCO_MINILM_L_12_V2`` or its id.
            params: A `RerankParameters`, or a dict of its fields; ``params`` of a call replace them as a whole.
            credentials: A `Credentials`, or a dict of its fields; None: from the environment.
            project_id: The project; with neither this nor ``space_id``, from ``WATSONX_PROJECT_ID``.
            space_id: The deployment space, instead of a project; likewise ``WATSONX_SPACE_ID``.
            verify: How TLS certificates are checked: True or None: by the default trust store; a path: by that CA file
                or folder; an ``ssl.SSLContext``; False: not at all.
            api_client: A client to share, which stays its maker's to close. It brings credentials, project, limits,
                retries, timeouts and session, so none of these may be given beside it.
            batching: How inputs are cut into requests.
            limits: The rate.
            retries: What is sent again.
            timeouts: Time limits.
            observer: Takes the events of `rerank_async.values.events` of every call, synchronously.
            session: Your own aiohttp session, which stays yours to close; its connector must not queue.
            allow_http_hosts: Hosts besides loopback to which plain http is accepted.

        Raises:
            InvalidArgumentError: Something is missing, contradictory or out of range; the message names it.
        """
        credentials = sealed(credentials)  # so that this frame shows no secret
        self._model_id = checked_model(model_id)
        self._params = as_parameters(params)
        self._batching = checked_batching(batching)
        self._observer = checked_observer(observer)
        self._timeout: float | Default | None = DEFAULT
        self._headers = NO_HEADERS
        self._owned = api_client is None
        options: dict[str, Any] = {
            "credentials": credentials,
            "project_id": project_id,
            "space_id": space_id,
            "verify": verify,
            "limits": limits,
            "retries": retries,
            "timeouts": timeouts,
            "session": session,
            "allow_http_hosts": allow_http_hosts or None,
        }
        given = {name: value for name, value in options.items() if value is not None}
        if api_client is None:
            self._api_client = AsyncAPIClient(**given)
            return
        if not isinstance(api_client, AsyncAPIClient):
            raise InvalidTypeError(
                f"api_client must be an AsyncAPIClient, not {type(api_client).__name__}", argument="api_client"
            )
        if given:
            raise InvalidArgumentError(
                f"api_client brings its own {next(iter(given))}; give it to the AsyncAPIClient instead",
                argument=next(iter(given)),
            )
        self._api_client = api_client

    @property
    def model_id(self) -> str:
        """The model's id."""
        return self._model_id

    @property
    def api_client(self) -> AsyncAPIClient:
        """The client underneath, which another `AsyncRerank` may share."""
        return self._api_client

    @property
    def limit_status(self) -> LimitStatus:
        """The limiter at this moment: rate, source, queue; for health checks."""
        return self._api_client.limit_status

    async def generate(
        self,
        query: str,
        inputs: Iterable[str | Mapping[str, Any]],
        params: RerankParameters | Mapping[str, Any] | None = None,
        crypto: Crypto | Mapping[str, Any] | None = None,
        *,
        timeout: float | Default | None = DEFAULT,  # noqa: ASYNC109 - one deadline, carried down to every wait
        extra_headers: Mapping[str, str] | None = None,
        extra_body: Mapping[str, Any] | None = None,
    ) -> RerankResponse:
        """Scores every input against the query and ranks them.

        Args:
            query: Not empty.
            inputs: Texts as str or ``{"text": str}``, also mixed; any number. None of them: an empty ranking, and
                nothing is sent. Empty texts are sent like others.
            params: Replace the client's ``params`` for this call, as a whole.
            crypto: A `Crypto` or ``{"key_ref": ...}``: encrypt with the tenant's own key.
            timeout: Seconds for the whole call: the limiter's wait and retries included; None: no bound; not given:
                ``Timeouts.total``. A call that the limiter alone would hold longer fails at once.
            extra_headers: Sent with each request of this call.
            extra_body: Fields of the body that this version does not know; ``{"parameters": {...}}`` adds to those.

        Returns:
            One ranking: best first, by score descending, then by index ascending; ``index`` is the position in
            ``inputs``.

        Raises:
            InvalidArgumentError: Bad input; nothing was sent. The error names the argument and the index.
            DeadlineExceededError: The deadline passed, or could not be met.
            StatusError: The service refused; retried where that can mend it.
            NoAnswerError: No answer, after retries.
            BadAnswerError: Answers that make no sense, after retries.
        """
        job, parameters = self._job(query, inputs, params, crypto, extra_headers, extra_body)
        return await self._begin(job, parameters, self._seconds(timeout))

    def stream(
        self,
        query: str,
        inputs: Iterable[str | Mapping[str, Any]],
        params: RerankParameters | Mapping[str, Any] | None = None,
        crypto: Crypto | Mapping[str, Any] | None = None,
        *,
        timeout: float | Default | None = DEFAULT,
        extra_headers: Mapping[str, str] | None = None,
        extra_body: Mapping[str, Any] | None = None,
    ) -> RerankStream:
        """As `generate`, but hands out the results of each batch as it lands, before the whole is ranked.

            async with client.stream(query, passages) as stream:
                async for results in stream:  # one tuple for each batch
                    ...
                response = await stream.response()  # the ranking that `generate` gives

        The arguments are those of `generate`. ``top_n`` cuts only the response: every score is asked for and handed
        out. The time of ``timeout`` begins with the ``async with``.

        Raises:
            InvalidArgumentError: Bad input, at once; the other errors of `generate` come while it is iterated, after
                everything that had landed.
        """
        job, parameters = self._job(query, inputs, params, crypto, extra_headers, extra_body)
        seconds = self._seconds(timeout)
        job = job._replace(whole=True)
        return RerankStream(lambda landed: self._begin(job, parameters, seconds, landed))

    def generate_many(
        self,
        requests: Iterable[RerankRequest] | AsyncIterable[RerankRequest],
        *,
        ordered: bool = False,
        max_in_flight: int = 64,
    ) -> RerankMany:
        """Runs any number of requests over this client and hands out the outcome of each, in bounded memory.

            async with client.generate_many(requests) as outcomes:
                async for outcome in outcomes:
                    if outcome.error is None:
                        ...

        Args:
            requests: Any iterable, also an async one; each item is asked for when there is room for it. A plain one is
                read in the event loop, so it must not block. A generator is closed when the run ends.
            ordered: Whether outcomes come in the order of the requests; else as they are completed.
            max_in_flight: How many requests may be under way or wait for their outcome to be taken, at least 1.

        Raises:
            InvalidArgumentError: An argument is wrong. An error of one request is its outcome and ends nothing.
        """
        flow = object()

        async def run(request: RerankRequest) -> RerankResponse:
            job, parameters = self._job(request.query, request.inputs, request.params, None, None, None)
            return await self._begin(job._replace(flow=flow), parameters, self._seconds(DEFAULT))

        return RerankMany(run, requests, self._api_client.channel, ordered=ordered, max_in_flight=max_in_flight)

    def plan(
        self,
        query: str,
        inputs: Iterable[str | Mapping[str, Any]],
        params: RerankParameters | Mapping[str, Any] | None = None,
        crypto: Crypto | Mapping[str, Any] | None = None,
    ) -> Plan:
        """What `generate` would send for these arguments; nothing is sent, and no event loop is needed.

        Raises:
            InvalidArgumentError: As `generate`.
        """
        job, _ = self._job(query, inputs, params, crypto, None, None)
        requests = size = 0
        for start, stop in batches(job.load):
            requests += 1
            size += len(encode_body(job.head, job.load.texts[start:stop], pushed_top_n(job.top_n, stop - start)))
        return Plan(
            inputs=job.load.inputs,
            unique=len(job.load.texts),
            requests=requests,
            body_bytes=size,
            seconds=self._api_client.seconds_for(requests),
        )

    def with_options(
        self,
        *,
        params: RerankParameters | Mapping[str, Any] | Default = DEFAULT,
        timeout: float | Default | None = DEFAULT,
        extra_headers: Mapping[str, str] | None = None,
        observer: Observer | Default | None = DEFAULT,
        batching: BatchOptions | Default = DEFAULT,
    ) -> AsyncRerank:
        """A view with other defaults over the same session, token and limiter. It need not be closed.

        Args:
            params: Instead of the client's; not given: as before.
            timeout: Seconds for each call; None: no bound; not given: as before.
            extra_headers: Sent with each request, besides those of before.
            observer: Instead of the client's; None: no observer; not given: as before.
            batching: Instead of the client's; not given: as before.

        Raises:
            InvalidArgumentError: A value is out of range.
        """
        view = object.__new__(type(self))
        view.__dict__.update(self.__dict__)
        view._owned = False
        if params is not DEFAULT:
            view._params = as_parameters(params)
        if timeout is not DEFAULT:
            view._timeout = timeout_seconds(timeout)
        if extra_headers is not None:
            view._headers = {**self._headers, **header_fields(extra_headers)}
        if observer is not DEFAULT:
            view._observer = checked_observer(observer)
        if batching is not DEFAULT:
            view._batching = checked_batching(batching)
        return view

    async def warm_up(self) -> None:
        """Gets the token and opens a connection, so that the first call does not wait for them."""
        await self._api_client.warm_up()

    async def model_specs(self, filters: str = RERANK_SPECS_FILTER) -> tuple[ModelSpec, ...]:
        """The models that the service can rerank with now; see `AsyncAPIClient.model_specs`."""
        return await self._api_client.model_specs(filters)

    async def aclose(self) -> None:
        """Closes the client underneath, unless it was given or this is a view. Harmless when repeated."""
        if self._owned:
            await self._api_client.aclose()

    async def __aenter__(self) -> Self:
        self._api_client.channel()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        # Tracebacks with locals show clients whose constructor failed half-way.
        return f"AsyncRerank({getattr(self, '_model_id', None)!r}, {getattr(self, '_api_client', None)!r})"

    def __reduce__(self) -> NoReturn:
        self._api_client.__reduce__()

    def _job(
        self,
        query: str,
        inputs: Iterable[str | Mapping[str, Any]],
        params: RerankParameters | Mapping[str, Any] | None,
        crypto: Crypto | Mapping[str, Any] | None,
        extra_headers: Mapping[str, str] | None,
        extra_body: Mapping[str, Any] | None,
    ) -> tuple[Job, RerankParameters]:
        parameters = self._params if params is None else as_parameters(params)
        job = job_of(
            self._model_id,
            self._api_client,
            self._batching,
            query=query,
            inputs=inputs,
            parameters=parameters,
            crypto=as_crypto(crypto),
            headers=request_headers(self._headers, extra_headers),
            extra_body=extra_body,
        )
        return job, parameters

    def _begin(
        self,
        job: Job,
        parameters: RerankParameters,
        seconds: float | None,
        landed: Callable[[tuple[RerankResult, ...]], None] | None = None,
    ) -> Coroutine[Any, Any, RerankResponse]:
        """The call, to be awaited; checks at once that the client can be used here."""
        channel = self._api_client.channel()
        if not job.load.texts:
            return nothing(job, parameters)
        if seconds is not None:
            job = job._replace(deadline=channel.clock.now() + seconds)
        observers = () if self._observer is None else (self._observer,)
        if wanted():
            observers = (*observers, log_event)
        return Call(channel, job, self._api_client.limits.max_concurrency, observers, landed).run()

    def _seconds(self, timeout: float | Default | None) -> float | None:
        if timeout is DEFAULT:
            timeout = self._timeout
        if timeout is DEFAULT:
            return self._api_client.timeouts.total
        return timeout_seconds(timeout)
