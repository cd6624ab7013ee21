"""The rate limit at the door, over HTTP and with the door's clock in hand."""

import aiohttp
import pytest

from rerank_async.server import LexicalScorer, RateLimit, serve

BODY = {"model_id": "lexical", "query": "q", "inputs": [{"text": "a"}], "project_id": "local-project"}


@pytest.fixture
async def http():
    async with aiohttp.ClientSession() as session:
        yield session


async def post(http, server, token=None, body=BODY):
    headers = {"Authorization": f"Bearer {token or server.issue_token()}"}
    url = server.url + "/ml/v1/text/rerank?version=2024-10-18"
    async with http.post(url, headers=headers, json=body) as answer:
        return answer, await answer.json()


def windows(**options):
    # An hour long, so that no test depends on how fast it runs.
    return RateLimit(requests=2, window=3600, kind="sliding_window", **options)


async def test_requests_above_the_limit_get_the_services_429(http):
    async with serve(limit=windows()) as server:
        answers = [await post(http, server) for _ in range(4)]
        assert [answer.status for answer, _ in answers] == [200, 200, 429, 429]
        assert [answer.headers["x-requests-limit-rate"] for answer, _ in answers] == ["2"] * 4
        assert [answer.headers["x-requests-limit-remaining"] for answer, _ in answers] == ["1", "0", "0", "0"]
        assert (server.counts.throttled, server.counts.rerank, server.counts.inputs) == (2, 4, 2)
    error = answers[2][1]["errors"][0]
    assert error["code"] == "rate_limit_reached_requests"
    assert error["message"].startswith("Rate limit of 2 requests per 3600s was reached for instance id ")
    assert error["message"].endswith(", plan v2-standard)")
    assert "Retry-After" not in answers[2][0].headers


async def test_the_message_of_the_default_limit_is_that_of_a_production_instance(http):
    async with serve(faults={"rate_limited": 1.0}) as server:
        _, value = await post(http, server)
    assert value["errors"][0]["message"].startswith("Rate limit of 8 requests per 1s was reached for instance id ")


async def test_headers_can_be_left_out_and_retry_after_put_in(http):
    async with serve(limit=windows(headers=False, retry_after=7)) as server:
        answers = [(await post(http, server))[0] for _ in range(3)]
    assert "x-requests-limit-rate" not in answers[0].headers
    assert [answer.headers.get("Retry-After") for answer in answers] == [None, None, "7"]


async def test_retry_after_is_the_time_until_the_next_permit(http):
    async with serve(limit=windows(retry_after=True)) as server:
        answers = [(await post(http, server))[0] for _ in range(3)]
    assert 3000 < int(answers[2].headers["Retry-After"]) <= 3600


async def test_a_bad_token_costs_no_permit_and_a_bad_body_costs_one(http):
    async with serve(limit=windows()) as server:
        assert (await post(http, server, token="a.b.c"))[0].status == 401
        assert (await post(http, server, body=[]))[0].status == 400
        assert (await post(http, server))[0].status == 200
        assert (await post(http, server))[0].status == 429


async def test_the_token_route_is_not_limited(http):
    form = {"grant_type": "urn:ibm:params:oauth:grant-type:apikey", "apikey": "local-api-key"}
    async with serve(limit=RateLimit(requests=1, window=3600)) as server:
        for _ in range(3):
            async with http.post(server.token_url, data=form) as answer:
                assert answer.status == 200
        assert (server.counts.tokens, server.counts.throttled) == (3, 0)


async def test_latency_is_waited_for_every_admitted_request(http, monkeypatch):
    waited = []

    async def sleep(delay):
        waited.append(delay)

    monkeypatch.setattr("rerank_async.server.doors.asyncio.sleep", sleep)
    async with serve(scorers={"lexical": LexicalScorer()}, latency=0.25, limit=windows()) as server:
        for _ in range(3):
            await post(http, server)
    assert waited.count(0.25) == 2
