"""`AsyncRerank`: the front door."""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterable, Collection, Coroutine, Hashable, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self

from rerank_async.api_client import AsyncAPIClient
from rerank_async.arguments import (
    OnFailure,
    checked_batching,
    checked_model,
    checked_observer,
    checked_on_failure,
    client_of,
    hedging_of,
    job_of,
    nothing,
    observed_by,
    own_headers,
    plan_of,
    request_headers,
    terms_of,
)
from rerank_async.call import Call
from rerank_async.job import Job, Terms
from rerank_async.many import RerankMany
from rerank_async.runtime.logs import log_event, wanted
from rerank_async.runtime.proxies import sealed_proxies
from rerank_async.streaming import Landed, RerankStream
from rerank_async.values.checks import timeout_seconds
from rerank_async.values.contract import RERANK_SPECS_FILTER
from rerank_async.values.credentials import Credentials, sealed
from rerank_async.values.events import Observer
from rerank_async.values.options import (
    DEFAULT,
    BatchOptions,
    Default,
    HedgeOptions,
    LimitOptions,
    RetryOptions,
    Timeouts,
)
from rerank_async.values.parameters import Crypto, RerankParameters, as_crypto, as_parameters
from rerank_async.values.requests import RerankRequest
from rerank_async.values.response import LimitStatus, ModelSpec, Plan, RerankResponse
from rerank_async.values.secret import sealed_headers

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
        hedging: HedgeOptions | None = None,
        on_failure: OnFailure = "raise",
        observer: Observer | None = None,
        session: aiohttp.ClientSession | None = None,
        allow_http_hosts: Collection[str] = (),
        proxies: Mapping[str, str | None] | None = None,
        trust_env: bool | None = None,
        extra_headers: Mapping[str, str] | None = None,
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
                retries, timeouts, session, proxies and headers, so none of these may be given beside it.
            batching: How inputs are cut into requests.
            limits: The rate.
            retries: What is sent again.
            timeouts: Time limits.
            hedging: Whether and how slow requests are raced by a second copy; None: never.
            on_failure: ``"raise"``: a call of which a part failed raises, and what was scored is attached.
                ``"partial"``: it returns the ranking of what was scored, and ``failures``; errors of authentication,
                permission and quota still raise.
            observer: Takes the events of `rerank_async.values.events` of every call, synchronously.
            session: Your own aiohttp session, which stays yours to close; its connector must not queue.
            allow_http_hosts: Hosts besides loopback to which plain http is accepted.
            proxies: The proxy by the scheme of the target, ``http``, ``https`` or ``all``, such as
                ``{"https": "http://user:password@proxy:3128"}``; ``{}``: none, whatever the environment says.
            trust_env: Whether the environment names proxies where ``proxies`` is not given; see `AsyncAPIClient`.
            extra_headers: Sent with each request to the service, not with those for tokens; a call's own win.

        Raises:
            InvalidArgumentError: Something is missing, contradictory or out of range; the message names it.
        """
        credentials, proxies = sealed(credentials), sealed_proxies(proxies)  # so that this frame shows no secret
        extra_headers = sealed_headers(extra_headers)
        self._params = as_parameters(params)
        self._batching = checked_batching(batching)
        self._on_failure = checked_on_failure(on_failure)
        self._observer = checked_observer(observer)
        self._owned, self._waits, self._once = api_client is None, True, False
        self._model_id = checked_model(model_id)
        options = {
            "credentials": credentials,
            "project_id": project_id,
            "space_id": space_id,
            "verify": verify,
            "limits": limits,
            "retries": retries,
            "timeouts": timeouts,
            "session": session,
            "allow_http_hosts": allow_http_hosts or None,
            "proxies": proxies,
            "trust_env": trust_env,
            "extra_headers": extra_headers,
        }
        self._api_client = client_of(api_client, options)
        self._timeout = self._api_client.timeouts.total
        self._headers = own_headers(self._api_client)
        self._hedging = hedging_of(hedging, self._model_id, self._api_client)
        self._terms = self._new_terms()

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
        score_threshold: float | None = None,
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
            score_threshold: Results with a lower raw score are left out, before ``top_n`` cuts; None: none are.
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
        extra_headers = extra_headers and sealed_headers(extra_headers)
        job = self._job(query, inputs, params, crypto, extra_headers, extra_body, score_threshold)
        return await self._begin(job, self._seconds(timeout))

    def stream(
        self,
        query: str,
        inputs: Iterable[str | Mapping[str, Any]],
        params: RerankParameters | Mapping[str, Any] | None = None,
        crypto: Crypto | Mapping[str, Any] | None = None,
        *,
        timeout: float | Default | None = DEFAULT,
        score_threshold: float | None = None,
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
            InvalidArgumentError: Bad input, at once; the other errors come while it is iterated, after all that landed.
        """
        extra_headers = extra_headers and sealed_headers(extra_headers)
        job = self._job(query, inputs, params, crypto, extra_headers, extra_body, score_threshold, whole=True)
        seconds = self._seconds(timeout)
        return RerankStream(lambda landed: self._begin(job, seconds, landed))

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
                    if outcome.response is not None:
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
            return await self._begin(self._job(request.query, request.inputs, request.params, flow=flow), self._timeout)

        return RerankMany(run, requests, self._api_client.check, ordered=ordered, max_in_flight=max_in_flight)

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
        return plan_of(self._job(query, inputs, params, crypto), self._api_client)

    def with_options(
        self,
        *,
        params: RerankParameters | Mapping[str, Any] | Default = DEFAULT,
        timeout: float | Default | None = DEFAULT,
        extra_headers: Mapping[str, str] | None = None,
        observer: Observer | Default | None = DEFAULT,
        batching: BatchOptions | Default = DEFAULT,
        hedging: HedgeOptions | Default | None = DEFAULT,
        on_failure: OnFailure | Default = DEFAULT,
    ) -> AsyncRerank:
        """A view with other defaults over the same session, token and limiter. It need not be closed.

        Args:
            params: Instead of the client's; not given: as before.
            timeout: Seconds for each call; None: no bound; not given: as before.
            extra_headers: Sent with each request, besides those of before.
            observer: Instead of the client's; None: no observer; not given: as before.
            batching: Instead of the client's; not given: as before.
            hedging: Instead of the client's; None: no hedging; not given: as before.
            on_failure: Instead of the client's; not given: as before.

        Raises:
            InvalidArgumentError: A value is out of range.
        """
        extra_headers = extra_headers and sealed_headers(extra_headers)
        view = object.__new__(type(self))
        view.__dict__.update(self.__dict__)
        view._owned = False
        view._params = self._params if params is DEFAULT else as_parameters(params)
        view._timeout = self._timeout if timeout is DEFAULT else timeout_seconds(timeout)
        view._headers = request_headers(self._headers, extra_headers)
        view._observer = self._observer if observer is DEFAULT else checked_observer(observer)
        view._batching = self._batching if batching is DEFAULT else checked_batching(batching)
        view._on_failure = self._on_failure if on_failure is DEFAULT else checked_on_failure(on_failure)
        if hedging is not DEFAULT:
            view._hedging = hedging_of(hedging, self._model_id, self._api_client)
        view._terms = view._new_terms()
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
        crypto: Crypto | Mapping[str, Any] | None = None,
        extra_headers: Mapping[str, str] | None = None,
        extra_body: Mapping[str, Any] | None = None,
        score_threshold: float | None = None,
        *,
        flow: Hashable | None = None,
        whole: bool = False,
    ) -> Job:
        return job_of(
            self._api_client,
            self._terms,
            query,
            inputs,
            self._params if params is None else as_parameters(params),
            as_crypto(crypto),
            request_headers(self._headers, extra_headers),
            extra_body,
            score_threshold,
            flow,
            whole=whole,
        )

    def _begin(
        self, job: Job, seconds: float | None, landed: Landed | None = None
    ) -> Coroutine[Any, Any, RerankResponse]:
        """The call, to be awaited; checks at once that the client can be used here."""
        channel = self._api_client.channel(once=self._once)
        if not job.load.texts:
            return nothing(job)
        if seconds is not None:
            job = job._replace(deadline=channel.clock.now() + seconds)
        if wanted():
            job = observed_by(job, log_event)
        return Call(channel, job, landed).run()

    def _new_terms(self) -> Terms:
        return terms_of(
            self._model_id,
            self._api_client,
            params=self._params,
            batching=self._batching,
            hedging=self._hedging,
            on_failure=self._on_failure,
            waits=self._waits,
            observer=self._observer,
        )

    def _seconds(self, timeout: float | Default | None) -> float | None:
        return self._timeout if timeout is DEFAULT else timeout_seconds(timeout)
