"""Every way in, live: which routes are asked how often, renewal, revocation, and what the wrong secret gives."""

import asyncio
import math

import pytest
from support.clients import client_for
from support.passages import pairs
from support.ways import IAM, SETTINGS, WAYS

from rerank_async import LimitOptions
from rerank_async.errors import AuthenticationError, RedirectError
from rerank_async.server import Fault, serve

WIDE = LimitOptions(requests_per_second=math.inf, max_concurrency=200)
BREAD = ((0, 1.0), (1, 0.0))

EVERY = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
RENEWED = pytest.mark.parametrize(
    "way",
    [way for name, way in WAYS.items() if name not in {"bearer", "zen", "profile_by_token"}],
    ids=[name for name in WAYS if name not in {"bearer", "zen", "profile_by_token"}],
)
ASKING = pytest.mark.parametrize(
    "way", [way for way in WAYS.values() if way.path], ids=[name for name, way in WAYS.items() if way.path]
)


async def rank_bread(client):
    return pairs(await client.generate("bread", ["bread", "x"]))


def way_client(server, way, **options):
    return client_for(server, credentials={"url": server.url, **way.fields(server)}, limits=WIDE, **options)


@EVERY
async def test_five_hundred_first_calls_make_one_exchange(way):
    async with serve(**SETTINGS, token_latency=0.02) as server, way_client(server, way) as client:
        outcomes = await asyncio.gather(*(rank_bread(client) for _ in range(500)))
    assert outcomes == [BREAD] * 500
    assert server.counts.token_requests == way.requests
    assert server.counts.statuses == {200: 500}


@RENEWED
async def test_a_token_that_is_revoked_under_two_hundred_calls_is_renewed_once(way):
    async with serve(**SETTINGS) as server, way_client(server, way) as client:
        assert await rank_bread(client) == BREAD
        exchanges = client.api_client.channel().tokens.exchanges
        server.revoke_tokens()
        assert await asyncio.gather(*(rank_bread(client) for _ in range(200))) == [BREAD] * 200
        assert client.api_client.channel().tokens.exchanges - exchanges == 1
    assert server.counts.token_requests == 2 * way.requests
    assert server.counts.statuses[401] > 0


@pytest.mark.parametrize("name", ["bearer", "profile_by_token"])
async def test_what_cannot_be_renewed_says_so_after_a_revocation(name):
    async with serve(**SETTINGS) as server, way_client(server, WAYS[name]) as client:
        assert await rank_bread(client) == BREAD
        server.revoke_tokens()
        with pytest.raises(AuthenticationError) as caught:
            await rank_bread(client)
    assert "token" in str(caught.value)


WRONG = {
    "iam": {"api_key": "wrong"},
    "profile_by_key": {"api_key": "wrong"},
    "profile_by_token": {"trusted_profile_id": "wrong"},
    "cp4d_password": {"password": "wrong"},
    "cp4d_key": {"api_key": "wrong"},
    "cp4d_iam": {"password": "wrong"},
    "zen": {"api_key": "wrong"},
    "mcsp": {"api_key": "wrong"},
    "bearer": {"token": "wrong.wrong.wrong"},
}


@pytest.mark.parametrize("name", WRONG)
async def test_a_wrong_secret_is_an_authentication_error_at_once(name):
    way = WAYS[name]
    async with serve(**SETTINGS) as server:
        credentials = {"url": server.url, **way.fields(server), **WRONG[name]}
        async with client_for(server, credentials=credentials) as client:
            outcomes = await asyncio.gather(*(rank_bread(client) for _ in range(20)), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {AuthenticationError}
    if way.path:
        assert server.counts.rerank == 0
        assert server.counts.token_requests <= 2
        assert all(server.url in str(outcome) for outcome in outcomes)


@ASKING
@pytest.mark.parametrize("fault", ["iam_unavailable", "iam_rate_limited", "iam_reset", "iam_no_token"])
async def test_a_token_route_that_fails_twice_is_asked_again(way, fault):
    async with serve(**SETTINGS, faults=[Fault(fault, nth=(1, 2))]) as server, way_client(server, way) as client:
        assert await asyncio.gather(*(rank_bread(client) for _ in range(20))) == [BREAD] * 20
    assert server.counts.faults[fault] == 2


@ASKING
async def test_a_redirect_of_a_token_route_is_an_error_that_names_the_target(way):
    """The target does not exist: to look it up would fail the test, and nothing else is asked."""
    async with serve(**SETTINGS, faults={"iam_redirect": 1.0}) as server, way_client(server, way) as client:
        with pytest.raises(RedirectError, match=r"redirects to 'https://elsewhere\.invalid"):
            await rank_bread(client)
    assert (server.counts.token_requests, server.counts.rerank) == (1, 0)


@EVERY
async def test_which_flow_is_used_is_told(way):
    async with serve(**SETTINGS) as server, way_client(server, way) as client:
        assert await rank_bread(client) == BREAD
        assert client.api_client.flow.name == way.flow
        granted = client.api_client.channel().tokens.granted
    if way.path:
        assert granted.url == server.url + way.path
    assert (way.path == IAM) == (way.flow in {"iam", "trusted_profile"})
