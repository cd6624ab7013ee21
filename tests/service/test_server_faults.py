"""Every named fault, as a client sees it."""

import asyncio
import json

import aiohttp
import pytest

from rerank_async.server import FAULTS, Fault, serve

TEXTS = [f"text number {number}" for number in range(6)]
GRANT = "urn:ibm:params:oauth:grant-type:apikey"


async def until(condition):
    while not condition():  # noqa: ASYNC110 - the server's counters have no event
        await asyncio.sleep(0)


async def ask(http, server):
    body = {"model_id": "lexical", "query": "number 3", "inputs": [{"text": text} for text in TEXTS]}
    answer = await http.post(
        server.url + "/ml/v1/text/rerank?version=2024-10-18",
        headers={"Authorization": f"Bearer {server.issue_token()}"},
        json=body | {"project_id": "local-project"},
        allow_redirects=False,
    )
    return answer, await answer.read()


@pytest.fixture
async def http():
    async with aiohttp.ClientSession() as session:
        yield session


async def met(http, name, **options):
    async with serve(faults=[Fault(name, nth=(1,), **options)]) as server:
        answer, content = await ask(http, server)
        assert server.requests[0].fault == name
        assert server.counts.faults == {name: 1}
        again, _ = await ask(http, server)
        assert (again.status, server.requests[1].fault) == (200, None)
    return answer, content


ERRORS = {
    "rate_limited": (429, "rate_limit_reached_requests"),
    "pool_full": (429, "consumption_limit_reached"),
    "quota": (403, "token_quota_reached"),
    "server_error": (500, "internal_server_error"),
    "backend_failed": (500, "downstream_request_failed"),
    "no_trace": (500, "downstream_request_failed"),
    "token_expired": (401, "authentication_token_expired"),
    "token_rejected": (401, "authentication_token_not_valid"),
}
PAGES = {"bad_gateway": 502, "unavailable": 503, "gateway_timeout": 504, "nonsense_html": 200}


@pytest.mark.parametrize("name", ERRORS)
async def test_a_refusing_fault_has_its_status_and_code(http, name):
    answer, content = await met(http, name)
    value = json.loads(content)
    assert (answer.status, value["errors"][0]["code"]) == ERRORS[name]
    assert ("trace" in value) is (name != "no_trace")


@pytest.mark.parametrize("name", PAGES)
async def test_a_gateways_fault_is_a_page(http, name):
    answer, content = await met(http, name)
    assert (answer.status, answer.content_type) == (PAGES[name], "text/html")
    assert content.startswith(b"<html>")


async def test_an_empty_error_is_empty(http):
    answer, content = await met(http, "empty_error")
    assert (answer.status, content) == (503, b"")


async def test_a_redirect_leads_elsewhere(http):
    answer, _ = await met(http, "redirect")
    assert (answer.status, answer.headers["Location"]) == (307, "https://elsewhere.invalid/ml/v1/text/rerank")


async def results(http, name):
    answer, content = await met(http, name)
    assert answer.status == 200
    return json.loads(content)["results"]


async def honest(http):
    async with serve() as server:
        return json.loads((await ask(http, server))[1])["results"]


async def test_faults_in_the_results_change_what_they_say_and_nothing_else(http):
    right = await honest(http)
    indices = sorted(result["index"] for result in right)
    assert indices == list(range(6))

    missing = await results(http, "missing_result")
    assert len(missing) == 5
    assert all(result in right for result in missing)

    twice = await results(http, "duplicate_index")
    assert twice[:6] == right
    assert twice[6] in right

    wrong = await results(http, "wrong_index")
    assert sum(result["index"] not in indices for result in wrong) == 1

    not_a_number = [result["score"] for result in await results(http, "nan_score")]
    assert sum(score != score for score in not_a_number) == 1

    shuffled = await results(http, "unsorted")
    assert shuffled != right
    assert sorted(shuffled, key=lambda result: (-result["score"], result["index"])) == right

    extra = await results(http, "extra_fields")
    assert [{"index": result["index"], "score": result["score"]} for result in extra] == right
    assert all("new_field" in result for result in extra)


async def test_half_a_document_is_complete_as_http(http):
    answer, content = await met(http, "truncated_json")
    assert (answer.status, int(answer.headers["Content-Length"])) == (200, len(content))
    with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
        json.loads(content)


async def test_nonsense_is_json_without_results(http):
    _, content = await met(http, "nonsense_json")
    assert not isinstance(json.loads(content)["results"], list)


async def test_slow_and_drip_answer_honestly(http):
    right = await honest(http)
    for name in ("slow", "drip"):
        answer, content = await met(http, name, seconds=0)
        assert (answer.status, json.loads(content)["results"]) == (200, right)


async def test_slow_waits_for_its_seconds(http, monkeypatch):
    waited = []

    async def sleep(delay):
        waited.append(delay)

    monkeypatch.setattr("rerank_async.server.misbehaviour.asyncio.sleep", sleep)
    await met(http, "slow", seconds=123)
    assert 123 in waited


async def test_a_reset_before_the_first_byte_is_a_lost_connection(http):
    async with serve(faults=[Fault("reset_before", nth=(1,))]) as server:
        with pytest.raises(aiohttp.ClientOSError):
            await ask(http, server)
        assert (await ask(http, server))[0].status == 200
        assert [(arrival.status, arrival.fault) for arrival in server.requests] == [(None, "reset_before"), (200, None)]


async def test_a_reset_inside_leaves_half_a_body(http):
    async with serve(faults=[Fault("reset_inside", nth=(1,))]) as server:
        with pytest.raises(aiohttp.ClientPayloadError):
            await ask(http, server)
        assert (await ask(http, server))[0].status == 200


async def test_a_hanging_request_ends_when_its_client_leaves(http):
    async with serve(faults=[Fault("hang", nth=(1,))]) as server:
        request = asyncio.create_task(ask(http, server))
        await until(lambda: server.counts.faults)
        assert server.counts.in_flight == 1
        request.cancel()
        await until(lambda: not server.counts.in_flight)
        assert [(arrival.status, arrival.fault) for arrival in server.requests] == [(None, "hang")]


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("iam_error", 500),
        ("iam_rate_limited", 429),
        ("iam_html", 502),
        ("iam_unavailable", 503),
        ("iam_nonsense", 200),
        ("iam_redirect", 307),
    ],
)
async def test_the_token_route_has_faults_of_its_own(http, name, status):
    form = {"grant_type": GRANT, "apikey": "local-api-key"}
    async with serve(faults=[Fault(name, nth=(1,))]) as server:
        async with http.post(server.token_url, data=form, allow_redirects=False) as answer:
            content = await answer.read()
        assert answer.status == status
        starts = {"iam_error": b'{"errorCode":', "iam_rate_limited": b'{"errorCode":', "iam_redirect": b""}
        assert content.startswith(starts.get(name, b"<html>"))
        async with http.post(server.token_url, data=form) as answer:
            assert answer.status == 200
        assert (server.counts.token_requests, server.counts.tokens, server.counts.faults) == (2, 1, {name: 1})


async def test_the_token_route_may_cut_or_be_late(http, monkeypatch):
    waited = []

    async def sleep(delay):
        waited.append(delay)

    form = {"grant_type": GRANT, "apikey": "local-api-key"}
    async with serve(faults=[Fault("iam_reset", nth=(1,)), Fault("iam_slow", nth=(2,), seconds=123)]) as server:
        with pytest.raises(aiohttp.ClientOSError):
            await http.post(server.token_url, data=form)
        monkeypatch.setattr("rerank_async.server.misbehaviour.asyncio.sleep", sleep)
        async with http.post(server.token_url, data=form) as answer:
            assert "access_token" in await answer.json()
    assert 123 in waited


async def test_throttled_and_refused_requests_are_not_counted_for_nth(http):
    async with serve(faults=[Fault("quota", nth=(1,))]) as server:
        async with http.post(server.url + "/ml/v1/text/rerank?version=2024-10-18", json={}) as answer:
            assert answer.status == 401
        assert (await ask(http, server))[0].status == 403


def test_every_fault_is_tested_here():
    altered = {"missing_result", "duplicate_index", "wrong_index", "nan_score", "unsorted", "extra_fields"}
    ways = {
        "empty_error",
        "redirect",
        "truncated_json",
        "nonsense_json",
        "slow",
        "drip",
        "reset_before",
        "reset_inside",
    }
    tokens = {name for name, kind in FAULTS.items() if kind.door == "token"}
    answers = {"iam_error", "iam_rate_limited", "iam_html", "iam_unavailable", "iam_nonsense", "iam_redirect"}
    of_all_routes = {"iam_no_token", "iam_expired_token"}  # in test_server_identity.py
    assert tokens == answers | of_all_routes | {"iam_reset", "iam_slow", "iam_hang"}
    assert set(FAULTS) == {*ERRORS, *PAGES, *altered, *ways, "hang", *tokens}
