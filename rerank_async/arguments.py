"""From the arguments of a public method to the job that they ask for."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import attrs

from rerank_async.api_client import AsyncAPIClient
from rerank_async.errors import InvalidArgumentError, InvalidTypeError
from rerank_async.job import Job, Terms
from rerank_async.policy.hedging import HedgeBudget, HedgeModel
from rerank_async.policy.planning import (
    MOST_BYTES_PER_CHARACTER,
    batches,
    check_query,
    load,
    most_bytes,
    pushed_top_n,
    texts_of,
)
from rerank_async.policy.scores import score_threshold_of
from rerank_async.policy.sizing import adaptive_surplus
from rerank_async.policy.wire import encode_body, request_head
from rerank_async.settings import merged_headers
from rerank_async.values.checks import check_encodable, header_fields
from rerank_async.values.events import Observer
from rerank_async.values.made import made
from rerank_async.values.options import BatchOptions, HedgeOptions
from rerank_async.values.parameters import Crypto, RerankParameters, ReturnOptions
from rerank_async.values.response import Plan, RerankResponse

OnFailure = Literal["raise", "partial"]
CONTENT: Mapping[str, str] = {"Content-Type": "application/json"}

_NOTHING_WANTED = ReturnOptions()


def client_of(api_client: AsyncAPIClient | None, options: Mapping[str, Any]) -> AsyncAPIClient:
    """The client that was given, or a new one with these options, of which None means "not given".

    Raises:
        InvalidArgumentError: Both were given, or a new one cannot be made.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if api_client is None:
        return AsyncAPIClient(**given)
    if not isinstance(api_client, AsyncAPIClient):
        raise InvalidTypeError(
            f"api_client must be an AsyncAPIClient, not {type(api_client).__name__}", argument="api_client"
        )
    if given:
        name = next(iter(given))
        raise InvalidArgumentError(
            f"api_client brings its own {name}; give it to the AsyncAPIClient instead", argument=name
        )
    return api_client


def hedging_of(hedging: object, model_id: str, api_client: AsyncAPIClient) -> tuple[HedgeModel, HedgeBudget] | None:
    """What decides about second copies, for everything that shares it; None: there are none.

    Raises:
        InvalidTypeError: The options are something else.
    """
    options = checked_hedging(hedging)
    if options is None:
        return None
    return HedgeModel(options, api_client.latencies.of(model_id)), HedgeBudget(options)


def terms_of(
    model_id: str,
    api_client: AsyncAPIClient,
    *,
    params: RerankParameters,
    batching: BatchOptions,
    hedging: tuple[HedgeModel, HedgeBudget] | None,
    on_failure: OnFailure,
    waits: bool,
    observer: Observer | None,
) -> Terms:
    """What holds for every call of a client or a view."""
    head = _head_of(model_id, api_client, "", params)
    return Terms(
        model_id=model_id,
        params=params,
        head=head,
        head_bytes=most_bytes(head),
        batching=batching,
        partial=on_failure == "partial",
        waits=waits,
        observers=() if observer is None else (observer,),
        latency=api_client.latencies.of(model_id),
        bounds=api_client.bounds,
        hedging=hedging,
    )


def job_of(
    api_client: AsyncAPIClient,
    terms: Terms,
    query: str,
    inputs: Iterable[str | Mapping[str, Any]],
    parameters: RerankParameters,
    crypto: Crypto | None,
    headers: Mapping[str, str],
    extra_body: Mapping[str, Any] | None,
    score_threshold: float | None,
    flow: Hashable | None,
    *,
    whole: bool,
) -> Job:
    """The job, without a deadline.

    Raises:
        InvalidArgumentError: An argument is wrong; the error names it, and the index.
    """
    query = check_query(query)
    texts = texts_of(inputs)
    batching = terms.batching
    if parameters is terms.params and crypto is None and extra_body is None:
        head = {**terms.head, "query": query}
        head_bytes = terms.head_bytes + MOST_BYTES_PER_CHARACTER * len(query)
    else:
        head_bytes = None
        head = _head_of(terms.model_id, api_client, query, parameters, crypto, extra_body)
    wanted_back = parameters.return_options or _NOTHING_WANTED
    echo = bool(wanted_back.inputs)
    wanted_load = load(texts, batching, head, dedupe=batching.dedupe and crypto is None, head_bytes=head_bytes)
    return made(
        Job,
        (
            head,
            terms.bounds.narrowed(terms.model_id, wanted_load, head) if terms.bounds.learned else wanted_load,
            wanted_back.top_n,
            texts if echo and crypto is None else None,
            query if wanted_back.query and crypto is None else None,
            echo and crypto is not None,
            headers,
            None,
            score_threshold_of(score_threshold),
            terms,
            flow,
            whole,
        ),
    )


def _head_of(
    model_id: str,
    api_client: AsyncAPIClient,
    query: str,
    parameters: RerankParameters,
    crypto: Crypto | None = None,
    extra_body: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    return request_head(
        model_id=model_id,
        query=query,
        project_id=api_client.project_id,
        space_id=api_client.space_id,
        parameters=parameters,
        crypto=crypto,
        extra_body=extra_body,
    )


def plan_of(job: Job, api_client: AsyncAPIClient) -> Plan:
    """What the job would send if it began now."""
    load, terms, gate = job.load, job.terms, api_client.gate
    requests = size = 0
    for start, stop in batches(load):
        requests += 1
        size += len(encode_body(job.head, load.texts[start:stop], pushed_top_n(job.top_n, stop - start)))
    surplus = 0
    if terms.batching.adaptive:
        surplus = adaptive_surplus(
            load, free=gate.free(), lanes=gate.lanes(), waiting=gate.queued, latency=terms.latency
        )
    return Plan(
        inputs=load.inputs,
        unique=len(load.texts),
        requests=requests,
        body_bytes=size,
        surplus=surplus,
        seconds=api_client.seconds_for(requests),
    )


async def nothing(job: Job) -> RerankResponse:
    """The response to a job without texts, for which nothing is sent."""
    return RerankResponse(
        model_id=job.terms.model_id,
        results=(),
        created_at=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        input_token_count=0,
        query=job.query,
    )


def observed_by(job: Job, observer: Observer) -> Job:
    """The job with one more observer."""
    return job._replace(terms=attrs.evolve(job.terms, observers=(*job.terms.observers, observer)))


def own_headers(api_client: AsyncAPIClient) -> Mapping[str, str]:
    """The headers of each rerank request of a client, without the token."""
    return merged_headers(api_client.headers, CONTENT)


def request_headers(own: Mapping[str, str], extra: Mapping[str, str] | None) -> Mapping[str, str]:
    """The headers of each request: those of the client or view, and those of the call, without the token.

    Raises:
        InvalidArgumentError: ``extra_headers`` are wrong.
    """
    return own if extra is None else merged_headers(own, header_fields(extra))


def checked_model(model_id: object) -> str:
    """The model's id.

    Raises:
        InvalidArgumentError: It is not a str, or empty.
    """
    if not isinstance(model_id, str):
        raise InvalidTypeError(f"model_id must be a str, not {type(model_id).__name__}", argument="model_id")
    if not model_id.strip():
        raise InvalidArgumentError("model_id is empty", argument="model_id")
    check_encodable(model_id, "model_id", None)
    return str.__str__(model_id)


def checked_batching(batching: object) -> BatchOptions:
    """The options; those of the default for None.

    Raises:
        InvalidTypeError: They are something else.
    """
    if batching is None:
        return BatchOptions()
    if not isinstance(batching, BatchOptions):
        raise InvalidTypeError(f"batching must be a BatchOptions, not {type(batching).__name__}", argument="batching")
    return batching


def checked_hedging(hedging: object) -> HedgeOptions | None:
    """The options; None: no hedging.

    Raises:
        InvalidTypeError: They are something else.
    """
    if hedging is not None and not isinstance(hedging, HedgeOptions):
        raise InvalidTypeError(
            f"hedging must be a HedgeOptions or None, not {type(hedging).__name__}", argument="hedging"
        )
    return hedging


def checked_on_failure(on_failure: object) -> OnFailure:
    """The failure policy.

    Raises:
        InvalidArgumentError: It is neither ``"raise"`` nor ``"partial"``.
    """
    if on_failure == "raise" or on_failure == "partial":  # noqa: PLR1714 - so that the type is known
        return on_failure
    raise InvalidArgumentError(f"on_failure must be 'raise' or 'partial', not {on_failure!r}", argument="on_failure")


def checked_observer(observer: Observer | None) -> Observer | None:
    """The observer.

    Raises:
        InvalidTypeError: It cannot be called.
    """
    if observer is not None and not callable(observer):
        raise InvalidTypeError(f"observer must be callable, not {type(observer).__name__}", argument="observer")
    return observer
