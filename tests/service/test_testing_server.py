"""The server for tests: scores of one's own, scripted faults, recorded requests; and how it starts and stops."""

import asyncio
import threading

import pytest

from rerank_async import AsyncRerank, Retried, Throttled, errors
from rerank_async.server import FAULTS, RateLimit
from rerank_async.testing import ScoreError, quick_options, rerank_server

TEXTS = ["a", "bbb", "bb"]


def length(query, text):
    return len(text)


@pytest.fixture
async def client(rerank_server):
    async with rerank_server.client() as made:
        yield made


def statuses(server):
    return [request.status for request in server.requests]


async def test_the_scores_are_those_of_the_function(rerank_server, client):
    rerank_server.score = length
    answer = await client.generate("q", TEXTS)
    assert [(result.index, result.score) for result in answer.results] == [(1, 3.0), (2, 2.0), (0, 1.0)]
    rerank_server.scores = lambda query, texts: [-len(text) for text in texts]
    assert rerank_server.score is None
    answer = await client.generate("q", TEXTS)
    assert [result.index for result in answer.results] == [0, 2, 1]
    rerank_server.scores = None
    answer = await client.generate("bb", TEXTS)
    assert answer.results[0].index == 2


async def test_a_request_is_recorded_with_all_it_held_but_the_token(rerank_server):
    async with rerank_server.client("any/model at all", params={"truncate_input_tokens": 9}) as client:
        await client.generate("what", TEXTS, extra_headers={"X-Mine": "yes"})
    (request,) = rerank_server.requests
    assert (request.model_id, request.query, request.texts) == ("any/model at all", "what", tuple(TEXTS))
    assert request.parameters == {"truncate_input_tokens": 9}
    assert (request.project_id, request.space_id) == (rerank_server.project_id, None)
    assert (request.status, request.fault) == (200, None)
    assert request.headers["x-mine"] == "yes"
    assert "authorization" not in request.headers
    assert request.body["inputs"] == [{"text": text} for text in TEXTS]
    assert "what" in repr(request)


@pytest.mark.parametrize("name", [name for name, kind in FAULTS.items() if kind.door == "rerank" and name != "hang"])
async def test_each_fault_is_met_by_the_request_it_was_planned_for(rerank_server, name):
    waits = []

    def observe(event):
        if isinstance(event, Retried | Throttled):
            waits.append(event.delay)

    rerank_server.score = length
    rerank_server.script({2: name})
    if name in {"slow", "drip"}:
        rerank_server.fail(name, on=2, seconds=0)
    async with rerank_server.client(observer=observe) as client:
        await client.generate("q", TEXTS)
        try:
            answer = await client.generate("q", TEXTS)
        except (errors.QuotaExceededError, errors.RedirectError):
            answer = None
    assert answer is None or [result.index for result in answer.results] == [1, 2, 0]
    faults = [request.fault for request in rerank_server.requests]
    assert faults[:2] == [None, name]
    assert set(faults[2:]) <= {None}
    assert set(waits) <= {0.0}, "nothing waits"
    if len(faults) > 2 or answer is None:
        assert rerank_server.requests[1].status in {None, 200, 307, 401, 403, 429, 500, 502, 503, 504}


async def test_a_script_is_counted_from_the_moment_it_is_set(rerank_server, client):
    await client.generate("q", TEXTS)
    rerank_server.script({1: "rate_limited", 3: "unavailable"})
    await client.generate("q", TEXTS)
    await client.generate("q", TEXTS)
    assert statuses(rerank_server) == [200, 429, 200, 503, 200]
    rerank_server.script({1: "unavailable"})
    rerank_server.script({})
    await client.generate("q", TEXTS)
    assert statuses(rerank_server)[5:] == [200]


async def test_a_numbered_fault_goes_before_one_for_every_request(rerank_server, client):
    rerank_server.fail("quota", on=[2])
    rerank_server.fail("unavailable")
    rerank_server.fail("rate_limited", on=3)
    rerank_server.fail("backend_failed", on=3)
    with pytest.raises(errors.QuotaExceededError):
        await client.generate("q", TEXTS)
    with pytest.raises(errors.ServiceError):
        await client.generate("q", TEXTS)
    assert [each.fault for each in rerank_server.requests[:4]] == [
        "unavailable",
        "quota",
        "backend_failed",
        "unavailable",
    ]


async def test_faults_of_the_token_route_count_its_requests(rerank_server, client):
    rerank_server.script({1: "iam_error", 2: "iam_rate_limited"})
    await client.generate("q", TEXTS)
    assert statuses(rerank_server) == [200]
    assert rerank_server.counts.token_requests == 3


async def test_concurrent_requests_meet_the_script_in_the_order_of_the_record(rerank_server, client):
    rerank_server.script(dict.fromkeys(range(1, 40, 3), "server_error"))
    texts = [["x" * 40_000, str(number)] for number in range(20)]
    await asyncio.gather(*(client.generate("q", each) for each in texts))
    met = [request.fault for request in rerank_server.requests]
    assert [number for number, fault in enumerate(met, 1) if fault] == [n for n in range(1, 40, 3) if n <= len(met)]
    assert len(met) == 20 + sum(fault is not None for fault in met)


async def test_a_limit_refuses_and_what_it_refused_is_recorded_too():
    limit = RateLimit(requests=2, window=0.05, retry_after=0.05)
    async with rerank_server(limit=limit) as server, server.client() as client:
        await asyncio.gather(*(client.generate("q", [str(number)]) for number in range(6)))
        assert statuses(server).count(200) == 6
        assert statuses(server).count(429) == server.counts.throttled > 0
        assert all(len(request.texts) == 1 for request in server.requests)


async def test_a_whole_number_is_a_limit_a_second():
    async with rerank_server(limit=3) as server, server.client(retries=None) as client:
        await client.warm_up()
        await client.generate("q", ["a"])
        assert (client.limit_status.source, client.limit_status.ceiling) == ("header", 3)
        assert server._settings.limit == RateLimit(requests=3)


async def test_a_scripted_429_has_no_retry_after_where_that_is_wanted():
    seen = []
    async with (
        rerank_server(retry_after=None, script={1: "rate_limited"}) as server,
        server.client(observer=seen.append) as client,
    ):
        await client.generate("q", TEXTS)
    assert [event.retry_after for event in seen if isinstance(event, Throttled)] == [None]


async def test_known_models_may_be_named():
    async with rerank_server(models=["mine"]) as server:
        async with server.client("mine") as client:
            assert [spec.model_id for spec in await client.model_specs()] == ["mine"]
            await client.generate("q", TEXTS)
        async with server.client("yours") as client:
            with pytest.raises(errors.ModelNotSupportedError, match="Supported: mine"):
                await client.generate("q", TEXTS)


async def test_a_client_of_ones_own_reads_the_environment(rerank_server, monkeypatch):
    for name, value in rerank_server.environ.items():
        monkeypatch.setenv(name, value)
    async with AsyncRerank("any/model", **quick_options()) as client:
        assert (await client.generate("q", TEXTS)).results
    async with AsyncRerank(
        "m", credentials=rerank_server.credentials, project_id=rerank_server.project_id, **quick_options()
    ) as client:
        assert (await client.generate("q", TEXTS)).results


async def test_a_revoked_token_costs_one_more(rerank_server, client):
    await client.generate("q", TEXTS)
    rerank_server.revoke_tokens()
    await client.generate("q", TEXTS)
    assert statuses(rerank_server) == [200, 401, 200]
    assert rerank_server.requests[1].texts == tuple(TEXTS)


async def test_reset_goes_back_to_how_it_was_made():
    async with rerank_server(score=length, script={1: "rate_limited"}) as server, server.client() as client:
        await client.generate("q", TEXTS)
        server.score = lambda query, text: 1 / 0
        server.fail("unavailable", on=2)
        with pytest.raises(errors.BadRequestError):
            await client.generate("q", TEXTS)
        server.reset()
        assert server.requests == ()
        assert server.errors == []
        assert (await client.generate("q", TEXTS)).results[0].score == 3
        assert statuses(server) == [429, 200]


# Score functions that are wrong


async def broken(data, text):
    raise AssertionError("never called")


WRONG = [
    ("score", lambda query, text: 1 / 0 if text == "bbb" else 1, "raised ZeroDivisionError for text 1: division by"),
    ("score", lambda query, text: float("nan"), "returned nan for text 0; a score is a finite number"),
    ("score", lambda query, text: float("inf"), "returned inf for text 0"),
    ("score", lambda query, text: 10**400, "returned inf for text 0"),
    ("score", lambda query, text: "high", "returned a value of type str for text 0; a score is a number"),
    ("score", lambda query, text: True, "returned a value of type bool for text 0"),
    ("score", lambda query, text: None, "returned None for text 0"),
    ("score", lambda query, text: broken(text, query), "returned a value of type coroutine for text 0"),
    ("score", lambda query: 1, "raised TypeError for text 0"),
    ("score", lambda query, text: pytest.fail("no"), "raised Failed for text 0: no"),
    ("scores", lambda query, texts: [1.0], "returned 1 scores for 3 texts; it must return one for each"),
    ("scores", lambda query, texts: [1, 2, None], "returned None for text 2"),
    ("scores", lambda query, texts: 5, "returned a value of type int for 3 texts; it must return a list of numbers"),
    ("scores", lambda query, texts: dict.fromkeys(texts, 1), "returned a value of type dict for 3 texts"),
    ("scores", lambda query, texts: (1 / 0 for text in texts), "raised ZeroDivisionError for 3 texts"),
    ("scores", lambda query, texts: broken(texts, query), "returned a value of type coroutine for 3 texts"),
]


@pytest.mark.parametrize(("kind", "function", "words"), WRONG)
async def test_a_wrong_score_function_reaches_the_author(kind, function, words):
    async with rerank_server() as server, server.client() as client:
        setattr(server, kind, function)
        with pytest.raises(errors.BadRequestError) as caught:
            await client.generate("q", TEXTS)
        assert caught.value.code == "score_function_failed"
        assert words in str(caught.value)
        assert "test_testing_server.py:" in str(caught.value), "where the function stands"
        assert statuses(server) == [400], "not retried"
        (error,) = server.errors
        assert words in str(error)
        assert words in server.report()
        server.errors.clear()


async def test_it_is_raised_at_the_end_with_the_original_as_its_cause():
    with pytest.raises(ScoreError, match="raised ZeroDivisionError for text 0") as caught:  # noqa: PT012
        async with rerank_server(score=lambda query, text: 1 / 0) as server, server.client() as client:
            for _ in range(2):
                with pytest.raises(errors.BadRequestError):
                    await client.generate("q", TEXTS)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert caught.value.index == 0
    assert caught.value.__notes__ == ["1 more errors of the score function are in `errors`"]


def test_it_is_a_note_on_the_exception_that_is_on_its_way():
    async def ask(server):
        async with server.client() as client:
            await client.generate("q", TEXTS)

    with pytest.raises(errors.BadRequestError) as caught, rerank_server(scores=lambda query, texts: []) as server:
        asyncio.run(ask(server))
    (note,) = caught.value.__notes__
    assert "returned 0 scores for 3 texts" in note


# Wrong arguments


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        (
            {"script": {2: "rate_limit"}},
            ValueError,
            r"no fault 'rate_limit'\. Did you mean 'rate_limited'\? The faults",
        ),
        ({"script": {0: "quota"}}, ValueError, "number of a request, the next one is 1, is at least 1, not 0"),
        ({"script": {"1": "quota"}}, TypeError, "is a whole number, not '1'"),
        ({"script": {True: "quota"}}, TypeError, "is a whole number, not True"),
        ({"script": {1: None}}, TypeError, "named by a string, not by a NoneType"),
        ({"script": ["quota"]}, TypeError, "maps numbers of requests to names of faults; it is not a list"),
        ({"score": length, "scores": length}, ValueError, "not both"),
        ({"score": 5}, TypeError, "score must be a function, not a value of type int"),
        ({"scores": broken}, TypeError, "scores must be a plain function, not a coroutine function"),
        ({"limit": 0}, ValueError, "limit .* is at least 1, not 0"),
        ({"limit": "fast"}, TypeError, "limit .* is a whole number, not 'fast'"),
        ({"limit": True}, TypeError, "limit"),
        ({"latency": -1}, ValueError, "Latency.base"),
        ({"retry_after": -1}, ValueError, "retry_after"),
        ({"token_lifetime": 0}, ValueError, "token_lifetime"),
        ({"models": "one"}, TypeError, "models must be a list of model ids, not str"),
        ({"models": [""]}, ValueError, "an id in models is empty"),
        ({"api_key": 5}, TypeError, "api_key must be a str"),
        ({"project_id": ""}, ValueError, "project_id is empty"),
    ],
)
def test_a_wrong_argument_is_named(options, kind, words):
    with pytest.raises(kind, match=words):
        rerank_server(**options)


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ({"name": "hangs"}, ValueError, "Did you mean 'hang'"),
        ({"name": "hang", "on": 0}, ValueError, "at least 1"),
        ({"name": "hang", "on": []}, ValueError, "on names no request"),
        ({"name": "slow", "seconds": -1}, ValueError, "Fault.seconds"),
        ({"name": 5}, TypeError, "named by a string"),
    ],
)
def test_a_wrong_fault_is_named_and_changes_nothing(rerank_server, arguments, kind, words):
    with pytest.raises(kind, match=words):
        rerank_server.fail(**arguments)
    assert rerank_server._script.waiting() == []
    assert rerank_server._script.next("rerank") is None


# Starting and stopping


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "rerank-server"]


def test_it_stops_with_work_in_flight_and_leaves_no_thread():
    async def hang(server):
        async with server.client() as client:
            with pytest.raises(errors.DeadlineExceededError):
                await client.generate("q", TEXTS, timeout=0.05)

    with rerank_server() as server:
        assert len(threads()) == 1
        server.fail("hang")
        asyncio.run(hang(server))
        assert statuses(server)[0] is None
    assert threads() == []


async def test_it_stops_also_where_the_caller_is_cancelled():
    entered = asyncio.Event()

    async def hold():
        async with rerank_server():
            entered.set()
            await asyncio.sleep(3600)

    task = asyncio.create_task(hold())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert threads() == []


async def test_a_start_that_is_cancelled_leaves_no_thread():
    task = asyncio.create_task(rerank_server().__aenter__())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    for thread in threads():
        await asyncio.to_thread(thread.join)
    assert threads() == []


def test_a_start_that_fails_raises_here_and_leaves_no_thread(monkeypatch):
    monkeypatch.setattr("rerank_async.testing.server._HOST", "203.0.113.1")
    server = rerank_server()
    with pytest.raises(OSError, match=r"203\.0\.113\.1"), server:
        pass
    for thread in threads():
        thread.join()
    assert threads() == []


def test_it_runs_once_and_says_so_before_and_after():
    server = rerank_server()
    with pytest.raises(RuntimeError, match="does not run yet"):
        server.revoke_tokens()
    assert server.url == ""
    with server:
        assert server.url.startswith("http://127.0.0.1:")
    with pytest.raises(RuntimeError, match="runs once"), server:
        pass
    assert "0 rerank requests" in server.report()
