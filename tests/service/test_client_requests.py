"""What goes out: the body, byte for byte, and the headers; and what must not."""

import asyncio
import json
import math
import re

import aiohttp
import pytest
from aiohttp import web
from support.clients import client_for
from support.passages import pairs
from support.services import RERANK, TOKEN, honest, service

from rerank_async import (
    AsyncAPIClient,
    AsyncRerank,
    BatchOptions,
    Crypto,
    LimitOptions,
    RerankModels,
    RerankParameters,
    ReturnOptions,
    __version__,
)
from rerank_async.errors import AuthenticationError, InvalidArgumentError, RedirectError

MINIMAL = {"model_id": "lexical", "query": "größe", "project_id": "local-project"}


async def sent_for(inputs, params=None, crypto=None, *, client_options=None, **options):
    """The one request that a call sent."""
    async with service() as running, client_for(running, **(client_options or {})) as client:
        await client.generate("größe", inputs, params, crypto, **options)
    (seen,) = running.seen
    return seen


async def test_a_minimal_request_holds_the_four_documented_fields_and_nothing_else():
    seen = await sent_for(["naïve café", {"text": "発酵 🍞"}, ""])
    assert seen.json == {**MINIMAL, "inputs": [{"text": "naïve café"}, {"text": "発酵 🍞"}, {"text": ""}]}
    assert (seen.method, seen.target) == ("POST", f"{RERANK}?version=2024-10-18")


async def test_the_body_is_utf_8_without_escapes_and_spaces():
    seen = await sent_for(["naïve café", '発酵 🍞 "quoted" back\\slash', "line\nbreak\ttab\x01"])
    assert "naïve café".encode() in seen.body
    assert '発酵 🍞 \\"quoted\\" back\\\\slash'.encode() in seen.body
    assert seen.body.count(b"\\u") == 1, "only the control character is escaped"
    assert b'": ' not in seen.body
    assert seen.json["inputs"][2] == {"text": "line\nbreak\ttab\x01"}


async def test_all_parameters_have_their_place():
    params = RerankParameters(truncate_input_tokens=7, return_options=ReturnOptions(top_n=2, inputs=True, query=True))
    seen = await sent_for(["a", "b", "c"], params)
    # Echoes are answered from the caller's own data and not asked for.
    assert seen.json["parameters"] == {"truncate_input_tokens": 7, "return_options": {"top_n": 2}}
    by_dict = {"truncate_input_tokens": 7, "return_options": {"top_n": 2, "inputs": True, "query": True}}
    assert (await sent_for(["a", "b", "c"], by_dict)).body == seen.body


@pytest.mark.parametrize(
    "params",
    [
        None,
        {},
        {"truncate_input_tokens": None},
        {"return_options": None},
        {"return_options": {}},
        {"return_options": {"top_n": None, "inputs": False, "query": None}},
        RerankParameters(),
    ],
    ids=str,
)
async def test_what_is_none_is_left_out(params):
    assert (await sent_for(["a"], params)).json == {**MINIMAL, "inputs": [{"text": "a"}]}


@pytest.mark.parametrize("crypto", [{"key_ref": "crn:v1:made-up"}, Crypto("crn:v1:made-up")], ids=["dict", "value"])
async def test_crypto_is_sent_and_the_echo_asked_for(crypto):
    seen = await sent_for(["a", "a"], {"return_options": {"inputs": True}}, crypto)
    assert seen.json == {
        **MINIMAL,
        "inputs": [{"text": "a"}, {"text": "a"}],
        "crypto": {"key_ref": "crn:v1:made-up"},
        "parameters": {"return_options": {"inputs": True}},
    }


async def test_a_space_instead_of_a_project():
    value = (await sent_for(["a"], client_options={"space_id": "local-space"})).json
    assert "project_id" not in value
    assert value["space_id"] == "local-space"


async def test_a_member_of_the_enum_is_sent_as_its_id():
    async with service() as running, client_for(running, RerankModels.ALL_MINILM_L6_V2) as client:
        response = await client.generate("a", ["a"])
    assert running.seen[0].json["model_id"] == "sentence-transformers/all-minilm-l6-v2" == response.model_id


@pytest.mark.parametrize(
    ("top_n", "pushed"),
    [
        (None, [None, None, None]),
        (1, [2, 2, None]),  # 1 is not documented, 2 is
        (2, [2, 2, None]),
        (3, [3, 3, None]),
        (4, [None, None, None]),
        (99, [None, None, None]),
    ],
)
async def test_top_n_is_pushed_down_where_it_cuts_something_off(top_n, pushed):
    texts = ["bread", "dough", "rye", "bread dough", "dough rye", "bread rye", "x", "y", "z", "bread x"]
    async with service() as running, client_for(running, batching=BatchOptions(max_inputs=4)) as client:
        response = await client.generate("bread dough", texts, {"return_options": {"top_n": top_n}})
        whole = await client.generate("bread dough", texts)
    sizes = [len(seen.json["inputs"]) for seen in running.seen[:3]]
    assert sorted(sizes) == [2, 4, 4]
    asked = [seen.json.get("parameters", {}).get("return_options", {}).get("top_n") for seen in running.seen[:3]]
    assert [top for _, top in sorted(zip(sizes, asked, strict=True), key=lambda pair: -pair[0])] == pushed
    assert pairs(response) == pairs(whole)[:top_n]


async def test_the_headers_are_each_there_once():
    seen = await sent_for(["a"])
    assert seen.header("Authorization") == ["Bearer made-up-token-1"]
    assert seen.header("Content-Type") == ["application/json"]
    assert seen.header("Accept") == ["application/json"]
    (agent,) = seen.header("User-Agent")
    assert re.fullmatch(rf"rerank_async/{re.escape(__version__)} \(Python 3\.\d+; \w+\)", agent)
    (transaction,) = seen.header("X-Global-Transaction-Id")
    assert re.fullmatch("[0-9a-f]{32}", transaction)
    assert seen.header("Content-Length") == [str(len(seen.body))]
    assert seen.header("Cookie") == seen.header("Transfer-Encoding") == []


async def test_every_request_has_an_id_of_its_own_unless_the_caller_gives_one():
    async with service() as running, client_for(running) as client:
        await asyncio.gather(*(client.generate("a", [f"text {number}"]) for number in range(20)))
        await client.generate("a", ["a"], extra_headers={"x-global-transaction-id": "made-up"})
    ids = [seen.header("X-Global-Transaction-Id") for seen in running.token_requests + running.seen]
    assert ids.pop() == ["made-up"]
    assert len({each for (each,) in ids}) == len(ids) == 21


async def test_the_clients_extra_headers_go_to_the_service_and_not_to_the_token_endpoint():
    headers = {"X-Made-Up": "client", "x-other": "client", "user-agent": "made-up/1"}
    async with service() as running, client_for(running, extra_headers=headers) as client:
        await client.generate("a", ["a"])
        await client.generate("a", ["a"], extra_headers={"X-Other": "call"})
        shared = AsyncRerank("lexical", api_client=client.api_client)
        await shared.with_options(extra_headers={"X-Made-Up": "view"}).generate("a", ["a"])
    names = ("X-Made-Up", "X-Other", "User-Agent")
    assert [[seen.header(name) for name in names] for seen in running.seen] == [
        [["client"], ["client"], ["made-up/1"]],
        [["client"], ["call"], ["made-up/1"]],
        [["view"], ["client"], ["made-up/1"]],
    ]
    (token_request,) = running.token_requests
    assert token_request.header("X-Made-Up") == token_request.header("X-Other") == []


async def test_the_token_is_asked_for_as_iam_documents_it():
    key = "made-up+key/with=signs & äöü".replace("äöü", "x")
    async with (
        service() as running,
        client_for(running, credentials={"url": running.url, "api_key": f" {key}\n"}) as client,
    ):
        await client.generate("a", ["a"])
        await client.generate("b", ["b"])
    (seen,) = running.token_requests
    assert (seen.method, seen.target) == ("POST", TOKEN)
    assert seen.header("Content-Type") == ["application/x-www-form-urlencoded"]
    assert seen.body == (
        b"grant_type=urn%3Aibm%3Aparams%3Aoauth%3Agrant-type%3Aapikey&apikey=made-up%2Bkey%2Fwith%3Dsigns+%26+x"
    )


@pytest.mark.parametrize("token", ["a.made-up.token", "Bearer a.made-up.token", " a.made-up.token\n"])
async def test_a_given_token_is_sent_as_it_is(token):
    async with service() as running, client_for(running, credentials={"url": running.url, "token": token}) as client:
        await client.generate("a", ["a"])
    assert running.seen[0].header("Authorization") == ["Bearer a.made-up.token"]
    assert running.token_requests == []


async def test_another_version_and_a_base_url_with_a_path():
    async with (
        service() as running,
        AsyncAPIClient({"url": running.url + "/", "api_key": "k"}, "p", api_version="2025-01-31") as shared,
    ):
        await AsyncRerank("lexical", api_client=shared).generate("a", ["a"])
    assert running.seen[0].target == f"{RERANK}?version=2025-01-31"


async def test_extra_body_reaches_the_body_and_the_parameters():
    seen = await sent_for(
        ["a", "b", "c"],
        {"truncate_input_tokens": 7, "return_options": {"top_n": 2}},
        extra_body={"new": {"nested": [1, None, "ü"]}, "parameters": {"newer": 0.5}},
    )
    assert seen.json["new"] == {"nested": [1, None, "ü"]}
    assert seen.json["parameters"] == {"truncate_input_tokens": 7, "newer": 0.5, "return_options": {"top_n": 2}}


async def test_extra_headers_add_up_over_client_view_and_call():
    async with service() as running, client_for(running) as client:
        view = client.with_options(extra_headers={"X-Made-Up": "view", "X-Other": "view"})
        await view.generate("a", ["a"], extra_headers={"X-Other": "call"})
        await client.generate("a", ["a"])
    first, second = running.seen
    assert (first.header("X-Made-Up"), first.header("X-Other")) == (["view"], ["call"])
    assert (second.header("X-Made-Up"), second.header("X-Other")) == ([], [])


@pytest.mark.parametrize("name", ["User-Agent", "user-agent", "USER-AGENT"])
async def test_an_extra_header_replaces_the_clients_own_in_whatever_case(name):
    seen = await sent_for(["a"], extra_headers={name: "made-up/1"})
    assert seen.header("User-Agent") == ["made-up/1"]


async def test_a_calls_header_replaces_the_views_in_whatever_case():
    async with service() as running, client_for(running) as client:
        view = client.with_options(extra_headers={"X-Made-Up": "view"})
        await view.generate("a", ["a"], extra_headers={"x-made-up": "call"})
    assert running.seen[0].header("X-Made-Up") == ["call"]


@pytest.mark.parametrize(
    ("headers", "word"),
    [
        ({"Authorization": "Bearer mine"}, "Authorization"),
        ({"content-type": "text/plain"}, "content-type"),
        ({"X-A": "b\r\nX-C: d"}, "X-A"),
        ({"X-A\r\n": "b"}, "X-A"),
        ({"X A": "b"}, "X A"),
        ({"X-A:": "b"}, "X-A:"),
        ({"X-A": 1}, "str"),
        ("X-A: b", "dict"),
    ],
    ids=str,
)
async def test_headers_that_cannot_be_sent_are_refused(headers, word):
    async with service() as running, client_for(running) as client:
        with pytest.raises(InvalidArgumentError, match=word) as caught:
            await client.generate("a", ["a"], extra_headers=headers)
    assert caught.value.argument == "extra_headers"
    assert (running.seen, running.token_requests) == ([], [])


@pytest.mark.parametrize("size", [2**20 - 100, 2**20, 3 * 2**20])
async def test_a_body_above_a_mebibyte_is_sent_without_a_warning(size):
    seen = await sent_for(["ü" * (size // 2)])
    assert len(seen.body) > size
    assert seen.header("Content-Length") == [str(len(seen.body))]
    assert seen.header("Content-Type") == ["application/json"]


async def test_bodies_keep_to_max_bytes_and_use_them():
    texts = [f"{number} " + "ü\n\x01" * (number * 37 % 101) for number in range(200)]
    options = {
        "batching": BatchOptions(max_bytes=2000),
        "limits": LimitOptions(requests_per_second=math.inf, max_concurrency=1),
    }
    async with service() as running, client_for(running, **options) as client:
        await client.generate("größe", texts, extra_body={"new": "x" * 100})
    items = [
        [len(json.dumps(item, ensure_ascii=False).encode()) for item in seen.json["inputs"]] for seen in running.seen
    ]
    assert sum(map(len, items)) == 200
    assert max(len(seen.body) for seen in running.seen) <= 2000
    for seen, (first, *_) in zip(running.seen, items[1:], strict=False):
        assert len(seen.body) + first > 1870, "the next text would not have fitted in"


@pytest.mark.parametrize("inputs", [[], (), iter([])], ids=["list", "tuple", "iterator"])
async def test_no_inputs_need_no_request_and_no_token(inputs):
    async with service() as running, client_for(running) as client:
        response = await client.generate("größe", inputs, {"return_options": {"query": True, "top_n": 3}})
    assert (running.seen, running.token_requests) == ([], [])
    assert (response.results, response.query, response.input_token_count) == ((), "größe", 0)
    assert response.to_dict()["results"] == []


async def test_redirects_are_not_followed_and_the_token_stays_here():
    async with service() as elsewhere:

        def redirect(seen):
            return web.Response(status=307, headers={"Location": elsewhere.url + RERANK})

        async with service(redirect) as running, client_for(running) as client:
            with pytest.raises(RedirectError) as caught:
                await client.generate("größe", ["a"])
        assert elsewhere.url in str(caught.value)
        assert running.url in str(caught.value)
        assert caught.value.status == 307
        assert (len(running.seen), elsewhere.seen, elsewhere.token_requests) == (1, [], [])


async def test_a_redirect_of_the_token_endpoint_is_not_followed_with_the_key():
    async with service() as elsewhere:

        def redirect(seen):
            return web.Response(status=307, headers={"Location": elsewhere.url + TOKEN})

        async with service(token=redirect) as running, client_for(running) as client:
            with pytest.raises(RedirectError, match=elsewhere.url):
                await client.generate("größe", ["a"])
        assert (len(running.token_requests), running.seen, elsewhere.token_requests) == (1, [], [])


async def test_cookies_are_not_kept():
    def answer(seen):
        reply = honest(seen)
        reply.set_cookie("session", "made-up")
        return reply

    async with service(answer) as running, client_for(running) as client:
        await client.generate("a", ["a"])
        await client.generate("b", ["b"])
    assert [seen.header("Cookie") for seen in running.seen] == [[], []]


async def test_one_connection_serves_one_call_after_another():
    async with service() as running, client_for(running) as client:
        for number in range(10):
            await client.generate("a", [f"text {number}"])
    assert len(running.connections) == 1


async def test_a_session_that_raises_for_status_by_itself_gives_the_same_errors():
    def answer(seen):
        return web.json_response(
            {"errors": [{"code": "authentication_token_not_valid", "message": "Failed to verify"}]}, status=401
        )

    async with service(answer) as running, aiohttp.ClientSession(raise_for_status=True) as session:
        client = client_for(running, session=session, credentials={"url": running.url, "token": "made-up"})
        with pytest.raises(AuthenticationError, match="Failed to verify"):
            await client.generate("a", ["a"])
        assert len(running.seen) == 1


async def test_the_answers_body_reads_like_the_rest_api():
    async with service() as running, client_for(running) as client:
        response = await client.generate("bread", ["x", "bread"], {"return_options": {"inputs": True, "query": True}})
    assert json.loads(json.dumps(response.to_dict())) == {
        "model_id": "lexical",
        "created_at": "2024-02-21T17:32:28Z",
        "results": [
            {"index": 1, "score": 1.0, "input": {"text": "bread"}},
            {"index": 0, "score": 0.0, "input": {"text": "x"}},
        ],
        "input_token_count": 4,
        "query": "bread",
    }
    assert response["results"][0]["score"] == 1.0
