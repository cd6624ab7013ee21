"""A typed use of the public API. mypy checks it (``mypy tests/typing``); it is never run.

The wrong uses carry an ignore with its code, so a type that became too wide turns up as an unused ignore.
"""

# mypy: warn-unused-ignores

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any, assert_type

import aiohttp

from rerank_async import (
    DEFAULT,
    Answered,
    AsyncAPIClient,
    AsyncRerank,
    BatchFailure,
    BatchOptions,
    Credentials,
    Crypto,
    Event,
    Failed,
    Hedged,
    LimitOptions,
    LimitStatus,
    Merged,
    ModelSpec,
    Plan,
    Queued,
    RerankError,
    RerankMany,
    RerankModels,
    RerankOutcome,
    RerankParameters,
    RerankRequest,
    RerankResponse,
    RerankResult,
    RerankStream,
    ResponseStats,
    Retried,
    RetryOptions,
    ReturnOptions,
    Sent,
    ServiceWarning,
    Throttled,
    Timeouts,
    __version__,
    errors,
)

assert_type(__version__, str)


def observe(event: Event) -> None:
    if isinstance(event, Sent):
        assert_type(event.waited, float)
    elif isinstance(event, Answered):
        assert_type(event.trace, str | None)
    elif isinstance(event, Queued):
        assert_type(event.unique, int)
    else:
        assert_type(event, Throttled | Retried | Hedged | Merged | Failed)


async def right(session: aiohttp.ClientSession, context: ssl.SSLContext) -> None:
    credentials = Credentials("https://us-south.ml.cloud.ibm.com", "key")
    assert_type(credentials, Credentials)
    assert_type(credentials.url, str)
    assert_type(Credentials.from_env(), Credentials)
    assert_type(Credentials.from_dict({"url": "https://h", "apikey": "k"}), Credentials)

    client = AsyncRerank(
        RerankModels.MS_MARCO_MINILM_L_12_V2,
        RerankParameters(truncate_input_tokens=512, return_options=ReturnOptions(top_n=3, inputs=True)),
        credentials,
        "project",
        batching=BatchOptions(max_inputs=100),
        limits=LimitOptions(requests_per_second=2, burst=None),
        retries=RetryOptions(max_attempts=3),
        timeouts=Timeouts(total=30),
        observer=observe,
        session=session,
        allow_http_hosts=("inside.example",),
        proxies={"https": "http://user:password@proxy.example:3128", "http": None},
        trust_env=False,
        extra_headers={"X-Made-Up": "value"},
    )
    AsyncRerank("some/model", {"return_options": {"top_n": 3}}, {"url": "https://h", "api_key": "k"}, space_id="s")
    for verify in (True, False, "/ca.pem", Path("/ca.pem"), context, None):
        AsyncRerank("some/model", verify=verify)
    RerankParameters(return_options={"top_n": 3})

    async with client as entered:
        assert_type(entered, AsyncRerank)
        response = await entered.generate("query", ["a", {"text": "b"}])
    assert_type(response, RerankResponse)
    assert_type(response.results, tuple[RerankResult, ...])
    assert_type(response.results[0].score, float)
    assert_type(response.results[0].index, int)
    assert_type(response.results[0].input, str | None)
    assert_type(response.results[0].extra, Mapping[str, Any])
    assert_type(response.input_token_count, int | None)
    assert_type(response.created_at, str | None)
    assert_type(response.warnings, tuple[ServiceWarning, ...])
    assert_type(response.failures, tuple[BatchFailure, ...])
    assert_type(response.stats, ResponseStats)
    assert_type(response.stats.exchanges, tuple[Answered, ...])
    assert_type(response.to_dict(), dict[str, Any])
    assert_type(dict(response), dict[str, Any])

    await client.generate("q", ("a", "b"), {"truncate_input_tokens": 5}, {"key_ref": "crn"}, timeout=None)
    await client.generate("q", iter(["a"]), crypto=Crypto("crn"), timeout=2.5, extra_headers={"x": "y"})
    await client.generate("q", [{"text": "a"}], timeout=DEFAULT, extra_body={"made_up": 1})

    assert_type(client.plan("q", ["a"]), Plan)
    assert_type(client.with_options(timeout=5, observer=None), AsyncRerank)
    assert_type(client.limit_status, LimitStatus)
    assert_type(client.model_id, str)
    assert_type(client.api_client, AsyncAPIClient)
    assert_type(await client.model_specs(), tuple[ModelSpec, ...])

    async with AsyncAPIClient(credentials, project_id="p", verify=False, limits=LimitOptions()) as shared:
        assert_type(shared, AsyncAPIClient)
        AsyncRerank("some/model", api_client=shared)


async def handed_out(client: AsyncRerank, now: Iterator[RerankRequest], later: AsyncIterator[RerankRequest]) -> None:
    async with client.stream("q", ["a", {"text": "b"}], timeout=5) as stream:
        assert_type(stream, RerankStream)
        async for results in stream:
            assert_type(results, tuple[RerankResult, ...])
        assert_type(await anext(stream), tuple[RerankResult, ...])
        assert_type(await stream.response(), RerankResponse)
        assert_type(stream.failures, tuple[BatchFailure, ...])
        await stream.aclose()

    request = RerankRequest("q", ["a", {"text": "b"}], id=5, params={"truncate_input_tokens": 5})
    assert_type(request.id, Any)
    for requests in (now, later, [request], (request,)):
        async with client.generate_many(requests, ordered=True, max_in_flight=8) as outcomes:
            assert_type(outcomes, RerankMany)
            async for outcome in outcomes:
                assert_type(outcome, RerankOutcome)
                assert_type(outcome.request, RerankRequest)
                assert_type(outcome.response, RerankResponse | None)
                if outcome.response is not None:
                    assert_type(outcome.response, RerankResponse)
                assert_type(outcome.error, Exception | None)


async def caught(client: AsyncRerank) -> None:
    try:
        await client.generate("q", ["a"])
    except errors.StatusError as exc:
        assert_type(exc.status, int)
        assert_type(exc.code, str | None)
        assert_type(exc.retry_after, float | None)
    except errors.InvalidArgumentError as exc:
        assert_type(exc.index, int | None)
    except RerankError as exc:
        assert_type(exc.scored, tuple[tuple[int, float], ...])
        assert_type(exc.others, tuple[RerankError, ...])


async def wrong(client: AsyncRerank, response: RerankResponse) -> None:
    AsyncRerank()  # type: ignore[call-arg]
    AsyncRerank(5)  # type: ignore[arg-type]
    AsyncRerank("m", None, None, None, None, None, None, BatchOptions())  # type: ignore[call-arg]
    AsyncRerank("m", limits=8)  # type: ignore[arg-type]
    AsyncRerank("m", observer=lambda: None)  # type: ignore[arg-type,misc]
    AsyncRerank("m", nonsense=1)  # type: ignore[call-arg]
    await client.generate("q")  # type: ignore[call-arg]
    await client.generate(5, ["a"])  # type: ignore[arg-type]
    await client.generate("q", [b"a"])  # type: ignore[list-item]
    await client.generate("q", ["a"], timeout="5")  # type: ignore[arg-type]
    await client.generate("q", ["a"], None, None, 5)  # type: ignore[call-arg]
    client.generate("q", ["a"])  # type: ignore[unused-coroutine]
    await client.stream("q", ["a"])  # type: ignore[misc]
    client.stream("q", "a", max_in_flight=3)  # type: ignore[call-arg]
    client.generate_many([("q", ["a"])])  # type: ignore[list-item]
    client.generate_many([], True)  # type: ignore[call-arg]
    RerankRequest(5, ["a"])  # type: ignore[arg-type]
    RerankRequest("q")  # type: ignore[call-arg]
    client.model_id = "other"  # type: ignore[misc]
    response.model_id = "other"  # type: ignore[misc]
    response.results[0].score = 1.0  # type: ignore[misc]
    response.results.append(response.results[0])  # type: ignore[attr-defined]
    BatchOptions(100)  # type: ignore[call-arg]
    LimitOptions(burst=1.5)  # type: ignore[arg-type]
    ReturnOptions(top_n="3")  # type: ignore[arg-type]
    Timeouts(request=None)  # type: ignore[arg-type]
    Credentials()  # type: ignore[call-arg]
    AsyncAPIClient(proxies="http://proxy.example:3128")  # type: ignore[arg-type]
    AsyncAPIClient(extra_headers={"X": 5})  # type: ignore[dict-item]
    Credentials("https://h", verify=5)  # type: ignore[arg-type]
