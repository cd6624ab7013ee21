"""Answers are capped in size, whatever their headers say, and nothing is tried again."""

import gzip
import json

import pytest
from aiohttp import web
from aiohttp.client_proto import ResponseHandler
from support.clients import client_for
from support.passages import pairs
from support.services import honest, raw_service, service

from rerank_async.errors import AnswerTooLargeError, BadAnswerError
from rerank_async.runtime import http

LIMIT = 200_000


@pytest.fixture(autouse=True)
def _small_limits(monkeypatch):
    """The real ones take a while to fill; the defaults of a function are bound when it is made."""
    monkeypatch.setitem(http.Http.send.__kwdefaults__, "limit", LIMIT)


def padded(size):
    """An honest answer of so many bytes: an unknown field carries the rest."""

    def answer(seen):
        bare = honest(seen, padding="").body
        return honest(seen, padding="x" * (size - len(bare)))

    return answer


def packed(size):
    def answer(seen):
        body = padded(size)(seen).body
        return web.Response(
            body=gzip.compress(body), headers={"Content-Encoding": "gzip", "Content-Type": "application/json"}
        )

    return answer


def chunked(size):
    def answer(seen):
        response = padded(size)(seen)
        response.enable_chunked_encoding()
        return response

    return answer


FORMS = pytest.mark.parametrize("form", [padded, packed, chunked])


@FORMS
async def test_an_answer_of_the_limit_passes(form):
    async with service(form(LIMIT)) as running, client_for(running) as client:
        assert pairs(await client.generate("bread", ["bread"])) == ((0, 1.0),)
        await client.generate("bread", ["bread"])
    assert len(running.connections) == 1, "the connection was kept"


@FORMS
async def test_a_larger_one_is_an_error_at_once(form):
    async with service(form(LIMIT + 1)) as running, client_for(running) as client:
        with pytest.raises(AnswerTooLargeError, match=r"rerank \(status 200\) is larger than 200,000 bytes") as caught:
            await client.generate("bread", ["bread"])
        assert isinstance(caught.value, BadAnswerError)
        assert caught.value.attempts == 1
    assert len(running.seen) == 1


async def test_an_endless_answer_is_not_read_to_its_end():
    async def endless(number, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
        while not writer.is_closing():
            writer.write(b" " * 10_000)
            await writer.drain()

    async with raw_service(endless) as running:
        client = client_for(running, credentials={"url": running.url, "token": "made-up"})
        async with client:
            with pytest.raises(AnswerTooLargeError):
                await client.generate("bread", ["bread"])


@pytest.mark.parametrize(("size", "passes"), [(256 * 2**10, True), (256 * 2**10 + 1, False)], ids=["limit", "above"])
async def test_the_answer_of_a_token_endpoint_has_a_bound_of_its_own(size, passes):
    def answer(seen):
        bare = json.dumps({"access_token": "made-up-token", "expires_in": 3600, "padding": ""}).encode()
        return web.Response(body=bare[:-2] + b"x" * (size - len(bare)) + b'"}', content_type="application/json")

    async with service(token=answer) as running, client_for(running) as client:
        if passes:
            await client.generate("bread", ["bread"])
        else:
            with pytest.raises(AnswerTooLargeError, match=r"/identity/token .*larger than 262,144 bytes"):
                await client.generate("bread", ["bread"])
    assert len(running.token_requests) == 1


async def test_plain_http_is_read_in_small_pieces(monkeypatch):
    pieces = []
    take = ResponseHandler.data_received

    def note(self, data):
        pieces.append(len(data))
        take(self, data)

    monkeypatch.setattr(ResponseHandler, "data_received", note)
    async with service(padded(LIMIT)) as running, client_for(running) as client:
        for _ in range(5):
            assert pairs(await client.generate("bread", ["bread"])) == ((0, 1.0),)
    assert sum(pieces) > 5 * LIMIT
    assert max(pieces) <= 2**16
