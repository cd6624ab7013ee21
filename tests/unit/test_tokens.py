"""The token cache on a clock turned by hand, and IAM's requests and answers."""

import asyncio
import logging

import pytest
from support.bodies import as_bytes, exchange_of, wire
from support.clock import FakeClock, settle
from support.codecs import NAMES, use_codec

from rerank_async import __version__
from rerank_async.auth import GivenToken, IamApiKey, choose_flow
from rerank_async.auth.grant import TokenGrant
from rerank_async.auth.iam import token_url
from rerank_async.errors import (
    AuthenticationError,
    ClientClosedError,
    ConnectionFailedError,
    DecodeError,
    InvalidArgumentError,
    RateLimitError,
    RedirectError,
    RerankError,
    ServiceError,
)
from rerank_async.runtime.tokens import GivenTokenCache, TokenCache
from rerank_async.values.credentials import Credentials
from rerank_async.values.secret import Secret


class Source:
    """Grants tokens t1, t2, ... when it is told to, or at once."""

    def __init__(self, lifetime=100.0, *, at_once=False):
        self.lifetime = lifetime
        self.at_once = at_once
        self.asked = 0
        self.open = []
        self.failure = None

    async def __call__(self):
        self.asked += 1
        number = self.asked
        if not self.at_once:
            gate = asyncio.get_running_loop().create_future()
            self.open.append(gate)
            await gate
        if self.failure is not None:
            raise self.failure
        return TokenGrant(Secret(f"Bearer t{number}"), self.lifetime)

    async def answer(self, failure=None):
        self.failure = failure
        self.open.pop(0).set_result(None)
        await settle()


def cache_of(*, at_once=False, lifetime=100.0, spread=lambda low, high: (low + high) / 2):
    source, clock = Source(lifetime, at_once=at_once), FakeClock()
    return TokenCache(source, clock, spread), source, clock


def word(token):
    return token.authorization.reveal()


async def waiting(cache, count=1):
    tasks = [asyncio.create_task(cache.get()) for _ in range(count)]
    await settle()
    return tasks


# One exchange for all


async def test_five_hundred_callers_are_one_exchange():
    cache, source, _ = cache_of()
    tasks = await waiting(cache, 500)
    assert source.asked == 1
    assert not any(task.done() for task in tasks)
    await source.answer()
    assert {word(task.result()) for task in tasks} == {"Bearer t1"}
    assert (source.asked, cache.exchanges) == (1, 1)
    assert word(await cache.get()) == "Bearer t1"
    assert cache.exchanges == 1


async def test_a_living_token_costs_no_round_of_the_loop():
    cache, _, _ = cache_of(at_once=True)
    first = await cache.get()
    assert cache.alive() is first
    getting = cache.get()
    with pytest.raises(StopIteration) as stopped:
        getting.send(None)
    assert stopped.value.value is first


async def test_without_a_token_nothing_is_alive_and_looking_starts_nothing():
    cache, source, _ = cache_of()
    assert cache.alive() is None
    await settle()
    assert source.asked == 0


# Cancellation


@pytest.mark.parametrize(
    "cancelled",
    [[0], [9], [0, 9], list(range(9)), list(range(1, 10))],
    ids=["first", "last", "both", "all but the last", "all but the first"],
)
async def test_callers_that_give_up_do_not_take_the_exchange_from_the_others(cancelled):
    cache, source, _ = cache_of()
    tasks = await waiting(cache, 10)
    for index in cancelled:
        tasks[index].cancel()
    await settle()
    assert [index for index, task in enumerate(tasks) if task.cancelled()] == cancelled
    await source.answer()
    assert all(word(task.result()) == "Bearer t1" for index, task in enumerate(tasks) if index not in cancelled)
    assert source.asked == 1


async def test_when_all_give_up_the_token_is_kept_for_the_next():
    cache, source, _ = cache_of()
    for task in await waiting(cache, 3):
        task.cancel()
    await settle()
    await source.answer()
    assert word(cache.alive()) == "Bearer t1"
    assert source.asked == 1


async def test_when_all_give_up_and_the_exchange_fails_nobody_hears_of_it():
    cache, source, _ = cache_of()
    for task in await waiting(cache, 3):
        task.cancel()
    await settle()
    await source.answer(ServiceError("down", status=503))
    # An exception that was never retrieved would be logged as an error; conftest's fixture looks for that.
    assert cache.alive() is None


# Failure


async def test_each_caller_gets_an_error_of_its_own_with_the_cause():
    cache, source, _ = cache_of()
    tasks = await waiting(cache, 3)
    root = OSError("refused")
    failure = ConnectionFailedError("no connection", url="https://iam.example")
    failure.__cause__ = root
    failure.attempts = 6
    await source.answer(failure)
    found = [task.exception() for task in tasks]
    assert len({id(error) for error in found}) == 3
    for error in found:
        assert type(error) is ConnectionFailedError
        assert (str(error), error.url, error.attempts) == ("no connection", "https://iam.example", 6)
        assert error.__cause__ is root


async def test_after_a_failure_the_next_caller_tries_again():
    cache, source, _ = cache_of()
    (task,) = await waiting(cache)
    await source.answer(ServiceError("down", status=503))
    assert isinstance(task.exception(), ServiceError)
    (task,) = await waiting(cache)
    await source.answer()
    assert word(task.result()) == "Bearer t2"


# Renewal


async def test_from_refresh_at_on_a_use_renews_in_the_background_while_the_old_token_serves():
    cache, source, clock = cache_of()
    (task,) = await waiting(cache)
    await source.answer()
    token = task.result()
    # Lives for 100 s from 1000; the spread of this test is the middle of half and three quarters.
    assert (token.refresh_at, token.expires_at) == (1062.5, 1100.0)
    await clock.advance_to(1062.4)
    assert cache.alive() is token
    await settle()
    assert source.asked == 1
    await clock.advance_to(1062.5)
    assert source.asked == 1, "time alone renews nothing"
    assert cache.alive() is token
    await settle()
    assert source.asked == 2
    assert cache.alive() is token
    assert word(await cache.get()) == "Bearer t1", "nobody waits for the renewal"
    await settle()
    assert source.asked == 2, "and it is one renewal"
    await source.answer()
    assert word(cache.alive()) == "Bearer t2"


@pytest.mark.parametrize(("part", "refresh_at"), [(0.5, 1050.0), (0.75, 1075.0)])
async def test_the_moment_of_renewal_is_drawn_between_half_and_three_quarters(part, refresh_at):
    asked_for = []

    def spread(low, high):
        asked_for.append((low, high))
        return part

    cache, _, _ = cache_of(at_once=True, spread=spread)
    assert (await cache.get()).refresh_at == refresh_at
    assert asked_for == [(0.5, 0.75)]


async def test_the_life_is_counted_from_the_answer():
    cache, source, clock = cache_of()
    (task,) = await waiting(cache)
    await clock.advance(7.0)
    await source.answer()
    assert task.result().expires_at == 1107.0


async def test_a_dead_token_does_not_serve_and_all_wait_for_one_new_one():
    cache, source, clock = cache_of(at_once=True)
    await cache.get()
    source.at_once = False
    await clock.advance_to(1100.0)
    assert cache.alive() is None
    tasks = await waiting(cache, 5)
    assert source.asked == 2
    await source.answer()
    assert {word(task.result()) for task in tasks} == {"Bearer t2"}


async def test_a_failed_renewal_is_harmless_until_the_old_token_is_dead(caplog):
    cache, source, clock = cache_of(at_once=True)
    token = await cache.get()
    source.failure = ServiceError("down", status=503)
    await clock.advance_to(1080.0)
    with caplog.at_level(logging.WARNING, "rerank_async"):
        assert cache.alive() is token
        await settle()
    assert source.asked == 2
    assert "old one serves for another 20 s: down" in caplog.text
    assert "Bearer" not in caplog.text
    assert cache.alive() is token
    assert await cache.get() is token
    await settle()
    assert source.asked == 2, "the next renewal waits a moment"
    await clock.advance_to(1080.99)
    assert cache.alive() is token
    await settle()
    assert source.asked == 2
    await clock.advance_to(1081.0)
    assert cache.alive() is token
    await settle()
    assert source.asked == 3
    await clock.advance_to(1100.0)
    with pytest.raises(ServiceError, match="down"):
        await cache.get()


async def test_a_caller_that_comes_when_the_token_dies_joins_the_renewal_under_way():
    cache, source, clock = cache_of(at_once=True)
    await cache.get()
    source.at_once = False
    await clock.advance_to(1090.0)
    cache.alive()
    await settle()
    await clock.advance_to(1100.0)
    (task,) = await waiting(cache)
    assert source.asked == 2
    await source.answer()
    assert word(task.result()) == "Bearer t2"


# drop


async def test_a_refused_token_is_dropped_only_if_it_is_the_cached_one():
    cache, source, _ = cache_of(at_once=True)
    old = await cache.get()
    cache.drop(old)
    assert cache.alive() is None
    new = await cache.get()
    assert (word(new), source.asked) == ("Bearer t2", 2)
    cache.drop(old)  # another batch that was sent with the old one hears its 401 only now
    assert cache.alive() is new
    assert await cache.get() is new
    assert source.asked == 2


# Closed


async def test_closed_while_they_wait():
    cache, _, _ = cache_of()
    tasks = await waiting(cache, 3)
    await cache.aclose()
    await settle()
    assert [type(task.exception()) for task in tasks] == [ClientClosedError] * 3


async def test_closed_with_nothing_under_way_and_closed_twice():
    cache, _, _ = cache_of(at_once=True)
    await cache.get()
    await cache.aclose()
    await cache.aclose()
    assert cache.exchanges == 1


async def test_a_closed_cache_starts_no_exchange():
    cache, source, clock = cache_of(at_once=True)
    await cache.get()
    await cache.aclose()
    await clock.advance_to(1070.0)
    cache.alive()
    await settle()
    assert source.asked == 1, "no renewal"
    await clock.advance_to(1200.0)
    with pytest.raises(ClientClosedError):
        await cache.get()
    assert source.asked == 1


async def test_one_s_own_cancellation_passes_even_while_the_client_is_being_closed():
    cache, _, _ = cache_of()
    (task,) = await waiting(cache)
    closing = asyncio.create_task(cache.aclose())
    while not closing.done():
        task.cancel()
        await asyncio.sleep(0)
    await settle()
    assert task.cancelled()


def test_the_exchange_of_a_loop_that_is_gone_is_dropped_and_the_token_stays():
    cache, source, _ = cache_of(at_once=True)
    token = asyncio.run(cache.get())
    cache.forget_loop()
    source.at_once = False

    async def leave_one_behind():
        cache.drop(token)
        return await waiting(cache)

    loop = asyncio.new_event_loop()
    (left,) = loop.run_until_complete(leave_one_behind())
    cache.forget_loop()
    source.at_once = True
    assert word(asyncio.run(cache.get())) == "Bearer t3"
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.gather(left, return_exceptions=True))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


def test_the_token_outlives_its_loop():
    cache, source, _ = cache_of(at_once=True)
    first = asyncio.run(cache.get())
    cache.forget_loop()

    async def again():
        return await cache.get()

    assert asyncio.run(again()) is first
    assert source.asked == 1


async def test_a_given_token_has_the_same_face_and_is_never_renewed():
    cache = GivenTokenCache(GivenToken(Secret("made-up")))
    token = cache.alive()
    assert word(token) == "Bearer made-up"
    assert await cache.get() is token
    cache.drop(token)
    await cache.aclose()
    cache.forget_loop()
    assert cache.alive() is token
    assert cache.exchanges == 0
    assert "cannot be renewed" in cache.advice
    assert TokenCache.advice is None


async def test_no_repr_shows_the_token():
    cache, _, _ = cache_of(at_once=True)
    shown = repr(await cache.get()) + repr(TokenGrant(Secret("Bearer t9"), 1.0)) + repr(GivenToken(Secret("t9")))
    assert "t1" not in shown
    assert "t9" not in shown


# IAM


@pytest.fixture(params=NAMES)
def codec_name(request):
    with use_codec(request.param):
        yield request.param


FLOW = IamApiKey("https://iam.example/identity/token", Secret("made-up+api/key="))


def parsed(body, status=200, headers=None):
    return FLOW.parse(status, headers or {}, Secret(as_bytes(body).decode("latin-1")))


def test_the_request_is_the_documented_one_to_the_letter():
    from urllib.parse import parse_qsl

    recorded = wire("token_request_apikey")
    request = FLOW.request()
    assert request.url == "https://iam.example/identity/token"
    # The documented headers, and who asks, as every request to the service says.
    assert dict(request.headers) == recorded["headers"] | {"User-Agent": f"rerank_async/{__version__}"}
    assert [list(pair) for pair in parse_qsl(request.body.reveal(), strict_parsing=True)] == recorded["body"]
    assert (
        request.body.reveal()
        == "grant_type=urn%3Aibm%3Aparams%3Aoauth%3Agrant-type%3Aapikey&apikey=made-up%2Bapi%2Fkey%3D"
    )
    assert "made-up" not in repr(request)


def test_the_recorded_answer_is_a_token(codec_name):
    status, headers, body = exchange_of("token_answer")
    grant = FLOW.parse(status, headers, Secret(body.decode("latin-1")))
    assert (grant.authorization.reveal(), grant.lifetime) == ("Bearer made-up-token", 3600.0)


@pytest.mark.parametrize(
    ("expires_in", "lifetime"),
    [
        (3600, 3600.0),
        (1, 1.0),
        (0.5, 0.5),
        (86400, 86400.0),
        (None, 3600.0),
        ("3600", 3600.0),
        ("soon", 3600.0),
        (True, 3600.0),
        (False, 3600.0),
        ([], 3600.0),
    ],
)
def test_a_life_that_is_not_said_in_numbers_is_the_documented_hour(codec_name, expires_in, lifetime):
    assert parsed({"access_token": "t", "expires_in": expires_in}).lifetime == lifetime


def test_a_life_that_is_not_said_at_all_is_the_documented_hour(codec_name):
    assert parsed({"access_token": "t"}).lifetime == 3600.0


@pytest.mark.parametrize("expires_in", [0, -1, -0.5, 0.0])
def test_a_token_that_has_already_expired_is_no_token(codec_name, expires_in):
    with pytest.raises(DecodeError, match="already expired"):
        parsed({"access_token": "t", "expires_in": expires_in})


@pytest.mark.parametrize("expires_in", ["NaN", "Infinity", "1e400", "1" + "0" * 400])
def test_a_life_beyond_every_float_is_an_error_of_ours_or_the_documented_hour(codec_name, expires_in):
    body = '{"access_token":"t","expires_in":' + expires_in + "}"
    if codec_name == "stdlib":
        assert parsed(body).lifetime == 3600.0
    else:
        with pytest.raises(DecodeError):  # orjson refuses such numbers
            parsed(body)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "<html>login</html>",
        "null",
        "[]",
        "5",
        '"token"',
        "{}",
        {"access_token": ""},
        {"access_token": None},
        {"access_token": 5},
        {"access_token": ["t"]},
        {"token": "t"},
        "\xff\xfe",
        "[" * 100_000,
    ],
    ids=lambda body: repr(body)[:24],
)
def test_an_answer_without_a_token(codec_name, body):
    with pytest.raises(DecodeError, match="without an access_token") as raised:
        parsed(body)
    assert raised.value.url == FLOW.url
    assert raised.value.__cause__ is None, "the JSON error would carry the body, which may hold a token"


@pytest.mark.parametrize("token", ["a\nb", "a\r\nX-Injected: 1", "a\0b", "t\u00fc", "a b\x7f"], ids=ascii)
def test_a_token_that_no_header_can_carry_is_no_token(codec_name, token):
    with pytest.raises(DecodeError):
        parsed({"access_token": token})


def test_a_bad_key_is_an_authentication_error_though_its_status_is_400(codec_name):
    status, headers, body = exchange_of("token_error_unknown_key")
    with pytest.raises(AuthenticationError, match="Provided API key could not be found") as raised:
        FLOW.parse(status, headers, Secret(body.decode("latin-1")))
    error = raised.value
    assert (error.status, error.code, error.trace, error.url) == (400, "BXNIM0415E", "made-up-request", FLOW.url)
    assert "Check the API key" in str(error)
    assert "made-up+api" not in str(error)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, AuthenticationError),
        (401, AuthenticationError),
        (403, AuthenticationError),
        (404, AuthenticationError),
        (429, RateLimitError),
        (500, ServiceError),
        (503, ServiceError),
        (302, RedirectError),
    ],
)
@pytest.mark.parametrize(
    "body", ["", "<html>Oops</html>", {"errorCode": "BXN", "errorMessage": "m"}], ids=["empty", "html", "json"]
)
def test_a_refusal_by_its_status(codec_name, status, kind, body):
    with pytest.raises(RerankError) as raised:
        parsed(body, status, {"retry-after": "3"})
    assert type(raised.value) is kind
    assert raised.value.status == status
    if kind in {RateLimitError, ServiceError}:
        assert raised.value.retry_after == 3.0


# Which way in, and where


@pytest.mark.parametrize(
    ("service", "endpoint"),
    [
        *(
            (f"https://{prefix}{region}.ml.cloud.ibm.com", "https://iam.cloud.ibm.com/identity/token")
            for prefix in ("", "private.")
            for region in ("us-south", "eu-de", "eu-gb", "jp-tok", "au-syd", "ca-tor")
        ),
        ("https://US-SOUTH.ml.cloud.ibm.com", "https://iam.cloud.ibm.com/identity/token"),
        ("https://us-south.ml.test.cloud.ibm.com", "https://iam.test.cloud.ibm.com/identity/token"),
        ("http://127.0.0.1:8765", "http://127.0.0.1:8765/identity/token"),
        ("http://[::1]:8765", "http://[::1]:8765/identity/token"),
        ("http://localhost:1/base", "http://localhost:1/identity/token"),
        ("https://cpd.example.com", None),
        ("https://evil-cloud.ibm.com.example", None),
        ("https://evilcloud.ibm.com", None),
        ("https://ap-south-1.aws.wxai.ibm.com", None),
    ],
)
def test_the_default_token_endpoint(service, endpoint):
    assert token_url(service) == endpoint


def test_a_key_goes_to_iam_and_auth_url_replaces_the_address_whole():
    flow = choose_flow(Credentials("https://us-south.ml.cloud.ibm.com", "k"))
    assert isinstance(flow, IamApiKey)
    assert flow.url == "https://iam.cloud.ibm.com/identity/token"
    flow = choose_flow(Credentials("https://cpd.example.com", "k", auth_url="https://iam.example.com/my/token"))
    assert (flow.url, flow.api_key) == ("https://iam.example.com/my/token", Secret("k"))


@pytest.mark.parametrize("given", ["t", "Bearer t", " Bearer t ", "Bearer  t"])
def test_a_given_token_wins_over_a_key_and_may_say_bearer(given):
    flow = choose_flow(Credentials("https://us-south.ml.cloud.ibm.com", "k", given))
    assert isinstance(flow, GivenToken)
    assert flow.authorization() == Secret("Bearer t")


def test_neither_key_nor_token_and_no_known_endpoint_are_errors_that_say_what_to_give():
    with pytest.raises(InvalidArgumentError, match="neither api_key nor token"):
        choose_flow(Credentials("https://us-south.ml.cloud.ibm.com"))
    with pytest.raises(InvalidArgumentError, match="auth_url=") as raised:
        choose_flow(Credentials("https://cpd.example.com", "hunter2"))
    assert "cpd.example.com" in str(raised.value)
    assert "hunter2" not in str(raised.value)
