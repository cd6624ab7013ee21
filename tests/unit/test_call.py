"""One call over a service that is made up: what the answers do not say, and where its permits go."""

import asyncio
import random
from itertools import count

import attrs
import pytest
from support.clock import settle
from support.wire import Service, bad, good, limited, refusal

from rerank_async.errors import (
    AuthenticationError,
    BadRequestError,
    ClientClosedError,
    DeadlineExceededError,
    OverloadedError,
    PermissionDeniedError,
    QuotaExceededError,
    RateLimitError,
    ServiceError,
)
from rerank_async.policy.limiting import LearningLimiter
from rerank_async.values.options import RetryOptions
from rerank_async.values.response import NO_EXTRA


async def response_to(*said, query=None):
    said = list(said)
    service = Service(lambda seen: good(seen, **said[seen.number - 1]), most=1)
    response = await service.call(["a", "bb", "ccc"][: len(said)], query=query).run()
    assert [result.index for result in response.results] == sorted(range(len(said)), reverse=True)
    assert (service.gate.granted, service.at_rest()) == (len(said), (0, 0, 0)), (
        "one permit a request, and all have left"
    )
    assert response.stats.requests == len(response.stats.exchanges) == len(said)
    return response


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("said", [{}, {"model_id": None}, {"model_id": ""}, {"model_id": 5}])
async def test_a_service_that_says_nothing(said, count):
    response = await response_to(*[said] * count)
    assert response.model_id == "asked-for", "the model that was asked for answers to its name"
    assert (response.model_version, response.created_at, response.input_token_count) == (None, None, None)
    assert (response.query, response.warnings) == (None, ())
    assert response.extra is NO_EXTRA


async def test_what_the_service_says_is_passed_on():
    said = {"model_id": "m", "model_version": "1", "created_at": "c", "input_token_count": 7, "query": "its", "x": 1}
    response = await response_to({}, said, said | {"created_at": "d"})
    assert (response.model_id, response.model_version, response.created_at) == ("m", "1", "d")
    assert (response.input_token_count, response.query, response.extra) == (14, "its", {"x": 1})


@pytest.mark.parametrize("said", [{}, {"query": "its"}])
async def test_the_query_of_the_caller_goes_before_that_of_the_service(said):
    assert (await response_to(said, query="mine")).query == "mine"
    assert (await response_to(said, query="")).query == ""


async def test_each_batch_is_handed_out_as_it_lands_with_the_indices_of_the_caller():
    landed, texts, service = [], ["a", "bb", "a", "ccc"], Service(most=1)
    job = service.job(texts)._replace(texts=texts, top_n=1, whole=True)
    response = await service.call_of(job, landed.append).run()
    assert [[(each.index, each.score, each.input) for each in results] for results in landed] == [
        [(0, 1.0, "a"), (2, 1.0, "a")],
        [(1, 2.0, "bb")],
        [(3, 3.0, "ccc")],
    ]
    assert [each.index for each in response.results] == [3], "the cut holds in the response alone"


@pytest.mark.parametrize(("whole", "asked"), [(False, {"return_options": {"top_n": 2}}), (True, None)])
async def test_a_cut_is_pushed_down_unless_every_score_is_wanted(whole, asked):
    service = Service()
    job = service.job(["a", "bb", "ccc"], max_inputs=3)._replace(top_n=2, whole=whole)
    response = await service.call_of(job).run()
    assert [seen.body.get("parameters") for seen in service.wire.seen] == [asked]
    assert [each.index for each in response.results] == [2, 1]


# Permits


async def test_a_permit_of_a_session_that_was_closed_is_returned():
    service = Service()
    service.wire.closed = True
    with pytest.raises(ClientClosedError):
        await service.call(["a", "bb"]).run()
    assert (service.gate.granted, service.at_rest(), service.wire.seen) == (0, (0, 0, 0), [])


class DyingTokens:
    """Serves a token that is dead when it is asked for the n-th time, n one of ``dead``, counted from 1."""

    advice = None

    def __init__(self, dead, token):
        self.dead, self.token = dead, token
        self.asked = count(1)
        self.renewals = 0

    def alive(self):
        return None if next(self.asked) in self.dead else self.token

    async def get(self):
        self.renewals += 1
        return self.token


async def test_a_permit_whose_token_died_meanwhile_is_returned_and_asked_for_again():
    limiter = CountingLimiter()
    service = Service(limiter=limiter, most=1)
    token = service.channel.tokens.alive()
    tokens = DyingTokens({3, 4}, token)  # dead when the permit comes that was waited for, and until it is renewed
    service.channel = attrs.evolve(service.channel, tokens=tokens)
    response = await service.call(["a", "bb"]).run()
    assert len(response.results) == 2
    assert tokens.renewals == 1
    assert (limiter.grants, limiter.starts, service.gate.granted) == (3, 2, 2), "one came back"
    assert service.at_rest() == (0, 0, 0)


class CountingLimiter(LearningLimiter):
    """Counts what it is asked."""

    def __init__(self, *arguments):
        super().__init__(float("inf"), *arguments)
        self.grants = self.starts = 0

    def grant(self):
        self.grants += 1
        super().grant()

    def start(self, now):
        self.starts += 1
        super().start(now)


@pytest.mark.parametrize("batches", [1, 2, 7])
@pytest.mark.parametrize("most", [1, 2, 128])
async def test_no_permit_is_asked_for_in_vain(batches, most):
    limiter = CountingLimiter()
    service = Service(lambda seen: (1.0, good(seen)), limiter=limiter, most=most)
    call = asyncio.create_task(service.call(["x" * (number + 1) for number in range(batches)]).run())
    await service.clock.advance(10.0)
    response = await call
    assert [result.index for result in response.results] == list(reversed(range(batches)))
    assert (limiter.grants, limiter.starts, len(service.wire.seen)) == (batches, batches, batches)
    assert service.wire.most_in_flight == min(batches, most), "as many at once as may be"


async def test_a_call_waits_in_the_queue_with_one_request_however_many_it_has_left():
    service = Service(lambda seen: (1.0, good(seen)), most=2)
    texts = [str(number) for number in range(10, 30)]
    call = asyncio.create_task(service.call(texts).run())
    await settle()
    assert service.at_rest() == (2, 2, 1)
    await service.clock.advance(100.0)
    assert len((await call).results) == 20


async def test_a_full_queue_refuses_a_call_before_it_sends_anything():
    service = Service(lambda seen: (5.0, good(seen)), most=1, max_queued=1)
    first, second = (asyncio.create_task(service.call([text]).run()) for text in "ab")
    await settle()
    with pytest.raises(OverloadedError, match="max_queued = 1") as caught:
        await service.call("c").run()
    assert caught.value.queued == 1
    of_a_run = asyncio.create_task(service.call("d", flow="run").run())
    await settle()
    assert not of_a_run.done(), "the calls of one run wait for each other"
    await service.clock.advance(20.0)
    assert [len((await each).results) for each in (first, second, of_a_run)] == [1, 1, 1]


# Failures


def at(number, *, then):
    """The answer to the request with this text is another."""
    return lambda seen: then() if seen.texts == [number] else good(seen)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (lambda: bad(401, "authentication_token_not_valid"), AuthenticationError),
        (lambda: bad(403, "authorization_rejected"), PermissionDeniedError),
        (lambda: bad(403, "token_quota_reached"), QuotaExceededError),
    ],
    ids=["token", "permission", "quota"],
)
async def test_what_the_next_call_would_fail_of_too_is_raised_under_partial(answer, kind):
    service = Service(at("b", then=answer), most=1)
    with pytest.raises(kind) as caught:
        await service.call("abc", partial=True).run()
    assert caught.value.scored == ((0, 1.0),), "what was scored by then rides along"
    assert service.at_rest() == (0, 0, 0)


@pytest.mark.parametrize("most", [1, 2, 4])
async def test_after_a_failure_nothing_more_is_sent(most):
    service = Service(lambda _: (1.0, bad(400)), most=most)
    call = asyncio.create_task(service.call([str(number) for number in range(50)]).run())
    await service.clock.advance(20.0)
    assert type(call.exception()) is BadRequestError
    assert len(service.wire.seen) == most, "not even by the lane that waited for the permit of the one that failed"
    assert service.gate.granted == most
    assert service.at_rest() == (0, 0, 0)


async def test_a_batch_that_fails_for_good_leaves_the_others_their_scores_under_partial():
    service = Service(at("b", then=lambda: bad(500)), most=1)
    response = await service.call("abc", partial=True).run()
    assert [result.index for result in response.results] == [0, 2]
    (failure,) = response.failures
    assert (failure.indices, type(failure.error)) == ((1,), ServiceError)
    assert failure.error.attempts == 6
    assert (response.stats.requests, response.stats.retries) == (8, 5)
    assert service.at_rest() == (0, 0, 0)


async def test_the_lowest_of_the_batches_that_failed_is_raised_with_the_others_attached():
    # a and b fail in the same moment, b first; the call hears of both before it ends.
    service = Service(lambda seen: (1.0, bad(400, message="of " + seen.texts[0])))
    call = asyncio.create_task(service.call("abc").run())
    await service.clock.advance(1.0)
    with pytest.raises(Exception, match="of a") as caught:
        await call
    assert all("of " in str(other) and "of a" not in str(other) for other in caught.value.others)
    assert service.at_rest() == (0, 0, 0)
    assert len(service.wire.seen) == 3


@pytest.mark.parametrize("partial", [False, True])
async def test_the_caller_s_own_cancellation_passes_untouched(partial):
    service = Service(lambda seen: (1.0 if seen.texts == ["a"] else 9.0, good(seen)))
    call = asyncio.create_task(service.call("abc", partial=partial).run())
    await service.clock.advance(5.0)
    assert not call.done()
    call.cancel()
    await settle()
    assert call.cancelled()
    assert service.at_rest() == (0, 0, 0)
    assert service.wire.cancelled == 2


@pytest.mark.parametrize("partial", [False, True])
async def test_a_deadline_that_the_gate_cannot_meet_sends_nothing(partial):
    service = Service(rate=1.0)
    call = service.call("abc", partial=partial, deadline=1.5)
    if partial:
        response = await call.run()
        assert response.results == ()
        (failure,) = response.failures
        assert (failure.indices, type(failure.error)) == ((0, 1, 2), DeadlineExceededError)
    else:
        with pytest.raises(DeadlineExceededError, match="the call needs 3 requests"):
            await call.run()
    assert (service.wire.seen, service.gate.granted) == ([], 0)


async def test_a_429_is_no_retry_and_the_batch_goes_first_again():
    service = Service(lambda seen: limited(2) if seen.number == 1 else good(seen), most=1)
    call = asyncio.create_task(service.call("abc").run())
    await service.clock.advance(1.999)
    assert [seen.texts for seen in service.wire.seen] == [["a"]]
    await service.clock.advance(60.0)
    assert [seen.texts for seen in service.wire.seen] == [["a"], ["a"], ["b"], ["c"]]
    stats = (await call).stats
    assert (stats.requests, stats.throttled, stats.retries) == (4, 1, 0)


async def test_a_429_that_its_batch_does_not_survive_holds_the_others_all_the_same():
    service = Service(
        lambda seen: limited(3) if seen.number == 1 else good(seen), most=1, retries=RetryOptions(max_throttled=0)
    )
    first, second = (asyncio.create_task(service.call([text]).run()) for text in "ab")
    await service.clock.advance(2.999)
    assert type(first.exception()) is RateLimitError
    assert len(service.wire.seen) == 1
    await service.clock.advance(0.002)
    assert len((await second).results) == 1


async def test_a_service_that_never_answered_is_not_waited_for():
    service = Service(lambda _: refusal())
    with pytest.raises(ConnectionError, match="gave up after 6 attempts"):
        await service.call("a").run()
    assert len(service.wire.seen) == 6


# Cancellation


@pytest.mark.parametrize("seed", range(40))
async def test_cancelled_at_any_moment_nothing_is_left_behind(seed):
    rng = random.Random(seed)

    def answer(seen):
        delay = rng.choice([0.0, 0.1, 0.5])
        drawn = rng.random()
        if drawn < 0.15:
            return delay, bad(503)
        if drawn < 0.2:
            return delay, limited(rng.choice([None, 0.3]))
        return delay, good(seen)

    service = Service(answer, rate=rng.choice([8.0, 50.0]), most=rng.choice([1, 2, 8]), budget=rng.choice([0.0, 0.3]))
    calls = [
        asyncio.create_task(service.call([f"{name}{number}" for number in range(rng.choice([1, 3, 12]))]).run())
        for name in "abcdef"
    ]
    for _ in range(12):
        await service.clock.advance(rng.choice([0.0, 0.05, 0.125, 0.5]))
        if rng.random() < 0.7:
            rng.choice(calls).cancel()
        if rng.random() < 0.3:
            service.clock.stall(0.2)
    for call in calls[::2]:
        call.cancel()
    await service.clock.advance(500.0)
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(each, asyncio.CancelledError) or each.results for each in outcomes), outcomes
    assert service.at_rest() == (0, 0, 0)
    assert service.gate.granted == len(service.wire.seen), "every permit was used or came back"
    await service.clock.advance(500.0)  # long enough for any pace
    last = asyncio.create_task(service.call("z").run())
    await service.clock.advance(5.0)
    assert last.done(), "the next call gets its permit"
    await asyncio.gather(last, return_exceptions=True)


# Sizes


async def run_through(service, call):
    """The sizes of the requests of a call."""
    before = len(service.wire.seen)
    task = asyncio.create_task(call.run())
    while not task.done():
        await service.clock.advance_to(service.clock.now() + 1.0)
    await task
    return [len(seen.texts) for seen in service.wire.seen[before:]]


async def test_what_answers_took_decides_of_later_sizes():
    service = Service(lambda seen: (2.0 + 0.001 * len(seen.texts), good(seen)), most=64)
    texts = [f"text {number}" for number in range(400)]
    options = {"adaptive": True, "max_inputs": 1000}
    first = await run_through(service, service.call(texts, **options))
    for number in range(40):
        await run_through(service, service.call(texts[: 1 + number % 2 * 31], **options))
    assert len(await run_through(service, service.call(texts, **options))) < len(first) / 2, "requests have become dear"


async def test_a_bound_that_is_shown_holds_for_what_the_same_call_has_not_cut_yet():
    def answer(seen):
        return (
            1.0,
            good(seen) if len(seen.texts) <= 50 else bad(400, "invalid_input_argument", "too many inputs: at most 50"),
        )

    service = Service(answer, most=1)
    sizes = await run_through(service, service.call(map(str, range(1000)), adaptive=False, max_inputs=100))
    assert sizes.count(100) == 1, "the first alone was refused"
    assert sum(sizes) - 100 == 1000
