"""The benchmarks' server, in the process of its own in which the benchmarks use it."""

import sys
from collections import Counter
from pathlib import Path

import aiohttp
import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import bare
from harness import Place, bench_server, client, is_right, outcomes, passages

from rerank_async import LimitOptions, RetryOptions
from rerank_async.errors import BadRequestError, InputTooLongError, RateLimitError

UNPACED = LimitOptions(requests_per_second=float("inf"))
TEXTS = passages(10)


@pytest.fixture(scope="module")
def control_url():
    with bench_server() as url:
        yield url


@pytest.fixture
async def place(control_url):
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        yield Place("bucket", True, session, 0, control_url)


async def test_it_ranks_for_our_client_and_for_the_raw_one_and_notes_who_came(place):
    door = await place.open(base=0.0)
    async with client(door.url, limits=UNPACED) as ours:
        assert is_right(await ours.generate("ours", TEXTS), TEXTS)
    assert len(await bare.post(place.session, door.url, "raw", TEXTS[:3])) == 3
    assert [(each.tag, each.inputs, each.outcome) for each in await door.log()] == [
        ("ours", 10, "ok"),
        ("raw", 3, "ok"),
    ]


@pytest.mark.parametrize(
    ("settings", "rate", "words"),
    [
        ({"header": True}, "1", "Slow down"),
        ({"header": "banana", "text": True}, "banana", "Rate limit of 1 requests per 1s was reached"),
        ({}, None, "Slow down"),
    ],
    ids=["header", "wrong header and text", "neither"],
)
async def test_it_tells_its_limit_as_it_is_told_to(place, settings, rate, words):
    door = await place.open(base=0.0, rate=1, **settings)
    await bare.post(place.session, door.url, "first", TEXTS)
    body = {"query": "second", "inputs": [{"text": "a text"}]}
    async with place.session.post(door.url + bare.PATH, json=body) as answer:
        assert (answer.status, answer.headers.get("x-requests-limit-rate")) == (429, rate)
        assert words in (await answer.json())["errors"][0]["message"]
    assert outcomes(await door.log()) == {"ok": 1, "limited": 1}


@pytest.mark.parametrize("fault", ["500", "503", "reset", "truncated", "429"])
async def test_it_breaks_what_it_is_told_to_and_no_more_once_that_changes(place, fault):
    door = await place.open(base=0.0, faults={fault: 1.0})
    for _ in range(2):  # resets come in two kinds
        with pytest.raises((aiohttp.ClientError, ValueError)):
            await bare.post(place.session, door.url, "query", TEXTS)
    await door.change(faults={})
    await bare.post(place.session, door.url, "query", TEXTS)
    assert outcomes(await door.log()) == Counter({fault: 2, "ok": 1})


async def test_it_refuses_what_is_too_long_and_whatever_else_it_should(place):
    door = await place.open(base=0.0, max_words=20)
    long = [*TEXTS, "word " * 21]
    async with client(door.url, limits=UNPACED) as ours:
        with pytest.raises(InputTooLongError):
            await ours.generate("query", [*TEXTS[:2], "word " * 21])
        assert len((await ours.generate("query", long, {"truncate_input_tokens": 20})).results) == 11
        await door.change(max_words=None, refused=True)
        with pytest.raises(BadRequestError) as caught:
            await ours.generate("query", TEXTS)
    assert caught.value.code == "invalid_input_argument"
    assert not isinstance(caught.value, InputTooLongError)


async def test_it_is_back_at_its_port_after_an_outage(place):
    door = await place.open(base=0.0)
    await bare.post(place.session, door.url, "before", TEXTS)
    await door.shut(0.0)
    await bare.with_backoff(place.session, door.url, "after", TEXTS)
    assert [each.tag for each in await door.log()] == ["before", "after"]


async def test_a_door_without_pity_is_seen_by_our_client_too(place):
    door = await place.open(base=0.0, faults={"429": 1.0}, stray_header="0")
    async with client(door.url, limits=UNPACED, retries=RetryOptions(max_throttled=0)) as ours:
        with pytest.raises(RateLimitError):
            await ours.generate("query", TEXTS)
