"""Bad input gives a clear error before anything is sent: each one names the argument, and the index in a list."""

import math
import re
import ssl

import pytest
from support.clients import client_for
from support.odd import ODD
from support.passages import pairs, ranking

from rerank_async import (
    AsyncAPIClient,
    AsyncRerank,
    BatchOptions,
    Credentials,
    LimitOptions,
    RerankParameters,
    RetryOptions,
    ReturnOptions,
    Timeouts,
)
from rerank_async.errors import InvalidArgumentError, InvalidTypeError

CRN = "crn:v1:made-up"

# (arguments of generate, the error's class, its argument, its index, words of its message)
CALLS = [
    ({"query": ""}, InvalidArgumentError, "query", None, "query is empty"),
    ({"query": " \n\t"}, InvalidArgumentError, "query", None, "query is empty"),
    ({"query": None}, InvalidTypeError, "query", None, "query must be a str, not NoneType"),
    ({"query": b"q"}, InvalidTypeError, "query", None, "query must be a str, not bytes"),
    ({"query": ["q"]}, InvalidTypeError, "query", None, "query must be a str, not list"),
    ({"query": "a\ud800"}, InvalidArgumentError, "query", None, "query holds a lone surrogate at character 1"),
    ({"inputs": "a text"}, InvalidTypeError, "inputs", None, "not a single str; put it in a list"),
    ({"inputs": b"a text"}, InvalidTypeError, "inputs", None, "not a single bytes"),
    ({"inputs": bytearray(b"x")}, InvalidTypeError, "inputs", None, "not a single bytearray"),
    ({"inputs": {"text": "x"}}, InvalidTypeError, "inputs", None, "not a single dict"),
    ({"inputs": None}, InvalidTypeError, "inputs", None, "not NoneType"),
    ({"inputs": 7}, InvalidTypeError, "inputs", None, "not int"),
    ({"inputs": ["a", 7]}, InvalidTypeError, "inputs", 1, "inputs[1] must be a str"),
    ({"inputs": ["a", None]}, InvalidTypeError, "inputs", 1, "inputs[1] must be a str"),
    ({"inputs": ["a", "b", b"c"]}, InvalidTypeError, "inputs", 2, "inputs[2] must be a str"),
    ({"inputs": [["a"]]}, InvalidTypeError, "inputs", 0, "inputs[0] must be a str"),
    ({"inputs": ["a", {"text": None}]}, InvalidTypeError, "inputs", 1, "inputs[1]['text'] must be a str, not NoneType"),
    ({"inputs": ["a", {}]}, InvalidTypeError, "inputs", 1, "inputs[1]['text'] must be a str"),
    ({"inputs": [{"text": "a", "id": 3}]}, InvalidArgumentError, "inputs", 0, "inputs[0] has the key 'id'"),
    ({"inputs": [{"document": "a"}]}, InvalidArgumentError, "inputs", 0, "inputs[0] has the key 'document'"),
    ({"inputs": ["a", "x\udfffy"]}, InvalidArgumentError, "inputs", 1, "inputs[1] holds a lone surrogate"),
    ({"inputs": ["a", {"text": "\ud83c"}]}, InvalidArgumentError, "inputs", 1, "inputs[1] holds a lone surrogate"),
    ({"params": {"top_n": 3}}, InvalidArgumentError, "params", None, "'top_n' belongs inside of return_options"),
    ({"params": {"truncate_input_token": 3}}, InvalidArgumentError, "params", None, "mean 'truncate_input_tokens'?"),
    ({"params": {"return_options": {"topn": 3}}}, InvalidArgumentError, "params.return_options", None, "mean 'top_n'?"),
    ({"params": {"return_options": {"top_n": -1}}}, InvalidArgumentError, "top_n", None, "top_n must be at least 1"),
    ({"params": {"return_options": {"top_n": 0}}}, InvalidArgumentError, "top_n", None, "top_n must be at least 1"),
    ({"params": {"return_options": {"top_n": 2.0}}}, InvalidTypeError, "top_n", None, "must be an int, not float"),
    ({"params": {"return_options": {"top_n": True}}}, InvalidTypeError, "top_n", None, "must be an int, not bool"),
    ({"params": {"return_options": {"inputs": 1}}}, InvalidTypeError, "inputs", None, "must be True or False"),
    ({"params": {"return_options": 5}}, InvalidTypeError, "return_options", None, "not int"),
    ({"params": {"truncate_input_tokens": 0}}, InvalidArgumentError, "truncate_input_tokens", None, "at least 1"),
    ({"params": [1]}, InvalidTypeError, "params", None, "not list"),
    ({"params": {1: 2}}, InvalidArgumentError, "params", None, "unknown name 1"),
    ({"crypto": {}}, InvalidArgumentError, "crypto", None, "'key_ref' is missing"),
    ({"crypto": {"key_ref": ""}}, InvalidArgumentError, "crypto", None, "key_ref is empty"),
    ({"crypto": {"key_ref": 7}}, InvalidTypeError, "crypto", None, "key_ref must be a str"),
    ({"crypto": {"key_ref": CRN, "keyref": CRN}}, InvalidArgumentError, "crypto", None, "mean 'key_ref'?"),
    ({"crypto": CRN}, InvalidTypeError, "crypto", None, "not str"),
    ({"timeout": math.nan}, InvalidArgumentError, "timeout", None, "NaN"),
    ({"timeout": math.inf}, InvalidArgumentError, "timeout", None, "None is no bound"),
    ({"timeout": 0}, InvalidArgumentError, "timeout", None, "above 0"),
    ({"timeout": -1.5}, InvalidArgumentError, "timeout", None, "above 0"),
    ({"timeout": "5"}, InvalidTypeError, "timeout", None, "must be a number, not str"),
    ({"timeout": True}, InvalidTypeError, "timeout", None, "must be a number, not bool"),
    ({"extra_body": {"query": "q"}}, InvalidArgumentError, "extra_body", None, "'query'"),
    ({"extra_body": {"inputs": []}}, InvalidArgumentError, "extra_body", None, "'inputs'"),
    ({"extra_body": {"parameters": 5}}, InvalidTypeError, "extra_body", None, "must be a dict"),
    ({"extra_body": {"parameters": {"return_options": {}}}}, InvalidArgumentError, "extra_body", None, "params="),
    ({"extra_body": [1]}, InvalidTypeError, "extra_body", None, "not list"),
    ({"extra_body": {"new": ODD}}, InvalidArgumentError, "extra_body", None, "JSON"),
    ({"extra_body": {"new": {1, 2}}}, InvalidArgumentError, "extra_body", None, "JSON"),
    ({"extra_body": {"new": "\ud800"}}, InvalidArgumentError, "extra_body", None, "surrogate"),
    ({"crypto": {"key_ref": "\ud800"}}, InvalidArgumentError, "crypto.key_ref", None, "surrogate"),
]


@pytest.mark.parametrize(
    ("arguments", "kind", "argument", "index", "words"), CALLS, ids=lambda value: ascii(value)[:60]
)
async def test_a_bad_call_is_refused_before_anything_is_sent(server, arguments, kind, argument, index, words):
    async with client_for(server) as client:
        with pytest.raises(InvalidArgumentError, match=re.escape(words)) as caught:
            await client.generate(**{"query": "q", "inputs": ["a"], **arguments})
        assert type(caught.value) is kind
        assert (caught.value.argument, caught.value.index) == (argument, index)
        assert (server.counts.rerank, server.counts.token_requests) == (0, 0)
        assert client.limit_status.in_flight == 0


async def test_text_over_max_bytes_is_named(server):
    async with client_for(server, batching=BatchOptions(max_bytes=500)) as client:
        with pytest.raises(InvalidArgumentError, match=r"inputs\[2\] needs a request of up to \d+ bytes") as caught:
            await client.generate("q", ["a", "a", "b" * 500])
        assert (caught.value.argument, caught.value.index) == ("inputs", 2)
        with pytest.raises(InvalidArgumentError, match="602 of them for the query") as caught:
            await client.generate("q" * 600, ["a"])
        assert caught.value.argument == "query"
    assert server.counts.rerank == 0


async def test_a_one_shot_generator_is_taken_as_a_list(server):
    texts = ("bread", "x", "dough", "bread")
    async with client_for(server, batching=BatchOptions(max_inputs=2)) as client:
        response = await client.generate(
            "how does bread dough rise in a cold kitchen",
            (text for text in texts),
            {"return_options": {"inputs": True}},
        )
    assert pairs(response) == ranking(texts)
    assert [result.input for result in response.results] == [texts[result.index] for result in response.results]


async def test_an_error_of_the_callers_generator_passes_untouched(server):
    def broken():
        yield "a"
        raise LookupError("the caller's own")

    async with client_for(server) as client:
        with pytest.raises(LookupError, match="the caller's own"):
            await client.generate("q", broken())
    assert server.counts.rerank == 0


async def test_empty_texts_are_legal_and_sent(server):
    async with client_for(server) as client:
        response = await client.generate("bread", ["", "bread", "  ", ""])
    assert pairs(response) == ((1, 1.0), (0, 0.0), (2, 0.0), (3, 0.0))
    assert server.counts.inputs == 3


LOCAL = {"url": "http://127.0.0.1:9", "api_key": "made-up"}

# (arguments of AsyncRerank, the error's class, its argument, words of its message)
CONSTRUCTORS = [
    ({"project_id": "p", "space_id": "s"}, InvalidArgumentError, "space_id", "Both project_id and space_id"),
    ({"project_id": None}, InvalidArgumentError, "project_id", "WATSONX_PROJECT_ID or WATSONX_SPACE_ID"),
    ({"project_id": " "}, InvalidArgumentError, "project_id", "project_id is empty"),
    ({"project_id": 7}, InvalidTypeError, "project_id", "project_id must be a str"),
    ({"project_id": None, "space_id": b"s"}, InvalidTypeError, "space_id", "space_id must be a str"),
    ({"project_id": "\ud800"}, InvalidArgumentError, "project_id", "surrogate"),
    ({"model_id": ""}, InvalidArgumentError, "model_id", "model_id is empty"),
    ({"model_id": None}, InvalidTypeError, "model_id", "model_id must be a str"),
    ({"model_id": "\ud800"}, InvalidArgumentError, "model_id", "surrogate"),
    ({"credentials": None}, InvalidArgumentError, "credentials", "WATSONX_URL and one of WATSONX_APIKEY"),
    ({"credentials": {}}, InvalidArgumentError, "credentials", "'url' is missing"),
    ({"credentials": {"url": LOCAL["url"]}}, InvalidArgumentError, "credentials", "neither api_key nor token"),
    ({"credentials": {**LOCAL, "api_kee": "k"}}, InvalidArgumentError, "credentials", "did you mean 'api_key'?"),
    ({"credentials": {**LOCAL, "apikey": "k"}}, InvalidArgumentError, "credentials", "both 'api_key' and 'apikey'"),
    ({"credentials": {**LOCAL, "api_key": ""}}, InvalidArgumentError, "api_key", "api_key is empty"),
    ({"credentials": {**LOCAL, "api_key": 7}}, InvalidTypeError, "api_key", "api_key must be a str"),
    ({"credentials": {**LOCAL, "token": "a\r\nX: b"}}, InvalidArgumentError, "token", "cannot be sent in a header"),
    ({"credentials": {**LOCAL, "url": "localhost:9"}}, InvalidArgumentError, "credentials.url", "no scheme"),
    ({"credentials": {**LOCAL, "url": "ftp://localhost"}}, InvalidArgumentError, "credentials.url", "not an address"),
    ({"credentials": {**LOCAL, "url": "http://[::1"}}, InvalidArgumentError, "credentials.url", "not an address"),
    ({"credentials": {**LOCAL, "url": "http://localhost:99999"}}, InvalidArgumentError, "credentials.url", "address"),
    ({"credentials": {**LOCAL, "url": "https://u:p@x.example"}}, InvalidArgumentError, "credentials.url", "user name"),
    ({"credentials": {**LOCAL, "url": "http://ml.example"}}, InvalidArgumentError, "credentials.url", "plain http"),
    ({"credentials": {**LOCAL, "auth_url": "http://iam.example"}}, InvalidArgumentError, None, "plain http"),
    ({"credentials": {**LOCAL, "url": "https://cpd.example"}}, InvalidArgumentError, "credentials", "auth_url="),
    ({"credentials": "made-up"}, InvalidTypeError, "credentials", "not str"),
    ({"params": {"return_option": {}}}, InvalidArgumentError, "params", "did you mean 'return_options'?"),
    ({"verify": "/no/such/ca.pem"}, InvalidArgumentError, "verify", "there is no file or folder '/no/such/ca.pem'"),
    ({"verify": 7}, InvalidTypeError, "verify", "not int"),
    ({"batching": {"max_inputs": 5}}, InvalidTypeError, "batching", "must be a BatchOptions, not dict"),
    ({"limits": 8}, InvalidTypeError, "limits", "must be a LimitOptions, not int"),
    ({"retries": 3}, InvalidTypeError, "retries", "must be a RetryOptions, not int"),
    ({"timeouts": 30.0}, InvalidTypeError, "timeouts", "must be a Timeouts, not float"),
    ({"observer": "print"}, InvalidTypeError, "observer", "must be callable, not str"),
    ({"session": ODD}, InvalidTypeError, "session", "must be an aiohttp.ClientSession, not object"),
    ({"allow_http_hosts": "ml.example"}, InvalidTypeError, "allow_http_hosts", "not a str"),
    ({"api_client": ODD, "credentials": None, "project_id": None}, InvalidTypeError, "api_client", "not object"),
]


@pytest.mark.parametrize(("arguments", "kind", "argument", "words"), CONSTRUCTORS, ids=lambda value: ascii(value)[:60])
def test_a_bad_client_is_refused_when_it_is_made(arguments, kind, argument, words):
    good = {"model_id": "lexical", "credentials": LOCAL, "project_id": "p"}
    with pytest.raises(InvalidArgumentError, match=re.escape(words)) as caught:
        AsyncRerank(**{**good, **arguments})
    assert type(caught.value) is kind
    assert argument in {None, caught.value.argument}


def test_the_environment_is_looked_at_and_what_was_found_is_named(monkeypatch):
    monkeypatch.setenv("WATSONX_APIKEY", "made-up-secret")
    with pytest.raises(InvalidArgumentError, match=r"Found in the environment: WATSONX_APIKEY$") as caught:
        AsyncRerank("lexical", project_id="p")
    assert "made-up-secret" not in str(caught.value)
    monkeypatch.setenv("WATSONX_PROJECT_ID", "p")
    monkeypatch.setenv("WATSONX_SPACE_ID", "s")
    with pytest.raises(InvalidArgumentError, match="Both WATSONX_PROJECT_ID and WATSONX_SPACE_ID"):
        AsyncRerank("lexical", credentials=LOCAL)


async def test_a_client_from_the_environment_works(server, monkeypatch):
    monkeypatch.setenv("WATSONX_URL", server.url)
    monkeypatch.setenv("WATSONX_API_KEY", server.api_key)
    monkeypatch.setenv("WATSONX_SPACE_ID", server.space_id)
    async with AsyncRerank("lexical") as client:
        assert pairs(await client.generate("bread", ["bread"])) == ((0, 1.0),)
    monkeypatch.delenv("WATSONX_API_KEY")
    monkeypatch.setenv("WATSONX_TOKEN", server.issue_token())
    async with AsyncRerank("lexical") as client:
        assert pairs(await client.generate("bread", ["bread"])) == ((0, 1.0),)
    assert server.counts.token_requests == 1


def test_plain_http_to_a_host_that_is_named_is_accepted():
    client = AsyncRerank(
        "lexical",
        credentials={"url": "http://ml.example", "token": "t"},
        project_id="p",
        allow_http_hosts=("ml.example",),
    )
    assert client.api_client.url == "http://ml.example"


async def test_a_ca_file_that_is_none_is_refused_before_anything_is_sent(server, tmp_path):
    file = tmp_path / "ca.pem"
    file.write_text("not a certificate")
    with pytest.raises(InvalidArgumentError, match=r"ca\.pem"):
        async with client_for(server, verify=file) as client:
            await client.generate("q", ["a"])
    assert (server.counts.rerank, server.counts.token_requests) == (0, 0)


async def test_verify_beside_a_session_is_refused_because_it_would_do_nothing():
    import aiohttp

    async with aiohttp.ClientSession() as session:
        for verify in (True, False, ssl.create_default_context()):
            with pytest.raises(InvalidArgumentError, match="set ssl= on its connector"):
                AsyncRerank("lexical", credentials=LOCAL, project_id="p", session=session, verify=verify)


@pytest.mark.parametrize(
    "option",
    [
        {"credentials": LOCAL},
        {"project_id": "p"},
        {"space_id": "s"},
        {"verify": True},
        {"verify": False},
        {"limits": LimitOptions()},
        {"retries": RetryOptions()},
        {"timeouts": Timeouts()},
        {"allow_http_hosts": ("ml.example",)},
    ],
    ids=lambda option: repr(option)[:50],
)
def test_api_client_together_with_one_of_its_options_is_refused(option):
    shared = AsyncAPIClient(LOCAL, "p")
    with pytest.raises(InvalidArgumentError, match="give it to the AsyncAPIClient instead") as caught:
        AsyncRerank("lexical", api_client=shared, **option)
    assert caught.value.argument == next(iter(option))


# (a value's class, its arguments, the argument named)
VALUES = [
    (BatchOptions, {"max_inputs": 0}, "max_inputs"),
    (BatchOptions, {"max_inputs": 1001}, "max_inputs"),
    (BatchOptions, {"max_inputs": 10.0}, "max_inputs"),
    (BatchOptions, {"max_bytes": 0}, "max_bytes"),
    (BatchOptions, {"dedupe": 1}, "dedupe"),
    (LimitOptions, {"requests_per_second": 0}, "requests_per_second"),
    (LimitOptions, {"requests_per_second": -1}, "requests_per_second"),
    (LimitOptions, {"requests_per_second": math.nan}, "requests_per_second"),
    (LimitOptions, {"requests_per_second": "8"}, "requests_per_second"),
    (LimitOptions, {"burst": 0}, "burst"),
    (LimitOptions, {"max_concurrency": 0}, "max_concurrency"),
    (RetryOptions, {"max_attempts": 0}, "max_attempts"),
    (RetryOptions, {"base_delay": -0.1}, "base_delay"),
    (RetryOptions, {"max_delay": math.inf}, "max_delay"),
    (RetryOptions, {"max_retry_after": math.nan}, "max_retry_after"),
    (RetryOptions, {"max_throttled": -1}, "max_throttled"),
    (Timeouts, {"connect": 0}, "connect"),
    (Timeouts, {"request": math.inf}, "request"),
    (Timeouts, {"total": math.nan}, "total"),
    (ReturnOptions, {"top_n": -5}, "top_n"),
    (RerankParameters, {"truncate_input_tokens": -1}, "truncate_input_tokens"),
    (Credentials, {"url": 7}, "credentials.url"),
]


@pytest.mark.parametrize(("value", "arguments", "argument"), VALUES, ids=lambda value: str(value)[:50])
def test_an_option_out_of_range_is_named(value, arguments, argument):
    with pytest.raises(InvalidArgumentError, match=argument) as caught:
        value(**arguments)
    assert caught.value.argument == argument


async def test_a_view_checks_as_the_client_does(server):
    async with client_for(server) as client:
        for options in (
            {"timeout": math.nan},
            {"params": {"x": 1}},
            {"observer": 1},
            {"batching": 5},
            {"extra_headers": 5},
        ):
            with pytest.raises(InvalidArgumentError):
                client.with_options(**options)
        with pytest.raises(InvalidArgumentError):
            client.plan("", ["a"])
