"""Clients that share tokens, functions that give them, and what credentials say of the project: against a live server."""

import asyncio
import time

import pytest
from aiohttp import web
from support.clients import QUICK, UNPACED, client_for, until
from support.passages import pairs
from support.services import grant, refusal, service

from rerank_async import AsyncAPIClient, AsyncRerank, Credentials, MemoryTokenStore, Token
from rerank_async.errors import AuthenticationError, InvalidTypeError

BREAD = ((0, 1.0), (1, 0.0))


def api_client_for(server, store=None, **fields):
    credentials = Credentials(server.url, **fields or {"api_key": server.api_key})
    return AsyncAPIClient(credentials, server.project_id, limits=UNPACED, retries=QUICK, tokens=store)


async def rank_bread(api_client):
    return pairs(await AsyncRerank("lexical", api_client=api_client).generate("bread", ["bread", "x"]))


async def test_two_clients_with_one_store_ask_for_one_token(server):
    store = MemoryTokenStore()
    async with api_client_for(server, store) as first, api_client_for(server, store) as second:
        calls = [rank_bread(client) for client in (first, second) for _ in range(20)]
        assert await asyncio.gather(*calls) == [BREAD] * 40
        assert server.counts.token_requests == 1
        server.revoke_tokens()
        assert await asyncio.gather(*(rank_bread(client) for client in (first, second))) == [BREAD] * 2
    assert server.counts.token_requests == 2


async def test_a_store_outlives_its_clients(server):
    store = MemoryTokenStore()
    for _ in range(3):
        async with api_client_for(server, store) as client:
            assert await rank_bread(client) == BREAD
    assert server.counts.token_requests == 1


async def test_without_a_common_store_each_client_asks_for_itself(server):
    async with api_client_for(server) as first, api_client_for(server) as second:
        assert await rank_bread(first) == await rank_bread(second) == BREAD
    assert server.counts.token_requests == 2


async def test_when_the_client_that_asks_is_closed_the_other_one_asks():
    hold = asyncio.Event()

    async def slowly(seen):
        if seen.number == 1:
            await hold.wait()
        return grant(seen)

    store = MemoryTokenStore()
    async with service(token=slowly) as running, api_client_for(running, store) as second:
        first = api_client_for(running, store)
        doomed = asyncio.create_task(rank_bread(first))
        await until(lambda: running.token_requests)
        waiting = asyncio.create_task(rank_bread(second))
        await asyncio.sleep(0)
        await first.aclose()
        assert await waiting == BREAD
        hold.set()
        assert type((await asyncio.gather(doomed, return_exceptions=True))[0]).__name__ == "ClientClosedError"
    assert len(running.token_requests) == 2


async def test_a_store_of_one_s_own():
    class Store(dict):
        put = dict.__setitem__

        def drop(self, key, token):
            if self.get(key) == token:
                del self[key]

    store = Store()
    async with service() as running, api_client_for(running, store) as first, api_client_for(running, store) as second:
        assert await rank_bread(first) == await rank_bread(second) == BREAD
        assert len(running.token_requests) == 1
        ((key, token),) = store.items()
        assert key.startswith(f"iam:{running.url}/identity/token:")
        assert running.api_key not in key
        assert isinstance(token, Token)
        assert "made-up" not in repr(token)


@pytest.mark.parametrize("bad", [5, "store", [], object()], ids=["int", "str", "list", "object"])
def test_what_is_no_store_is_refused(bad):
    with pytest.raises(InvalidTypeError, match="tokens must be a MemoryTokenStore, or have its get, put and drop"):
        AsyncAPIClient(Credentials("http://127.0.0.1:9", "k"), "p", tokens=bad)


# Functions


async def test_a_function_that_blocks_does_not_block_the_loop(server):
    ticks = 0

    def token_function():
        before = ticks
        deadline = time.monotonic() + 30
        while ticks < before + 5 and time.monotonic() < deadline:
            time.sleep(0.001)
        return server.issue_token()

    async def tick():
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    ticking = asyncio.create_task(tick())
    async with api_client_for(server, token_function=token_function) as client:
        assert await rank_bread(client) == BREAD
    ticking.cancel()
    assert ticks >= 5
    assert server.counts.token_requests == 0


async def test_the_token_of_a_function_is_renewed_after_a_401(server):
    made = []

    async def atoken_function():
        made.append(server.issue_token())
        return made[-1]

    async with api_client_for(server, atoken_function=atoken_function) as client:
        assert await rank_bread(client) == BREAD
        server.revoke_tokens()
        assert await rank_bread(client) == BREAD
    assert len(made) == 2


async def test_a_function_whose_tokens_are_never_taken_is_an_authentication_error_after_two():
    made = []

    def token_function():
        made.append(f"made-up-{len(made)}")
        return made[-1]

    def refuse(seen):
        return refusal(401, "authentication_token_not_valid")

    async with service(answer=refuse) as running, api_client_for(running, token_function=token_function) as client:
        with pytest.raises(AuthenticationError) as raised:
            await rank_bread(client)
    assert raised.value.status == 401
    assert len(made) == len(running.seen) == 2


async def test_two_functions_do_not_share_a_token_by_a_common_store(server):
    store = MemoryTokenStore()
    async with (
        api_client_for(server, store, token_function=server.issue_token) as first,
        api_client_for(server, store, token_function=lambda: "made-up") as second,
    ):
        assert await rank_bread(first) == BREAD
        with pytest.raises(AuthenticationError):
            await rank_bread(second)


# The project


async def test_the_credentials_may_name_the_project(server, monkeypatch):
    monkeypatch.setenv("WATSONX_PROJECT_ID", "another")
    credentials = {"url": server.url, "apikey": server.api_key, "project_id": server.project_id}
    async with AsyncRerank("lexical", credentials=credentials) as client:
        assert client.api_client.project_id == server.project_id
        assert pairs(await client.generate("bread", ["bread", "x"])) == BREAD
    assert AsyncAPIClient(credentials, space_id="s").project_id is None, "an argument wins over them"


async def test_the_life_of_a_token_that_says_only_its_end_is_known():
    def ends(seen):
        return web.json_response({"access_token": f"made-up-{seen.number}", "expiration": time.time() + 2})

    async with service(token=ends) as running, client_for(running) as client:
        await client.generate("bread", ["a"])
        token = client.api_client.channel().tokens.alive()
        assert 0.0 < token.expires_at - time.monotonic() <= 2.0
