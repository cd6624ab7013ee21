"""The FastAPI example over a real socket: load at the limit, callers who leave, a service that dies and comes back."""

import asyncio
import contextlib
import importlib.util
import io
import json
import signal
import time
from collections import Counter
from types import SimpleNamespace

import pytest
from support.clients import until
from support.web_app import BY_ITSELF, BY_UVICORN, ROOT, ending, web_app

from rerank_async import errors
from rerank_async.server import Fault, LexicalScorer, RateLimit, serve

# Load


@pytest.mark.parametrize("burst", [10, 50])
async def test_two_hundred_callers_at_once_are_all_served_at_the_limit(burst):
    settings = {"RERANK_RPS": 50, "RERANK_BURST": burst, "RERANK_DEADLINE": 120}
    async with serve(limit=RateLimit(requests=50)) as server, web_app(server, **settings) as app:
        began_at = time.monotonic()
        answers = await asyncio.gather(
            *(app.rank(f"bread {n}", ["a mill", f"bread {n}", "salt"], top_n=1) for n in range(200))
        )
        assert Counter(status for status, _, _ in answers) == {200: 200}
        assert [[result["index"] for result in body["results"]] for _, body, _ in answers] == [[1]] * 200
        assert await app.stop() == []
        assert app.code == 0
    counts = server.counts
    assert (counts.statuses[200], counts.rerank - counts.throttled, counts.token_requests) == (200, 200, 1)
    if burst == 10:  # a whole second's requests at once leave no room for those that a busy machine delivers late
        assert counts.throttled == 0
    # However late a request arrives, it does not arrive before it was allowed to start.
    arrivals = sorted(arrival.arrived_at - began_at for arrival in server.requests)
    too_early = [number for number, at in enumerate(arrivals) if at < number // burst * burst / 50]
    assert too_early == []


@pytest.mark.parametrize(
    ("command", "number", "code"),
    [(BY_UVICORN, signal.SIGINT, 0), (BY_ITSELF, signal.SIGINT, 0), (BY_UVICORN, signal.SIGTERM, -signal.SIGTERM)],
    ids=["uvicorn", "python", "SIGTERM"],
)
async def test_it_ends_without_a_warning_as_uvicorn_ends(server, command, number, code):
    async with web_app(server, command) as app:
        status, body, _ = await app.rank()
        assert (status, body["model"], [result["index"] for result in body["results"]]) == (200, "lexical", [1, 0])
        assert await app.stop(number) == []
    # Uvicorn gives a SIGTERM back to the process after its orderly end.
    assert (app.code, "Application shutdown complete." in app.said[-2]) == (code, True)


async def test_a_call_under_way_is_answered_before_the_end():
    async with serve(latency=0.5) as server, web_app(server) as app:
        call = asyncio.create_task(app.rank())
        await until(lambda: server.counts.in_flight == 1)
        assert await app.stop() == []
        assert (await call)[0] == 200


# Callers who leave


async def test_a_caller_who_leaves_takes_the_request_along():
    async with serve(faults=[Fault("hang", nth=(1,))]) as server, web_app(server) as app:
        caller = asyncio.create_task(app.rank())
        await until(lambda: server.counts.in_flight == 1)
        await app.healthy(in_flight=1)
        await leave(caller)
        await until(lambda: server.counts.in_flight == 0)
        assert [arrival.status for arrival in server.requests] == [None]
        await app.healthy(in_flight=0, queued=0)
        assert (await app.rank())[0] == 200
        assert await app.stop() == []


async def test_a_caller_who_leaves_gives_up_the_place_in_the_queue():
    async with serve() as server, web_app(server, RERANK_RPS=0.02, RERANK_DEADLINE=900) as app:
        assert (await app.rank())[0] == 200
        caller = asyncio.create_task(app.rank())
        await app.healthy(queued=1)
        await leave(caller)
        await app.healthy(queued=0, in_flight=0)
        assert server.counts.rerank == 1


async def leave(caller):
    caller.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await caller


# A service that dies, comes back, is slow, or says no


async def test_the_death_of_the_service_is_a_503_for_everyone_until_it_comes_back():
    async with contextlib.AsyncExitStack() as life:
        server = await life.enter_async_context(serve(faults=[Fault("hang", nth=range(41, 61))]))
        # While connections are refused, only the deadline ends a call.
        async with web_app(server, RERANK_RPS=1000, RERANK_DEADLINE=3) as app:
            callers = [asyncio.create_task(app.rank()) for _ in range(60)]
            await until(lambda: (server.counts.statuses[200], server.counts.in_flight) == (40, 20))
            await life.aclose()
            answers = await asyncio.gather(*callers)
            assert Counter(status for status, _, _ in answers) == {200: 40, 503: 20}
            status, body, headers = await app.rank()
            assert (status, body) == (503, {"detail": "the ranking service is not available"})
            assert int(headers["Retry-After"]) >= 1
            async with serve(port=int(server.url.rpartition(":")[2])) as again:
                assert (await app.rank())[0] == 200
                assert again.counts.statuses == {401: 1, 200: 1}, "a token of the dead one, and a new one"
            complaints = await app.stop()
    assert complaints
    assert all(
        line.startswith(("ERROR:    DeadlineExceededError: ", "WARNING:  cannot connect")) for line in complaints
    )


async def test_a_service_that_hangs_is_a_504_at_the_deadline():
    async with serve(faults=[Fault("hang", share=1)]) as server, web_app(server, RERANK_DEADLINE=0.3) as app:
        status, body, headers = await app.rank()
        assert (status, body) == (504, {"detail": "the ranking took too long"})
        assert "Retry-After" not in headers
        await until(lambda: server.counts.in_flight == 0)


async def test_a_limiter_that_is_behind_says_so_at_once_and_in_the_health():
    async with serve() as server, web_app(server, RERANK_RPS=0.01, RERANK_DEADLINE=50) as app:
        status, health = await app.health()
        assert (status, health["requests_per_second"], health["queued"], health["behind"]) == (200, 0.01, 0, 0)
        assert (await app.rank())[0] == 200
        status, body, headers = await app.rank()
        assert (status, body) == (504, {"detail": "the ranking took too long"})
        assert 50 < int(headers["Retry-After"]) <= 102
        status, health = await app.health()
        assert status == 503
        assert 50 < health["behind"] <= 101.5
    assert server.counts.rerank == 1


async def test_no_pacing_is_a_null_in_the_health(server):
    async with web_app(server, RERANK_RPS="inf") as app:
        assert (await app.health())[1]["requests_per_second"] is None


async def test_what_the_service_refuses_is_told_without_its_words():
    scorers = {"lexical": LexicalScorer(max_sequence_length=16)}
    async with serve(scorers=scorers, faults=[Fault("quota", nth=(1,))]) as server:
        async with web_app(server) as app:
            assert (await app.rank())[:2] == (503, {"detail": "the ranking service is out of quota"})
            status, body, _ = await app.rank(passages=["reed " * 100])
            assert (status, "too long" in body["detail"]) == (422, True)
        server.api_key = "not-the-key"
        async with web_app(server) as app:
            status, body, _ = await app.rank()
            complaints = await app.stop()
    assert (status, "BXNIM" in body["detail"], "127.0.0.1" in body["detail"]) == (502, False, False)
    assert "BXNIM0415E" in complaints[0]
    assert "not-the-key" not in "".join(complaints)


async def test_a_long_pause_that_the_service_asks_for_reaches_the_caller():
    faults = [Fault("rate_limited", share=1)]
    async with serve(limit=RateLimit(retry_after=3600), faults=faults) as server, web_app(server) as app:
        status, body, headers = await app.rank()
    assert (status, body, headers["Retry-After"]) == (503, {"detail": "the ranking service is busy"}, "3600")


# Input


BAD_INPUT = {
    '{"passages": ["a"]}': "Field required",
    '{"query": "", "passages": ["a"]}': "at least 1 character",
    '{"query": " ", "passages": ["secret words"]}': "query is empty",
    '{"query": "bread", "passages": "secret words"}': "valid list",
    '{"query": "bread", "passages": ["secret words", 7]}': "valid string",
    '{"query": "bread", "passages": ["a"], "top_n": 0}': "greater than or equal to 1",
    '{"query": "bread", "passages": ["a"], "top_n": NaN}': "finite number",
    r'{"query": "bread", "passages": ["secret words \ud800"]}': "surrogate",
    '{"query": "bread", "passages": ["secret words"': "JSON decode error",
    json.dumps({"query": "bread", "passages": ["secret words" * 400_000]}): "max_bytes",
    json.dumps({"query": "bread", "passages": ["secret words"] * 10_001}): "at most 10000 items",
}


async def test_bad_input_is_a_422_that_repeats_no_text():
    async with serve() as server, web_app(server) as app:
        for body, said in BAD_INPUT.items():
            headers = {"Content-Type": "application/json"}
            async with app.session.post("/rerank", data=io.BytesIO(body.encode()), headers=headers) as answer:
                told = await answer.text()
            assert (answer.status, said in told, "secret words" in told) == (422, True, False), body[:80]
        assert (await app.rank(passages=()))[:2] == (200, {"model": "lexical", "results": []})
    assert server.counts.rerank == 0


# Errors


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("fastapi_app", ROOT / "examples" / "fastapi_app.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("behind", [0.0, 2.4])
@pytest.mark.parametrize("name", errors.__all__)
async def test_every_error_has_a_status_and_only_our_own_words_are_told(example, name, behind):
    client = SimpleNamespace(limit_status=SimpleNamespace(behind=behind, outage=0.0))
    request = SimpleNamespace(state=SimpleNamespace(client=client))
    kind = getattr(errors, name)
    answer = await example.failed(request, kind("https://region.example/ml answered 400: instance 4711"))
    expected, wait = STATUSES[name]
    assert (answer.status_code, answer.headers.get("Retry-After")) == (expected, wait[behind])
    assert (b"4711" in answer.body) == (expected == 422 and issubclass(kind, errors.InvalidArgumentError))


NEVER, AT_LEAST_A_SECOND, IF_BEHIND = (
    {0.0: first, 2.4: then} for first, then in ((None, None), ("1", "3"), (None, "3"))
)
STATUSES = {
    "AuthenticationError": (502, NEVER),
    "BadAnswerError": (502, NEVER),
    "BadRequestError": (502, NEVER),
    "CertificateError": (502, NEVER),
    "ClientClosedError": (503, AT_LEAST_A_SECOND),
    "ClientStateError": (503, AT_LEAST_A_SECOND),
    "ConnectionFailedError": (503, AT_LEAST_A_SECOND),
    "DeadlineExceededError": (504, IF_BEHIND),
    "DecodeError": (502, NEVER),
    "EventLoopError": (503, AT_LEAST_A_SECOND),
    "InputTooLongError": (422, NEVER),
    "IntegrityError": (502, NEVER),
    "InvalidArgumentError": (422, NEVER),
    "InvalidTypeError": (422, NEVER),
    "ModelNotSupportedError": (502, NEVER),
    "NoAnswerError": (503, AT_LEAST_A_SECOND),
    "OverloadedError": (503, AT_LEAST_A_SECOND),
    "PermissionDeniedError": (502, NEVER),
    "QuotaExceededError": (503, NEVER),
    "RateLimitError": (503, AT_LEAST_A_SECOND),
    "RedirectError": (502, NEVER),
    "RequestTimeoutError": (503, AT_LEAST_A_SECOND),
    "RequestTooLargeError": (502, NEVER),
    "RerankError": (502, NEVER),
    "ServiceError": (503, AT_LEAST_A_SECOND),
    "StatusError": (502, NEVER),
}


async def test_a_server_that_fails_to_tell_of_the_caller_is_an_error_and_leaves_no_task(example):
    async def broken():
        raise RuntimeError("no such message")

    async def for_ever():
        await asyncio.get_running_loop().create_future()

    with pytest.raises(RuntimeError, match="no such message"):
        await example.while_connected(SimpleNamespace(receive=broken), for_ever())
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_handler_that_is_cancelled_takes_the_call_along(example):
    async def for_ever():
        await asyncio.get_running_loop().create_future()

    handler = asyncio.create_task(example.while_connected(SimpleNamespace(receive=for_ever), for_ever()))
    await until(lambda: len(asyncio.all_tasks()) == 4)
    handler.cancel()
    with pytest.raises(asyncio.CancelledError):
        await handler
    assert asyncio.all_tasks() == {asyncio.current_task()}


# Settings


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"RERANK_RPS": "fast"}, "rps"),
        ({"RERANK_RPS": "0"}, "rps"),
        ({"RERANK_BURST": "0.5"}, "burst"),
        ({"RERANK_DEADLINE": "inf"}, "deadline"),
        ({"WATSONX_URL": ""}, "set WATSONX_URL"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
async def test_a_setting_that_makes_no_sense_stops_the_start(server, settings, said):
    code, err = await ending(server, **settings)
    assert code == 3
    assert said in err
    assert server.api_key not in err
