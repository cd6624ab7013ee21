"""From the arguments of a public method to the job that they ask for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from multidict import CIMultiDict

from rerank_async.api_client import BASE_HEADERS, AsyncAPIClient
from rerank_async.call import Job
from rerank_async.errors import InvalidArgumentError, InvalidTypeError
from rerank_async.policy.planning import check_query, load, texts_of
from rerank_async.policy.wire import request_head
from rerank_async.values.checks import check_encodable, header_fields
from rerank_async.values.events import Observer
from rerank_async.values.options import BatchOptions
from rerank_async.values.parameters import Crypto, RerankParameters, ReturnOptions
from rerank_async.values.response import RerankResponse

NO_HEADERS: Mapping[str, str] = {}

_NOTHING_WANTED = ReturnOptions()
# As aiohttp wants them, so that they are not converted for each request.
_HEADERS: Mapping[str, str] = CIMultiDict({**BASE_HEADERS, "Content-Type": "application/json"})


def job_of(
    model_id: str,
    api_client: AsyncAPIClient,
    batching: BatchOptions,
    *,
    query: str,
    inputs: Iterable[str | Mapping[str, Any]],
    parameters: RerankParameters,
    crypto: Crypto | None,
    headers: Mapping[str, str],
    extra_body: Mapping[str, Any] | None,
) -> Job:
    """The job, without a deadline.

    Raises:
        InvalidArgumentError: An argument is wrong; the error names it, and the index.
    """
    query = check_query(query)
    texts = texts_of(inputs)
    head = request_head(
        model_id=model_id,
        query=query,
        project_id=api_client.project_id,
        space_id=api_client.space_id,
        parameters=parameters,
        crypto=crypto,
        extra_body=extra_body,
    )
    wanted_back = parameters.return_options or _NOTHING_WANTED
    return Job(
        head=head,
        load=load(texts, batching, head, dedupe=batching.dedupe and crypto is None),
        top_n=wanted_back.top_n,
        texts=texts if wanted_back.inputs and crypto is None else None,
        query=query if wanted_back.query and crypto is None else None,
        echo=bool(wanted_back.inputs and crypto is not None),
        headers=headers,
        deadline=None,
    )


async def nothing(job: Job, parameters: RerankParameters) -> RerankResponse:
    """The response to a job without texts, for which nothing is sent."""
    wanted_back = parameters.return_options or _NOTHING_WANTED
    return RerankResponse(
        model_id=job.head["model_id"],
        results=(),
        created_at=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        input_token_count=0,
        query=job.head["query"] if wanted_back.query else None,
    )


def request_headers(own: Mapping[str, str], extra: Mapping[str, str] | None) -> Mapping[str, str]:
    """The headers of each request: those of the client or view, and those of the call, without the token.

    Raises:
        InvalidArgumentError: ``extra_headers`` are wrong.
    """
    if extra is None and own is NO_HEADERS:
        return _HEADERS
    return {**_HEADERS, **own, **(header_fields(extra) if extra is not None else {})}


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


def checked_observer(observer: Observer | None) -> Observer | None:
    """The observer.

    Raises:
        InvalidTypeError: It cannot be called.
    """
    if observer is not None and not callable(observer):
        raise InvalidTypeError(f"observer must be callable, not {type(observer).__name__}", argument="observer")
    return observer
