"""What the service, the token endpoint and the network do wrong: the class, their own words, and what to check."""

import asyncio
import logging
import math
import pickle
import socket

import pytest
from aiohttp import web
from support.clients import client_for, until
from support.passages import pairs, ranking
from support.services import RERANK, TOKEN, honest, http_answer, raw_service, refusal, service
from support.showing import chain, in_words, with_locals

from rerank_async import AsyncRerank, BatchOptions, LimitOptions, RetryOptions, Timeouts
from rerank_async.errors import (
    AuthenticationError,
    BadAnswerError,
    BadRequestError,
    ConnectionFailedError,
    DeadlineExceededError,
    DecodeError,
    InputTooLongError,
    IntegrityError,
    ModelNotSupportedError,
    NoAnswerError,
    PermissionDeniedError,
    QuotaExceededError,
    RateLimitError,
    RequestTimeoutError,
    RequestTooLargeError,
    RerankError,
    ServiceError,
)
from rerank_async.policy import json_codec
from rerank_async.server import Fault, LexicalScorer, serve

ONE_LANE = LimitOptions(requests_per_second=math.inf, max_concurrency=1)
TWICE = RetryOptions(max_attempts=2, base_delay=0.001, max_delay=0.001)


async def error_of(client, kind=RerankError, inputs=("a",), **options):
    with pytest.raises(kind) as caught:
        await client.generate("bread", inputs, **options)
    return caught.value


# The service's own refusals


async def test_a_wrong_api_key_is_said_in_iams_words(server):
    async with client_for(server, credentials={"url": server.url, "api_key": "made-up-wrong-key"}) as client:
        error = await error_of(client, AuthenticationError)
    assert (error.status, error.code, error.url) == (400, "BXNIM0415E", server.token_url)
    assert "Provided API key could not be found" in str(error)
    assert "Check the API key" in str(error)
    assert (server.counts.token_requests, server.counts.rerank) == (1, 0)


async def test_a_wrong_project_is_said_in_the_services_words(server):
    async with client_for(server, project_id="made-up-other") as client:
        error = await error_of(client, PermissionDeniedError)
    assert isinstance(error, PermissionError)
    assert (error.status, error.code, error.url) == (403, "user_authorization_failed", server.url + RERANK)
    assert "The user is not authorized for project 'made-up-other'" in str(error)
    assert "Check project_id / space_id" in str(error)
    assert error.trace == server.requests[-1].trace
    assert error.trace in str(error)
    assert server.counts.rerank == 1


async def test_an_unknown_model_says_how_to_list_them(server):
    async with client_for(server, "lexcial") as client:
        error = await error_of(client, ModelNotSupportedError)
    assert isinstance(error, ValueError)
    assert "Model 'lexcial' is not supported here" in str(error)
    assert "model_specs()" in str(error)
    assert server.counts.rerank == 1


async def test_a_text_that_is_too_long_says_how_to_cut_it():
    async with (
        serve(scorers={"lexical": LexicalScorer(max_sequence_length=3)}) as server,
        client_for(server) as client,
    ):
        error = await error_of(client, InputTooLongError, ["a", "a b c d"])
        assert "(4 > 3)" in str(error)
        assert "truncate_input_tokens" in str(error)
        assert error.code == "invalid_input_argument"
        await client.generate("bread", ["a", "a b c d"], {"truncate_input_tokens": 3})
    assert server.counts.rerank == 2


async def test_used_up_quota_is_no_authentication_error_and_not_retried():
    async with serve(faults={"quota": 1.0}) as server, client_for(server) as client:
        error = await error_of(client, QuotaExceededError)
    assert not isinstance(error, AuthenticationError | PermissionDeniedError | RateLimitError)
    assert (error.status, error.code) == (403, "token_quota_reached")
    assert "Request of 1 token(s) from quota was rejected" in str(error)
    assert (server.counts.rerank, error.attempts) == (1, 1)


@pytest.mark.parametrize("status", [403, 429])
async def test_quota_goes_by_its_code_whatever_the_status(status):
    async with (
        service(lambda _: refusal(status, "token_quota_reached", headers={"Retry-After": "1"})) as running,
        client_for(running) as client,
    ):
        error = await error_of(client, QuotaExceededError)
    assert (len(running.seen), error.status) == (1, status)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "invalid_request_entity", BadRequestError),
        (400, "json_type_error", BadRequestError),
        (400, "invalid_input_argument", BadRequestError),
        (400, "model_not_supported", ModelNotSupportedError),
        (404, "model_not_supported", ModelNotSupportedError),
        (400, "model_no_support_for_function", ModelNotSupportedError),
        (403, "authorization_rejected", PermissionDeniedError),
        (403, "no_associated_service_instance", PermissionDeniedError),
        (403, "never_heard_of", PermissionDeniedError),
        (404, "never_heard_of", BadRequestError),
        (413, "never_heard_of", RequestTooLargeError),
    ],
)
async def test_what_a_retry_cannot_mend_is_sent_once(status, code, kind):
    async with (
        service(lambda _: refusal(status, code, "made-up words")) as running,
        client_for(running) as client,
    ):
        error = await error_of(client, kind)
    assert type(error) is kind
    assert (len(running.seen), error.status, error.code) == (1, status, code)
    for words in ("made-up words", running.url + RERANK, "0123456789abcdef"):
        assert words in str(error)
    assert error.trace == "0123456789abcdef"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"errorCode": "X1", "errorMessage": "the identity service's words"}, "X1: the identity service's words"),
        ({"code": "X1", "message": "a tool's words", "description": "more"}, "X1: a tool's words"),
        ({"error": {"code": "X1", "message": "the gateway's words"}}, "X1: the gateway's words"),
        ({"error": "plain words"}, "answered 418: plain words"),
        ({"errors": []}, "not the service's JSON"),
        ({"errors": [{"code": 7, "message": {}}], "trace": 9}, "not the service's JSON"),
        ([1], "not the service's JSON"),
    ],
)
async def test_errors_of_other_shapes_keep_their_words(body, words):
    async with service(lambda _: web.json_response(body, status=418)) as running, client_for(running) as client:
        error = await error_of(client, BadRequestError)
    assert words in str(error)
    assert len(running.seen) == 1


@pytest.mark.parametrize("name", ["server_error", "unavailable", "empty_error", "no_trace", "gateway_timeout"])
async def test_a_service_that_goes_on_failing_is_given_up(name):
    async with serve(faults={name: 1.0}) as server, client_for(server, retries=TWICE) as client:
        error = await error_of(client, ServiceError)
    assert (server.counts.rerank, error.attempts) == (2, 2)
    assert "gave up after 2 attempts" in str(error)
    assert server.url + RERANK in str(error)


# Tokens


async def test_an_expired_token_is_renewed_and_the_batch_sent_once_more(server):
    async with client_for(server) as client:
        await client.generate("bread", ["a"])
        server.revoke_tokens()
        response = await client.generate("bread", ["bread", "x"])
    assert pairs(response) == ((0, 1.0), (1, 0.0))
    assert server.counts.statuses == {200: 2, 401: 1}
    assert (server.counts.token_requests, response.stats.retries) == (2, 1)


@pytest.mark.parametrize("name", ["token_expired", "token_rejected"])
async def test_a_second_401_is_final(name):
    async with serve(faults={name: 1.0}) as server, client_for(server) as client:
        error = await error_of(client, AuthenticationError)
    assert (server.counts.rerank, server.counts.token_requests, error.attempts) == (2, 2, 2)
    assert error.code.startswith("authentication_token_")
    assert "Check that the API key or token is valid" in str(error)


async def test_a_given_token_that_is_refused_says_that_it_cannot_be_renewed(server):
    token = server.issue_token(lifetime=0)
    async with client_for(server, credentials={"url": server.url, "token": token}) as client:
        error = await error_of(client, AuthenticationError)
    assert "cannot be renewed" in str(error)
    assert "api_key=" in str(error)
    assert "expired token" in str(error)
    assert (server.counts.rerank, server.counts.token_requests) == (1, 0)


async def test_a_token_revoked_under_fifty_calls_costs_few_exchanges():
    texts = tuple(f"text {number}" for number in range(8))
    async with (
        serve(latency=0.005, token_latency=0.01) as server,
        client_for(server, batching=BatchOptions(max_inputs=2)) as client,
    ):
        calls = [asyncio.create_task(client.generate("bread", texts)) for _ in range(50)]
        await until(lambda: server.counts.statuses[200] >= 60)
        server.revoke_tokens()
        responses = await asyncio.gather(*calls)
    assert all(pairs(response) == ranking(texts, None, "bread") for response in responses)
    assert server.counts.statuses[401] > 0
    assert server.counts.token_requests == 2


async def test_late_401s_for_the_old_token_do_not_drop_the_new_one():
    async def answer(seen):
        if seen.header("Authorization") == ["Bearer made-up-token-1"]:
            await asyncio.sleep(0.002 * seen.number)  # refused one after another, while the new token is already there
            return refusal(401, "authentication_token_expired")
        return honest(seen)

    async with service(answer) as running, client_for(running) as client:
        await asyncio.gather(*(client.generate("bread", [f"text {number}"]) for number in range(30)))
    assert (len(running.token_requests), len(running.seen)) == (2, 60)


@pytest.mark.parametrize("name", ["iam_error", "iam_html", "iam_rate_limited"])
async def test_the_token_endpoint_is_tried_again(name):
    faults = [Fault(name, nth=(1, 2))]
    async with serve(faults=faults) as server, client_for(server) as client:
        await client.generate("bread", ["a"])
    assert (server.counts.token_requests, server.counts.tokens, server.counts.rerank) == (3, 1, 1)


async def test_a_token_endpoint_that_goes_on_failing_is_given_up_and_named():
    async with serve(faults={"iam_error": 1.0}) as server, client_for(server, retries=TWICE) as client:
        errors = await asyncio.gather(*(client.generate("bread", ["a"]) for _ in range(20)), return_exceptions=True)
    assert server.counts.token_requests == 6, "an exchange for all gets five times the retries of a batch"
    assert {type(error) for error in errors} == {ServiceError}
    assert len({id(error) for error in errors}) == 20, "each caller gets an error of its own"
    assert all(server.token_url in str(error) and error.url == server.token_url for error in errors)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"made up",
        b'{"access_token": ""}',
        b'{"access_token": 5}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"access_token": "made-up", "expires_in": 0}',
        b'{"access_token": "made-up", "expires_in": -5}',
    ],
    ids=lambda body: repr(body)[:40],
)
async def test_a_token_answer_that_makes_no_sense_is_a_decode_error(body, stdlib_json):
    async with (
        service(token=lambda _: web.Response(body=body, content_type="application/json")) as running,
        client_for(running, retries=TWICE) as client,
    ):
        error = await error_of(client, DecodeError)
    assert running.url + TOKEN in str(error)
    assert running.seen == []


@pytest.mark.parametrize("lifetime", ['"soon"', "null", "true"])
async def test_a_lifetime_that_makes_no_sense_is_an_hour(lifetime, stdlib_json):
    body = f'{{"access_token": "made-up", "expires_in": {lifetime}}}'.encode()
    async with service(token=lambda _: web.Response(body=body)) as running, client_for(running) as client:
        await client.generate("bread", ["a"])
        await client.generate("bread", ["a"])
    assert (len(running.seen), len(running.token_requests)) == (2, 1)


@pytest.mark.parametrize("lifetime", ["1e400", "NaN", "Infinity", "1" + "0" * 400], ids=lambda text: text[:20])
async def test_a_lifetime_beyond_json_is_an_hour_or_a_decode_error(lifetime, stdlib_json):
    body = f'{{"access_token": "made-up", "expires_in": {lifetime}}}'.encode()
    async with (
        service(token=lambda _: web.Response(body=body)) as running,
        client_for(running, retries=TWICE) as client,
    ):
        try:
            await client.generate("bread", ["a"])
        except DecodeError:
            assert running.seen == []


# No answer


@pytest.fixture
def closed_url():
    """An address where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{free.getsockname()[1]}"


async def test_a_server_that_is_down_is_named(closed_url):
    credentials = {"url": closed_url, "token": "made-up"}
    async with client_for(None, credentials=credentials, project_id="p", retries=TWICE) as client:
        error = await error_of(client, ConnectionFailedError)
    assert isinstance(error, ConnectionError)
    assert error.refused
    assert (error.url, error.attempts) == (closed_url + RERANK, 2)
    assert closed_url + RERANK in str(error)
    assert "Check the URL, the network and that the service is up" in str(error)


async def test_a_token_endpoint_that_is_down_is_named(server, closed_url):
    credentials = {"url": server.url, "api_key": "made-up", "auth_url": closed_url + "/here"}
    async with client_for(server, credentials=credentials, retries=TWICE) as client:
        error = await error_of(client, ConnectionFailedError)
    assert closed_url + "/here" in str(error)
    assert server.counts.rerank == 0


BODY = b'{"model_id": "lexical", "results": [{"index": 0, "score": 0.5}], "input_token_count": 1}'


async def cut_body(_, writer):
    writer.write(http_answer(BODY)[:-20])
    await writer.drain()
    raise ConnectionError


async def cut_headers(_, writer):
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Le")
    await writer.drain()
    raise ConnectionError


async def cut_chunks(_, writer):
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20\r\n" + BODY[:10])
    await writer.drain()
    raise ConnectionError


async def close_at_once(_, writer):
    raise ConnectionError


async def no_http(_, writer):
    writer.write(b"SSH-2.0-made-up\r\n\r\n")
    await writer.drain()


async def bad_gzip(_, writer):
    writer.write(http_answer(BODY, headers=["Content-Encoding: gzip"]))
    await writer.drain()


async def bad_chunks(_, writer):
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n" + BODY)
    await writer.drain()
    raise ConnectionError


async def endless_header(_, writer):
    writer.write(b"HTTP/1.1 200 OK\r\nX-Made-Up: " + b"x" * 100_000 + b"\r\n\r\n")
    await writer.drain()
    raise ConnectionError


@pytest.mark.parametrize(
    "talk", [cut_body, cut_headers, cut_chunks, close_at_once, no_http, bad_gzip, bad_chunks, endless_header]
)
async def test_a_connection_that_breaks_is_tried_again_and_then_named(talk):
    async with raw_service(talk) as running:
        credentials = {"url": running.url, "token": "made-up"}
        async with client_for(running, credentials=credentials, retries=TWICE) as client:
            error = await error_of(client, ConnectionFailedError)
    assert len(running.seen) == 2
    assert running.url + RERANK in str(error)
    assert error.url == running.url + RERANK


async def silent(_, writer):
    await asyncio.sleep(60)


async def drips_then_stops(_, writer):
    writer.write(http_answer(BODY)[:-20])
    await writer.drain()
    await asyncio.sleep(60)


async def drips_for_ever(_, writer):
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"1\r\n \r\n")
        await writer.drain()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("talk", [silent, drips_then_stops, drips_for_ever])
async def test_an_answer_that_does_not_end_is_given_up_in_time(talk):
    async with raw_service(talk) as running:
        credentials = {"url": running.url, "token": "made-up"}
        options = {"retries": TWICE, "timeouts": Timeouts(request=0.1)}
        async with client_for(running, credentials=credentials, **options) as client:
            async with asyncio.timeout(30):
                error = await error_of(client, RequestTimeoutError)
            assert client.limit_status.in_flight == 0
    assert isinstance(error, TimeoutError)
    assert len(running.seen) == 2
    assert running.url + RERANK in str(error)
    assert "Timeouts.request" in str(error)


async def test_a_broken_connection_is_mended_by_a_retry():
    async def talk(number, writer):
        if number in {1, 3}:
            await cut_body(number, writer)
        writer.write(http_answer(BODY))
        await writer.drain()

    async with (
        raw_service(talk) as running,
        client_for(running, credentials={"url": running.url, "token": "made-up"}) as client,
    ):
        assert pairs(await client.generate("bread", ["a"])) == ((0, 0.5),)
        response = await client.generate("bread", ["b"])
    assert len(running.seen) == 4
    assert (response.stats.requests, response.stats.retries) == (2, 1)


# Answers that make no sense


@pytest.fixture(params=[False, True], ids=["default-json", "stdlib-json"])
def stdlib_json(request, monkeypatch):
    """Runs the test twice: with the codec that is installed, and with the standard library's."""
    if request.param:
        plain = json_codec.Codec(json_codec._dumps, *[json_codec._loads] * 2, json_codec._body, strict=False)
        for module in ("rerank_async.policy.wire", "rerank_async.policy.wire_errors", "rerank_async.auth.answers"):
            monkeypatch.setattr(f"{module}.codec", lambda: plain)


def results_of(*results, **more):
    return {"model_id": "lexical", "results": list(results), **more}


GOOD = [{"index": 0, "score": 0.5}, {"index": 1, "score": 0.25}]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", DecodeError),
        (b"made up", DecodeError),
        (b"\xff\xfe\x00", DecodeError),
        (b"[" * 100_000, DecodeError),
        (b'{"results": [' + b"1" * 5000 + b"]}", BadAnswerError),
        (b"null", DecodeError),
        (b"[]", DecodeError),
        (b'{"results": {}}', DecodeError),
        (results_of(), IntegrityError),
        (results_of(GOOD[0]), IntegrityError),
        (results_of(*GOOD, GOOD[1]), IntegrityError),
        (results_of(GOOD[0], GOOD[0]), IntegrityError),
        (results_of(GOOD[0], {"index": 2, "score": 1.0}), IntegrityError),
        (results_of(GOOD[0], {"index": -1, "score": 1.0}), IntegrityError),
        (results_of(GOOD[0], {"index": True, "score": 1.0}), IntegrityError),
        (results_of(GOOD[0], {"index": "1", "score": 1.0}), IntegrityError),
        (results_of(GOOD[0], {"index": 1.0, "score": 1.0}), IntegrityError),
        (results_of(GOOD[0], {"index": None, "score": 1.0}), IntegrityError),
        (results_of(GOOD[0], {"index": 1}), IntegrityError),
        (results_of(GOOD[0], {"score": 1.0}), IntegrityError),
        (results_of(GOOD[0], {"index": 1, "score": None}), IntegrityError),
        (results_of(GOOD[0], {"index": 1, "score": "1"}), IntegrityError),
        (results_of(GOOD[0], {"index": 1, "score": True}), IntegrityError),
        (b'{"results": [{"index": 0, "score": NaN}, {"index": 1, "score": 1}]}', BadAnswerError),
        (b'{"results": [{"index": 0, "score": 1e999}, {"index": 1, "score": 1}]}', BadAnswerError),
        (b'{"results": [{"index": 0, "score": 1' + b"0" * 400 + b'}, {"index": 1, "score": 1}]}', BadAnswerError),
        (results_of(GOOD[0], [1, 0.5]), IntegrityError),
        (results_of(GOOD[0], "made up"), IntegrityError),
        (results_of(GOOD[0], None), IntegrityError),
    ],
    ids=lambda value: repr(value)[:60],
)
async def test_nonsense_is_tried_again_and_then_named(body, kind, stdlib_json):
    def answer(_):
        return web.Response(body=body) if isinstance(body, bytes) else web.json_response(body)

    async with service(answer) as running, client_for(running, retries=TWICE) as client:
        error = await error_of(client, BadAnswerError, ["a", "b"])
    assert isinstance(error, kind)
    assert (len(running.seen), error.attempts) == (2, 2)
    assert running.url + RERANK in str(error)
    assert error.url == running.url + RERANK


@pytest.mark.parametrize(
    "more",
    [
        {"model_id": 7, "model_version": [], "created_at": 5, "input_token_count": "many", "query": {}, "system": 3},
        {"system": {"warnings": "none"}},
        {"system": {"warnings": [None, {}, {"message": 5}]}},
        {"results": [{**GOOD[1], "input": "bare"}, {**GOOD[0], "input": {"text": 5}}]},
        {"new": {"deep": [[[]]]}},
    ],
    ids=lambda more: repr(more)[:60],
)
async def test_odd_fields_around_good_results_pass(more):
    async with (
        service(lambda _: web.json_response({**results_of(*GOOD), **more})) as running,
        client_for(running) as client,
    ):
        response = await client.generate("bread", ["a", "b"])
    assert pairs(response) == ((0, 0.5), (1, 0.25))
    assert len(running.seen) == 1


# What an error carries


def refuse_numbers(*numbers, status=400):
    """Refuses the batches whose texts are these numbers."""

    def answer(seen):
        texts = [item["text"] for item in seen.json["inputs"]]
        return refusal(status, f"made_up_{texts[0]}") if int(texts[0]) in numbers else honest(seen)

    return answer


async def test_the_error_carries_what_was_scored_as_pairs_of_the_callers_indices():
    texts = ["0", "1", "0", "2", "3"]  # batches: 0, 1, 2, 3; the third fails
    async with (
        service(refuse_numbers(2)) as running,
        client_for(running, limits=ONE_LANE, batching=BatchOptions(max_inputs=1)) as client,
    ):
        error = await error_of(client, BadRequestError, texts)
    assert error.scored == ((0, 0.0), (1, 0.0), (2, 0.0))
    assert (error.others, error.attempts, len(running.seen)) == ((), 1, 3)


async def test_the_error_of_the_lowest_batch_is_raised_with_the_others_attached():
    arrived = asyncio.Event()

    async def answer(seen):
        if len(running.seen) == 4:
            arrived.set()
        await arrived.wait()
        return refuse_numbers(1, 2, 3)(seen)

    async with service(answer) as running, client_for(running, batching=BatchOptions(max_inputs=1)) as client:
        with pytest.raises(BadRequestError) as caught:
            await client.generate("bread", ["0", "1", "2", "3"])
    error = caught.value
    # Which of the three answers come before the first failure ends the rest is chance; the order is not.
    codes = [error.code, *(other.code for other in error.others)]
    assert codes == sorted(codes)
    assert set(codes) <= {"made_up_1", "made_up_2", "made_up_3"}
    assert not any(isinstance(each, BaseExceptionGroup) for each in chain(error))
    assert error.scored in {(), ((0, 0.0),)}
    assert client.limit_status.in_flight == client.limit_status.queued == 0


async def test_after_a_failure_nothing_more_is_sent():
    async with service(refuse_numbers(*range(500))) as running:
        options = LimitOptions(requests_per_second=math.inf, max_concurrency=4)
        async with client_for(running, limits=options, batching=BatchOptions(max_inputs=1)) as client:
            await error_of(client, BadRequestError, [str(number) for number in range(500)])
            sent = client.api_client.gate.granted
            await asyncio.sleep(0.05)
            # What was on its way may still arrive.
            assert len(running.seen) <= sent == client.api_client.gate.granted <= 4


ERRORS = [
    (lambda _: refusal(400, "made_up"), BadRequestError),
    (lambda _: refusal(401, "authentication_token_expired"), AuthenticationError),
    (lambda _: refusal(429, "rate_limit_reached_requests", headers={"Retry-After": "999"}), RateLimitError),
    (lambda _: refusal(503, "made_up"), ServiceError),
    (lambda _: web.Response(body=b"made up"), DecodeError),
    (lambda _: web.json_response({"results": []}), IntegrityError),
    (lambda _: web.Response(status=302, headers={"Location": "https://elsewhere.invalid"}), RerankError),
]


@pytest.mark.parametrize(("answer", "kind"), ERRORS)
async def test_errors_of_calls_pickle_with_all_they_carry(answer, kind):
    def after_the_first(seen):
        return honest(seen) if seen.number == 1 else answer(seen)

    async with (
        service(after_the_first) as running,
        client_for(running, retries=TWICE, limits=ONE_LANE, batching=BatchOptions(max_inputs=1)) as client,
    ):
        error = await error_of(client, kind, ["x", "y", "z"])
    twin = pickle.loads(pickle.dumps(error))
    assert type(twin) is type(error)
    assert str(twin) == str(error)
    assert vars(twin) == vars(error)
    assert twin.scored == ((0, 0.0),)


async def test_errors_without_an_answer_pickle_too(closed_url):
    credentials = {"url": closed_url, "token": "made-up"}
    async with client_for(None, credentials=credentials, project_id="p", retries=TWICE) as client:
        refused = await error_of(client, ConnectionFailedError)
    async with serve(faults={"hang": 1.0}) as server:
        async with client_for(server, timeouts=Timeouts(request=0.05), retries=TWICE) as client:
            late = await error_of(client, RequestTimeoutError)
        async with client_for(server) as client:
            deadline = await error_of(client, DeadlineExceededError, timeout=0.05)
    for error in (refused, late, deadline):
        twin = pickle.loads(pickle.dumps(error))
        assert (type(twin), str(twin), vars(twin)) == (type(error), str(error), vars(error))
        assert isinstance(error, NoAnswerError)


# What no error, log or traceback shows. These words stand in module variables, so that no line of this file's own
# source that a traceback quotes, and no local of its frames, holds them.

KEY = "made-up-key-WOMBAT"
TOKEN_WORD = "made-up-token-WOMBAT"
QUERY = "a query about the QUOKKA"
PASSAGES = ["a passage about the NUMBAT", "a passage about the NUMBAT and more", ""]
SECRETS = ("WOMBAT",)
TEXTS = ("QUOKKA", "NUMBAT")


def hidden(words, *texts):
    """Whether none of the words is in any of the texts."""
    return not any(word in text for word in words for text in texts)


def wombat_grant(_):
    return web.json_response({"access_token": TOKEN_WORD, "expires_in": 3600})


def by_key(running):
    return {"url": running.url, "api_key": KEY}


def by_token(running):
    return {"url": running.url, "token": TOKEN_WORD}


async def hang(_):
    await asyncio.sleep(60)


def cut(_):
    return web.json_response({"results": "made up"})


async def cut_echo(seen):
    reply = honest(seen)
    return web.Response(body=reply.text.encode()[:-5])


async def break_off(seen):
    raise ConnectionError


def half_a_body(seen):
    return web.Response(body=b"{", headers={"Content-Encoding": "gzip"})


CASES = {
    "wrong key": ({"token": lambda _: web.json_response({"errorCode": "X"}, status=400)}, by_key, {}),
    "no token in the answer": ({"token": lambda _: web.Response(body=b"{")}, by_key, {}),
    "token endpoint fails": ({"token": lambda _: refusal(500, "made_up")}, by_key, {}),
    "token endpoint hangs": ({"token": hang}, by_key, {"timeout": 0.1}),
    "401": ({"answer": lambda _: refusal(401, "authentication_token_expired")}, by_key, {}),
    "401 of a given token": ({"answer": lambda _: refusal(401, "authentication_token_not_valid")}, by_token, {}),
    "400": ({"answer": lambda _: refusal(400, "made_up")}, by_token, {}),
    "429": ({"answer": lambda _: refusal(429, "made_up", headers={"Retry-After": "999"})}, by_token, {}),
    "500": ({"answer": break_off}, by_token, {}),
    "redirect": ({"answer": lambda _: web.Response(status=307, headers={"Location": "https://x.invalid"})}, by_key, {}),
    "nonsense": ({"answer": cut}, by_key, {}),
    "cut echo": (
        {"answer": cut_echo},
        by_key,
        {"crypto": {"key_ref": "crn"}, "params": {"return_options": {"inputs": True}}},
    ),
    "broken encoding": ({"answer": half_a_body}, by_key, {}),
    "request timeout": ({"answer": hang}, by_key, {}),
    "deadline": ({"answer": hang}, by_token, {"timeout": 0.1}),
    "bad input": ({}, by_key, {"params": {"x": 1}}),
}


@pytest.mark.parametrize("inputs", [1, 3], ids=["one batch", "batches"])
@pytest.mark.parametrize("case", CASES)
async def test_no_text_and_no_secret_is_shown(case, inputs, caplog):
    caplog.set_level(logging.DEBUG)
    routes, credentials, options = CASES[case]
    async with service(**{"token": wombat_grant, **routes}) as running:
        client = client_for(
            running,
            credentials=credentials(running),
            batching=BatchOptions(max_inputs=1),
            retries=TWICE,
            timeouts=Timeouts(request=0.2 if case == "request timeout" else 60),
        )
        async with client:
            with pytest.raises(RerankError) as caught:
                await client.generate(QUERY, PASSAGES[:inputs], **options)
            shown = repr((client, client.api_client, client.limit_status, running.url))
    logged = caplog.text + "".join(str(vars(record)) for record in caplog.records)
    assert hidden(SECRETS + TEXTS, in_words(caught.value), shown, logged)
    assert hidden(SECRETS, with_locals(caught.value))


@pytest.mark.parametrize("talk", [cut_body, close_at_once, no_http], ids=lambda talk: talk.__name__)
async def test_no_text_and_no_secret_is_shown_when_the_connection_breaks(talk, caplog):
    caplog.set_level(logging.DEBUG)
    async with raw_service(talk) as running:
        async with client_for(running, credentials=by_token(running), retries=TWICE) as client:
            with pytest.raises(ConnectionFailedError) as caught:
                await client.generate(QUERY, PASSAGES)
        running.seen.clear()
    assert hidden(SECRETS + TEXTS, in_words(caught.value), caplog.text)
    assert hidden(SECRETS, with_locals(caught.value))


def test_no_secret_is_shown_when_a_client_cannot_be_made():
    bad = [
        {"credentials": {"url": "http://ml.example", "api_key": KEY}, "project_id": "p"},
        {"credentials": {"url": "http://127.0.0.1:9", "api_key": KEY}},
        {"credentials": {"url": "http://127.0.0.1:9", "api_key": KEY, "x": 1}, "project_id": "p"},
        {"credentials": {"url": "http://127.0.0.1:9", "token": TOKEN_WORD + "\n\n" + "x\x00"}, "project_id": "p"},
        {"credentials": {"url": "http://127.0.0.1:9", "token": TOKEN_WORD}, "project_id": "p", "verify": "/no/such"},
    ]
    for index in range(len(bad)):
        with pytest.raises(RerankError) as caught:
            AsyncRerank("lexical", **bad.pop(0))
        assert "WOMBAT" not in in_words(caught.value), index
        # This test's own frame holds the bad credentials that are still to come.
        frames = [part for part in with_locals(caught.value).split("  File ") if "/rerank_async/" in part[:200]]
        assert frames
        assert all("WOMBAT" not in frame for frame in frames), index


# Answers of another server: the address is wrong


def page(status):
    return web.Response(status=status, text="<html>made up</html>", content_type="text/html")


@pytest.mark.parametrize("status", [400, 404, 405])
async def test_a_page_in_place_of_a_token_blames_the_address_and_not_the_key(status):
    async with service(token=lambda _: page(status)) as running, client_for(running, retries=TWICE) as client:
        error = await error_of(client, AuthenticationError)
    assert f"{TOKEN} answered {status}: a body that is not the service's JSON (text/html, 20 bytes)" in str(error)
    assert "check the URL" in str(error)
    assert "auth_url" in str(error)
    assert "Check the API key" not in str(error)


@pytest.mark.parametrize("status", [400, 404, 405])
async def test_a_page_in_place_of_a_ranking_asks_to_check_the_url(status):
    async with service(lambda _: page(status)) as running, client_for(running, retries=TWICE) as client:
        error = await error_of(client, BadRequestError)
    assert "This does not look like the service: check the URL" in str(error)


async def test_an_unknown_path_in_json_asks_to_check_the_url_too():
    async with (
        service(lambda _: web.json_response({"message": "no route"}, status=404)) as running,
        client_for(running, retries=TWICE) as client,
    ):
        error = await error_of(client, BadRequestError)
    assert "answered 404: no route. This does not look like the service: check the URL" in str(error)


async def test_what_the_service_says_by_a_code_is_not_about_the_address():
    async with service(lambda _: refusal(404, "never_heard_of")) as running, client_for(running) as client:
        error = await error_of(client, BadRequestError)
    assert "URL" not in str(error)


async def test_a_page_with_status_200_is_named_by_its_type():
    async with service(lambda _: page(200)) as running, client_for(running, retries=TWICE) as client:
        error = await error_of(client, DecodeError)
    assert "answered 200 with a body that is not JSON (text/html, 20 bytes)" in str(error)
    assert "Check the URL" in str(error)


async def test_a_failure_of_many_texts_has_a_short_repr():
    texts = [f"text {number}" for number in range(9000)]
    async with (
        service(lambda _: refusal(400, "never_heard_of")) as running,
        client_for(running, on_failure="partial", batching=BatchOptions(max_inputs=1000, dedupe=False)) as client,
    ):
        response = await client.generate("bread", texts)
    assert sorted(index for failure in response.failures for index in failure.indices) == list(range(9000))
    assert len(repr(response)) < 20_000
    first = min(response.failures, key=lambda failure: failure.indices)
    assert repr(first).startswith("BatchFailure(indices=(0, 1, 2, 3, 4, 5, 6, ..., ")
    assert f"; {len(first.indices)} in all)" in repr(first)
