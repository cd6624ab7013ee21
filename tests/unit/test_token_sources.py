"""Where tokens come from, on a clock turned by hand: retries, outages, fallbacks, functions, and hard load."""

import asyncio
import gc
import logging
import random
import threading

import pytest
from support.clock import FakeClock, settle
from support.endpoints import Endpoint, reply
from support.exchanges import NOON, jwt
from support.tracebacks import python_s_own, with_locals

from rerank_async import Credentials, MemoryTokenStore, RetryOptions
from rerank_async.auth import choose_flow
from rerank_async.errors import (
    AuthenticationError,
    CertificateError,
    ConnectionFailedError,
    DecodeError,
    RateLimitError,
    RedirectError,
    RequestTimeoutError,
    RerankError,
    ServiceError,
)
from rerank_async.runtime.token_sources import ExchangeSource
from rerank_async.runtime.tokens import GivenTokenCache, TokenCache, tokens_for

CLOUD = "https://us-south.ml.cloud.ibm.com"
PAK = "https://cpd-zen.apps.example.com"
KEY = "hunter2-the-key"


def cache_of(endpoint, *, seed=0, retries=None, store=None, url=CLOUD, **fields):
    """The cache that a client would have, with chance that repeats."""
    flow = choose_flow(Credentials(url, **fields or {"api_key": KEY}))
    cache = tokens_for(flow, endpoint, retries or RetryOptions(), endpoint.clock, store=store, wall=lambda: NOON)
    chance = random.Random(seed)
    if isinstance(cache, TokenCache):
        cache._spread = chance.uniform
        if isinstance(cache._source, ExchangeSource):
            cache._source.jitter = lambda longest: chance.uniform(0, longest)
    return cache


async def turned(clock, awaitable, seconds=120.0):
    """The outcome of something that waits by the fake clock."""
    task = asyncio.ensure_future(awaitable)
    end = clock.now() + seconds
    await settle()
    while not task.done():
        assert clock.now() < end, "it never ends"
        await clock.advance_to(min([*clock.pending[:1], end]))
    return await task


# Hard load


class Load:
    """Calls that begin every 20 ms for 30 s, each of which needs a token that the service takes."""

    def __init__(self, cache, endpoint):
        self.cache = cache
        self.endpoint = endpoint
        self.served = 0

    async def call(self):
        while (token := self.cache.alive()) is None:
            await self.cache.get()
        assert self.endpoint.takes(token)
        self.served += 1

    async def run(self):
        clock = self.endpoint.clock
        calls = []
        for _ in range(1500):
            calls.append(asyncio.create_task(self.call()))
            await clock.advance(0.02)
        await clock.advance(60.0)
        await asyncio.gather(*calls)
        assert self.served == 1500


@pytest.mark.parametrize("seed", range(5))
async def test_a_life_of_two_seconds_under_thirty_seconds_of_load(seed):
    endpoint = Endpoint(FakeClock(), lifetime=2.0, latency=0.05)
    cache = cache_of(endpoint, seed=seed)
    await Load(cache, endpoint).run()
    assert 15 <= cache.exchanges == len(endpoint.requests) <= 32


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "trouble",
    [
        lambda now: reply({}, 503),
        lambda now: reply({}, 429),
        lambda now: ConnectionFailedError("refused", url="https://iam.example"),
        lambda now: reply(b"<html>sorry</html>", content_type="text/html"),
    ],
    ids=["503", "429", "refused", "html"],
)
async def test_an_endpoint_that_is_down_for_most_of_the_time_fails_no_call(seed, trouble):
    clock = FakeClock()
    endpoint = Endpoint(clock, lifetime=2.0, trouble=lambda now: trouble(now) if (now - 1000.0) % 0.5 < 0.3 else None)
    cache = cache_of(endpoint, seed=seed)
    await Load(cache, endpoint).run()


async def test_five_hundred_first_calls_are_one_request():
    endpoint = Endpoint(FakeClock(), latency=0.1)
    cache = cache_of(endpoint)
    calls = [asyncio.create_task(cache.get()) for _ in range(500)]
    await endpoint.clock.advance(0.1)
    assert {token.authorization.reveal() for token in await asyncio.gather(*calls)} == {"Bearer t1"}
    assert (cache.exchanges, len(endpoint.requests)) == (1, 1)


@pytest.mark.parametrize("cancelled", [0, 199], ids=["first", "last"])
async def test_a_caller_that_is_cancelled_in_the_middle_takes_nothing_from_the_others(cancelled):
    endpoint = Endpoint(FakeClock(), latency=0.1)
    cache = cache_of(endpoint)
    calls = [asyncio.create_task(cache.get()) for _ in range(200)]
    await endpoint.clock.advance(0.05)
    calls[cancelled].cancel()
    await endpoint.clock.advance(0.1)
    found = await asyncio.gather(*calls, return_exceptions=True)
    assert [index for index, each in enumerate(found) if isinstance(each, BaseException)] == [cancelled]
    assert (cache.exchanges, len(endpoint.requests)) == (1, 1)


async def test_a_token_revoked_under_two_hundred_callers_costs_one_exchange():
    endpoint = Endpoint(FakeClock(), latency=0.1)
    cache = cache_of(endpoint)
    (old,) = [await turned(endpoint.clock, cache.get())]

    async def call(number):
        token = cache.alive() or await cache.get()
        if token is old:  # the service says 401, to each at its own time
            await endpoint.clock.sleep(number / 1000)
            cache.drop(token)
            token = cache.alive() or await cache.get()
        return token

    calls = [asyncio.create_task(call(number)) for number in range(200)]
    await endpoint.clock.advance(1.0)
    assert {token.authorization.reveal() for token in await asyncio.gather(*calls)} == {"Bearer t2"}
    assert (cache.exchanges, len(endpoint.requests)) == (2, 2)


# Retries


@pytest.mark.parametrize(
    "trouble",
    [
        reply({}, 500),
        reply({}, 503),
        reply({}, 429),
        reply({}, 408),
        reply(b""),
        reply({"access_token": "t", "expires_in": 0}),
        RequestTimeoutError("too late", url="https://iam.example"),
        ConnectionFailedError("refused", url="https://iam.example"),
    ],
    ids=["500", "503", "429", "408", "empty", "expired", "timeout", "refused"],
)
async def test_what_a_retry_may_mend_is_asked_again_and_in_the_end_given_up(trouble):
    endpoint = Endpoint(FakeClock(), trouble=lambda now: trouble)
    cache = cache_of(endpoint)
    begun = endpoint.clock.now()
    with pytest.raises(RerankError) as raised:
        await turned(endpoint.clock, cache.get())
    # The default is 5 retries of a batch; 25 of a token, half a second apart on average.
    assert len(endpoint.requests) == raised.value.attempts == 26
    assert 4.0 < endpoint.clock.now() - begun < 25.0
    assert cache.exchanges == 1


@pytest.mark.parametrize(
    ("trouble", "kind"),
    [
        (reply({"errorCode": "BXNIM0415E", "errorMessage": "no such key"}, 400), AuthenticationError),
        (reply({}, 401), AuthenticationError),
        (reply({}, 403), AuthenticationError),
        (reply({}, 302, location="https://elsewhere.example"), RedirectError),
        (CertificateError("not accepted", url="https://iam.example"), CertificateError),
        (reply({}, 429, retry_after="3600"), RateLimitError),
        (reply({}, 503, retry_after="3600"), ServiceError),
    ],
    ids=["400", "401", "403", "302", "certificate", "429 for an hour", "503 for an hour"],
)
async def test_what_no_retry_mends_is_raised_at_once(trouble, kind):
    endpoint = Endpoint(FakeClock(), trouble=lambda now: trouble)
    cache = cache_of(endpoint)
    with pytest.raises(kind) as raised:
        await cache.get()
    assert len(endpoint.requests) == raised.value.attempts == 1
    if kind is AuthenticationError:
        assert raised.value.code == ("BXNIM0415E" if raised.value.status == 400 else None)


@pytest.mark.parametrize("status", [429, 503])
async def test_the_endpoint_s_own_wait_is_kept(status):
    clock = FakeClock()
    endpoint = Endpoint(clock, trouble=lambda now: reply({}, status, retry_after="7") if now < 1007.0 else None)
    await turned(clock, cache_of(endpoint).get())
    assert len(endpoint.requests) == 2
    assert 1007.0 <= clock.now() < 1008.0


@pytest.mark.parametrize(("latency", "attempts"), [(120.0, {1}), (25.0, {3}), (5.0, {10, 11, 12})])
async def test_an_endpoint_that_hangs_is_not_waited_for_without_end(latency, attempts):
    late = RequestTimeoutError("too late", url="https://iam.example")
    endpoint = Endpoint(FakeClock(), latency=latency, trouble=lambda now: late)
    with pytest.raises(RequestTimeoutError):
        await turned(endpoint.clock, cache_of(endpoint).get(), 200.0)
    assert len(endpoint.requests) in attempts


async def test_who_wants_no_retries_gets_none():
    endpoint = Endpoint(FakeClock(), trouble=lambda now: reply({}, 503))
    with pytest.raises(ServiceError):
        await cache_of(endpoint, retries=RetryOptions(max_attempts=1)).get()
    assert len(endpoint.requests) == 1


async def test_tokens_that_live_for_a_moment_are_asked_for_once_a_second(caplog):
    endpoint = Endpoint(FakeClock(), lifetime=0.2)
    cache = cache_of(endpoint)
    begun = endpoint.clock.now()
    with caplog.at_level(logging.WARNING, "rerank_async"):
        for _ in range(6):  # as a call that never gets to send before the token is dead
            await turned(endpoint.clock, cache.get())
            await endpoint.clock.advance(0.2)
    assert len(endpoint.requests) == 6
    assert endpoint.clock.now() - begun >= 5.0
    assert "tokens live for only 0.2 s" in caplog.text


# More than one step


async def test_a_guess_that_failed_is_not_made_again():
    clock = FakeClock()
    endpoint = Endpoint(clock, lifetime=10.0)
    real = endpoint.send

    async def send(method, url, **options):
        if "idprovider" in str(url):
            endpoint.requests.append((method, str(url), None, None))
            raise ConnectionFailedError("no such host", url=str(url))
        return await real(method, url, **options)

    endpoint.send = send
    cache = cache_of(endpoint, url=PAK, username="ada", password="hunter2")
    assert (await cache.get()).authorization.reveal() == "Bearer t1"
    assert cache.granted.flow == "cp4d"
    await clock.advance(11.0)
    assert (await cache.get()).authorization.reveal() == "Bearer t2"
    asked = [url.removeprefix(PAK) for _, url, _, _ in endpoint.requests]
    assert asked == ["/idprovider/v1/auth/identitytoken", "/icp4d-api/v1/authorize", "/icp4d-api/v1/authorize"]


async def test_a_failure_of_the_second_step_begins_with_the_first_again():
    clock = FakeClock()
    answers = [reply({"access_token": "first", "expires_in": 9}), reply({}, 503)]
    endpoint = Endpoint(clock, trouble=lambda now: answers.pop(0) if answers else None)
    cache = cache_of(endpoint, api_key=KEY, trusted_profile_id="p")
    await turned(clock, cache.get())
    bodies = [body.reveal().partition("&")[0] for _, _, _, body in endpoint.requests]
    assert ["apikey" in body for body in bodies] == [True, False, True, False]


# Functions


def function_cache(clock, **fields):
    return cache_of(Endpoint(clock), **fields)


async def test_a_function_that_blocks_is_called_in_a_thread_and_once_for_all():
    called_in = []

    def token_function():
        called_in.append(threading.current_thread())
        return "hunter2", NOON + 60

    cache = function_cache(FakeClock(), token_function=token_function)
    tokens = await asyncio.gather(*(cache.get() for _ in range(50)))
    assert {token.authorization.reveal() for token in tokens} == {"Bearer hunter2"}
    assert len(called_in) == cache.exchanges == 1
    assert called_in[0] is not threading.current_thread()
    assert tokens[0].expires_at == 1060.0


async def test_a_coroutine_function_is_called_in_the_loop_and_its_token_renewed():
    made = []

    async def atoken_function(client):
        assert client is None
        made.append(asyncio.get_running_loop())
        return f"hunter{len(made)}", NOON + 10

    clock = FakeClock()
    cache = function_cache(clock, atoken_function=atoken_function)
    assert (await cache.get()).authorization.reveal() == "Bearer hunter1"
    await clock.advance(8.0)
    assert cache.alive().authorization.reveal() == "Bearer hunter1"
    await settle()
    assert cache.alive().authorization.reveal() == "Bearer hunter2"
    cache.drop(cache.alive())
    assert (await cache.get()).authorization.reveal() == "Bearer hunter3"
    assert made == [asyncio.get_running_loop()] * 3


async def test_a_function_that_returns_an_awaitable_is_awaited():
    async def later():
        return "hunter2"

    cache = function_cache(FakeClock(), token_function=lambda client=None: later())
    assert (await cache.get()).authorization.reveal() == "Bearer hunter2"


class VaultError(Exception):
    """An error of a caller's own that says too much."""


def broken(client=None):
    secret = "hunter2"
    raise VaultError(f"no access with a secret of {len(secret)} letters")


async def abroken(client):
    broken()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"token_function": broken}, "credentials.token_function raised VaultError"),
        ({"atoken_function": abroken}, r"raised VaultError \(it was called with None: there is no client"),
        ({"token_function": lambda: None}, "returned NoneType"),
        ({"token_function": lambda: ("hunter2", NOON - 5)}, "has already expired"),
        ({"token_function": lambda: "hunter2 hunter2"}, "no header can carry"),
        ({"token_function": lambda: ("hunter2", "hunter2")}, "expiry of type str"),
        ({"token_function": lambda: {"token": "hunter2"}}, "returned dict"),
    ],
    ids=range(7),
)
async def test_a_function_that_fails_is_named_and_nothing_that_it_says_shows(fields, words):
    cache = function_cache(FakeClock(), **fields)
    with pytest.raises(AuthenticationError, match=words) as raised:
        await cache.get()
    assert "hunter2" not in str(raised.value)
    assert cache.exchanges == 1, "it is not called again by itself"
    assert "hunter2" not in with_locals(raised.value)
    if "raised" in words:
        assert isinstance(raised.value.__cause__, VaultError)
        assert raised.value.__cause__.__traceback__ is None, "its frames hold the secret"


async def test_a_function_that_says_cancelled_by_itself_cancels_nobody():
    async def atoken_function():
        raise asyncio.CancelledError

    cache = function_cache(FakeClock(), atoken_function=atoken_function)
    calls = await asyncio.gather(*(cache.get() for _ in range(3)), return_exceptions=True)
    assert [type(call) for call in calls] == [AuthenticationError] * 3
    assert "raised CancelledError" in str(calls[0])


async def test_closing_ends_a_function_that_waits():
    ended = []

    async def atoken_function():
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append(True)

    cache = function_cache(FakeClock(), atoken_function=atoken_function)
    call = asyncio.create_task(cache.get())
    await settle()
    await cache.aclose()
    await settle()
    assert type(call.exception()).__name__ == "ClientClosedError"
    assert ended == [True]


async def test_a_function_that_fails_does_no_harm_while_the_old_token_lives():
    outcomes = [("hunter1", NOON + 100), RuntimeError("locked"), ("hunter2", NOON + 200)]

    async def atoken_function():
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    clock = FakeClock()
    cache = function_cache(clock, atoken_function=atoken_function)
    await cache.get()
    await clock.advance(80.0)
    cache.alive()
    await settle()
    assert cache.alive().authorization.reveal() == "Bearer hunter1"
    await clock.advance(5.0)
    cache.alive()
    await settle()
    assert cache.alive().authorization.reveal() == "Bearer hunter2"


# A store for several clients


async def test_clients_of_one_store_share_the_token_and_the_exchange():
    endpoint, store = Endpoint(FakeClock(), latency=0.1), MemoryTokenStore()
    caches = [cache_of(endpoint, store=store) for _ in range(4)]
    calls = [asyncio.create_task(cache.get()) for cache in caches for _ in range(50)]
    await endpoint.clock.advance(0.1)
    assert len({id(token) for token in await asyncio.gather(*calls)}) == 1
    assert len(endpoint.requests) == sum(cache.exchanges for cache in caches) == 1
    caches[0].drop(caches[1].alive())
    assert [cache.alive() for cache in caches] == [None] * 4
    assert repr(store) == "MemoryTokenStore(0 tokens)"


async def test_so_do_they_share_the_renewal_and_the_wait_after_one_that_failed():
    clock = FakeClock()
    endpoint = Endpoint(clock, lifetime=100.0, latency=0.1, trouble=lambda now: reply({}, 401) if now > 1010 else None)
    store = MemoryTokenStore()
    first, second = (cache_of(endpoint, store=store) for _ in range(2))
    await turned(clock, first.get())
    await clock.advance(80.0)
    for _ in range(3):
        assert first.alive() is second.alive() is not None
    await clock.advance(0.1)
    assert len(endpoint.requests) == 2
    assert first.alive() is second.alive() is not None
    await clock.advance(0.1)
    assert len(endpoint.requests) == 2, "the next renewal waits a second, for both"


@pytest.mark.parametrize(
    "other",
    [
        {"api_key": KEY + "x"},
        {"api_key": KEY, "auth_url": "https://iam.example.com/token"},
        {"api_key": KEY, "trusted_profile_id": "p"},
    ],
    ids=["another key", "another endpoint", "another flow"],
)
async def test_clients_of_one_store_that_are_not_the_same_share_nothing(other):
    endpoint, store = Endpoint(FakeClock()), MemoryTokenStore()
    first, second = cache_of(endpoint, store=store), cache_of(endpoint, store=store, **other)
    await first.get()
    assert second.alive() is None


async def test_the_same_client_without_a_common_store_shares_nothing():
    endpoint = Endpoint(FakeClock())
    first, second = cache_of(endpoint), cache_of(endpoint)
    await first.get()
    assert second.alive() is None


async def test_when_the_client_that_asks_is_closed_another_one_of_the_store_asks():
    endpoint, store = Endpoint(FakeClock(), latency=0.1), MemoryTokenStore()
    first, second = (cache_of(endpoint, store=store) for _ in range(2))
    calls = [asyncio.create_task(cache.get()) for cache in (first, second)]
    await endpoint.clock.advance(0.05)
    assert (first.exchanges, second.exchanges) == (1, 0)
    await first.aclose()
    await endpoint.clock.advance(0.1)
    assert type(calls[0].exception()).__name__ == "ClientClosedError"
    assert (await calls[1]).authorization.reveal() == "Bearer t1"
    assert second.exchanges == 1


def test_loops_one_after_another_and_one_that_is_closed_in_the_middle():
    class Silent(Endpoint):
        async def send(self, *args, **options):
            await asyncio.get_running_loop().create_future()

    clock, store = FakeClock(), MemoryTokenStore()
    endpoint = Endpoint(clock)
    first, second = cache_of(Silent(clock), store=store), cache_of(endpoint, store=store)

    async def leave():
        call = asyncio.create_task(first.get())
        await settle()
        return call

    loop = asyncio.new_event_loop()
    # The test's own task is left behind as well, and shall not be complained of either.
    loop.run_until_complete(leave())._log_destroy_pending = False
    loop.close()
    first.forget_loop()
    gc.collect()

    async def again(cache):
        return await turned(endpoint.clock, cache.get())

    assert asyncio.run(again(second)).authorization.reveal() == "Bearer t1"
    assert asyncio.run(again(first)) is asyncio.run(again(second))
    assert (first.exchanges, second.exchanges) == (1, 1)


async def test_clients_in_two_threads_share_the_token_and_each_has_an_exchange_of_its_own():
    hold, waits = threading.Event(), threading.Event()
    store, fields = MemoryTokenStore(), {"api_key": KEY}

    class Slow(Endpoint):
        async def send(self, *args, **options):
            waits.set()
            await asyncio.to_thread(hold.wait, 30)
            return await super().send(*args, **options)

    slow, quick = Slow(FakeClock()), Endpoint(FakeClock())
    first, second = cache_of(slow, store=store, **fields), cache_of(quick, store=store, **fields)
    other = asyncio.create_task(asyncio.to_thread(lambda: asyncio.run(first.get())))
    await asyncio.to_thread(waits.wait, 30)
    token = await second.get()
    assert second.alive() is token
    hold.set()
    late = await other
    assert second.alive() is first.alive() is late
    assert len(slow.requests) == len(quick.requests) == 1


class Unhashable:
    """A store with no more than the three methods."""

    __slots__ = ("tokens",)
    __hash__ = None

    def __init__(self):
        self.tokens = {}

    def get(self, key):
        return self.tokens.get(key)

    def put(self, key, token):
        self.tokens[key] = token

    def drop(self, key, token):
        if self.tokens.get(key) == token:
            del self.tokens[key]


async def test_a_store_of_one_s_own_needs_three_methods():
    endpoint, store = Endpoint(FakeClock()), Unhashable()
    first, second = (cache_of(endpoint, store=store) for _ in range(2))
    token = await first.get()
    assert second.alive() is token
    (key,) = store.tokens
    assert key.startswith("iam:https://iam.cloud.ibm.com/identity/token:")
    assert KEY not in key
    assert "t1" not in repr(store.tokens)


# Nothing shows


async def test_no_failure_of_an_exchange_shows_a_secret_even_with_its_locals(caplog):
    troubles = [
        None,  # says back all that it was sent
        reply({"access_token": "hunter2 token"}),
        reply(b'{"access_token": "hunter2'),
        reply({"access_token": jwt(exp=1, secret="hunter2")}),
        reply({}, 503),
        ConnectionFailedError("refused", url="https://iam.example"),
    ]
    ways = [
        (CLOUD, {"api_key": KEY}, 1),
        (CLOUD, {"api_key": KEY, "trusted_profile_id": "p"}, 2),
        (CLOUD, {"token": "hunter2-token", "trusted_profile_id": "p"}, 1),
        ("https://ap-south-1.aws.wxai.ibm.com", {"api_key": KEY}, 1),
        (PAK, {"username": "ada", "api_key": KEY}, 1),
        (PAK, {"username": "ada", "password": "hunter2-password"}, 2),
        (PAK, {"username": "ada", "password": "hunter2-password", "bedrock_url": PAK}, 2),
    ]
    with caplog.at_level(logging.DEBUG):
        for url, fields, steps in ways:
            echo = reply({"errorCode": "x", "errorMessage": " ".join(fields.values())}, 400)
            for trouble in (each or echo for each in troubles):
                for failing in range(steps):
                    first = [reply({"access_token": "hunter2-first", "expires_in": 60})] * failing
                    endpoint = Endpoint(FakeClock(), trouble=lambda now: first.pop() if first else trouble)  # noqa: B023
                    cache = cache_of(endpoint, retries=RetryOptions(max_attempts=1), url=url, **fields)
                    with pytest.raises(RerankError) as raised:
                        await cache.get()
                    assert type(raised.value).__name__ in python_s_own(raised.value)
                    assert "hunter2" not in with_locals(raised.value)
                    for _, where, headers, body in endpoint.requests:
                        assert "hunter2" not in f"{where} {headers!r} {body!r}"
    assert "hunter2" not in caplog.text


def test_what_cannot_be_renewed_has_the_same_face():
    endpoint = Endpoint(FakeClock())
    for fields in ({"token": "hunter2"}, {"username": "ada", "api_key": KEY, "flow": "zen"}):
        cache = cache_of(endpoint, url=PAK, **fields)
        assert isinstance(cache, GivenTokenCache)
        assert "hunter2" not in repr(cache.alive())
        assert cache.advice
    ended = cache_of(endpoint, token=jwt(exp=NOON - 60))
    assert "ended at 2027-01-15 07:59:00 UTC" in ended.advice
    assert isinstance(ended.advice, str)


async def test_nonsense_is_a_decode_error_that_names_the_endpoint():
    endpoint = Endpoint(FakeClock(), trouble=lambda now: reply(b"<html>", content_type="text/html"))
    with pytest.raises(DecodeError, match=r"https://iam\.cloud\.ibm\.com/identity/token answered 200"):
        await cache_of(endpoint, retries=RetryOptions(max_attempts=1)).get()
