"""What a failure leaves: one error with what was scored, or the ranking of what was scored with exact failures."""

import asyncio
import math
import pickle
from collections import Counter

import pytest
from support.clients import QUICK, client_for, until
from support.passages import QUERY, pairs, passages, ranking
from support.services import grant, honest, refusal, service
from support.tidiness import assert_tidy

from rerank_async import BatchOptions, Failed, LimitOptions, RerankRequest, Retried, RetryOptions, Timeouts
from rerank_async.errors import (
    AuthenticationError,
    BadRequestError,
    ConnectionFailedError,
    DeadlineExceededError,
    IntegrityError,
    OverloadedError,
    PermissionDeniedError,
    QuotaExceededError,
    RerankError,
    ServiceError,
)
from rerank_async.server import Fault, serve

TEXTS = tuple(f"text {number}" for number in range(8))
PAIRS = BatchOptions(max_inputs=2)
IN_TURN = LimitOptions(requests_per_second=math.inf, max_concurrency=1)
ONCE = RetryOptions(max_attempts=1, base_delay=0.0)


def refusing(*poison, status=400, code="invalid_request_entity"):
    """Answers honestly but where a text is among ``poison``."""

    def answer(seen):
        if any(item["text"] in poison for item in seen.json["inputs"]):
            return refusal(status, code)
        return honest(seen)

    return answer


def left(texts, without):
    """The ranking without those indices."""
    return tuple(pair for pair in ranking(texts, None, "text") if pair[0] not in without)


def failed(response):
    return [(failure.indices, type(failure.error)) for failure in response.failures]


async def test_raise_attaches_what_was_scored_and_stops_there():
    async with (
        service(refusing("text 5")) as running,
        client_for(running, batching=PAIRS, limits=IN_TURN) as client,
    ):
        with pytest.raises(BadRequestError) as caught:
            await client.generate("text", TEXTS)
        assert_tidy(client)
    assert len(running.seen) == 3, "a bad request is sent once, and nothing follows it"
    scores = dict(ranking(TEXTS, None, "text"))
    assert caught.value.scored == tuple((index, scores[index]) for index in range(4))
    assert (caught.value.attempts, caught.value.others) == (1, ())


async def test_what_was_scored_is_attached_for_every_place_of_a_repeated_text():
    texts = ("text 0", "text 1", "text 0", "text 9", "text 1", "text 0")
    async with (
        service(refusing("text 9")) as running,
        client_for(running, batching=PAIRS, limits=IN_TURN) as client,
    ):
        with pytest.raises(BadRequestError) as caught:
            await client.generate("text", texts)
    scores = dict(ranking(texts, None, "text"))
    assert caught.value.scored == tuple((index, scores[index]) for index in (0, 1, 2, 4, 5))


async def test_the_error_is_that_of_the_lowest_batch_and_the_others_are_attached():
    all_there = asyncio.Barrier(4)  # before the first is answered

    async def answer(seen):
        await all_there.wait()
        return refusal(400, f"made_up_{seen.json['inputs'][0]['text'][-1]}")

    async with service(answer) as running, client_for(running, batching=PAIRS) as client:
        with pytest.raises(BadRequestError) as caught:
            await client.generate("text", TEXTS)
        assert_tidy(client)
    error = caught.value
    codes = [error.code, *(other.code for other in error.others)]
    assert codes == sorted(codes)
    assert set(codes) <= {"made_up_0", "made_up_2", "made_up_4", "made_up_6"}
    assert error.scored == ()


async def test_the_error_tells_every_exchange():
    """Two 500s that were mended, then one that was not: statuses, codes, waits and trace ids are all there."""

    def answer(seen):
        if seen.number == 2:
            return refusal(500, "downstream_request_failed")
        if seen.number in {4, 5, 6}:
            reply = refusal(503, "made_up_code")
            reply.headers["x-global-transaction-id"] = f"trace-{seen.number}"
            return reply
        return honest(seen)

    events = []
    async with (
        service(answer) as running,
        client_for(
            running,
            batching=PAIRS,
            limits=IN_TURN,
            observer=events.append,
            retries=RetryOptions(max_attempts=3, base_delay=0.0, max_delay=0.0),
        ) as client,
    ):
        with pytest.raises(ServiceError, match="gave up after 3 attempts") as caught:
            await client.generate("text", TEXTS)
    error = caught.value
    stats = error.stats
    assert (error.attempts, len(running.seen), stats.requests) == (3, 6, 6)
    assert (stats.retries, stats.throttled, stats.hedges) == (3, 0, 0)
    assert [exchange.status for exchange in stats.exchanges] == [200, 500, 200, 503, 503, 503]
    assert [exchange.trace for exchange in stats.exchanges[3:]] == ["trace-4", "trace-5", "trace-6"]
    assert [(each.batch, each.reason) for each in stats.again] == [
        (1, "downstream_request_failed"),
        (2, "made_up_code"),
        (2, "made_up_code"),
    ]
    assert all(isinstance(each, Retried) for each in stats.again)
    (told,) = [event for event in events if isinstance(event, Failed)]
    assert (told.reason, told.seconds) == ("made_up_code", stats.seconds)
    again = pickle.loads(pickle.dumps(error))
    assert (again.stats, again.scored, again.attempts) == (stats, error.scored, 3)


@pytest.mark.parametrize("dedupe", [True, False], ids=["dedupe", "as they are"])
async def test_partial_ranks_what_was_scored_and_names_the_rest_exactly(dedupe):
    texts = ("text 0", "text 1", "poison", "text 0", "poison", "text 5", "text 6", "text 6")
    async with (
        service(refusing("poison")) as running,
        client_for(
            running, batching=BatchOptions(max_inputs=2, dedupe=dedupe), limits=IN_TURN, on_failure="partial"
        ) as client,
    ):
        response = await client.generate("text", texts)
        assert_tidy(client)
    # Deduped, the batches are (0, 1), (2, 5), (6); "text 0" stands at 3 too, "poison" at 4. As they are: four pairs.
    lost = [(2, 4, 5)] if dedupe else [(2, 3), (4, 5)]
    assert failed(response) == [(indices, BadRequestError) for indices in lost]
    gone = {index for indices in lost for index in indices}
    assert pairs(response) == left(texts, gone)
    assert (len(running.seen), response.stats.requests) == ((3, 3) if dedupe else (4, 4))
    assert [failure.error.attempts for failure in response.failures] == [1] * len(lost)


async def test_partial_with_top_n_cuts_what_was_scored():
    async with (
        service(refusing("text 0")) as running,
        client_for(running, batching=PAIRS, on_failure="partial") as client,
    ):
        response = await client.generate("text", TEXTS, {"return_options": {"top_n": 3}})
    assert pairs(response) == left(TEXTS, {0, 1})[:3]
    assert failed(response) == [((0, 1), BadRequestError)]


async def test_every_index_is_scored_or_failed_and_none_is_both():
    """Integrity failures, 500s and bad requests over 500 passages a third of which repeat."""
    texts = passages(500)
    async with (
        serve(faults={"missing_result": 0.2, "server_error": 0.2}, seed=3) as server,
        client_for(
            server, batching=BatchOptions(max_inputs=10, adaptive=False), retries=ONCE, on_failure="partial"
        ) as client,
    ):
        response = await client.generate(QUERY, texts)
        assert_tidy(client)
    met = server.counts.faults
    assert met["missing_result"] > 0
    assert met["server_error"] > 0
    assert Counter(type(failure.error) for failure in response.failures) == {
        IntegrityError: met["missing_result"],
        ServiceError: met["server_error"],
    }
    gone = [index for failure in response.failures for index in failure.indices]
    assert len(gone) == len(set(gone))
    assert all(failure.indices == tuple(sorted(failure.indices)) for failure in response.failures)
    assert pairs(response) == tuple(pair for pair in ranking(texts) if pair[0] not in set(gone))
    assert len(response.results) + len(gone) == 500
    assert server.counts.rerank == response.stats.requests


@pytest.mark.parametrize(
    ("status", "code", "kind", "requests"),
    [
        (401, "authentication_token_not_valid", AuthenticationError, 3),  # once more with a new token
        (403, "user_authorization_failed", PermissionDeniedError, 2),
        (403, "token_quota_reached", QuotaExceededError, 2),
    ],
)
async def test_auth_permission_and_quota_raise_under_partial(status, code, kind, requests):
    async with (
        service(refusing("text 2", status=status, code=code)) as running,
        client_for(running, batching=PAIRS, limits=IN_TURN, on_failure="partial") as client,
    ):
        with pytest.raises(kind) as caught:
            await client.generate("text", TEXTS)
        assert_tidy(client)
    scores = dict(ranking(TEXTS, None, "text"))
    assert caught.value.scored == tuple((index, scores[index]) for index in (0, 1))
    assert (len(running.seen), caught.value.stats.requests) == (requests, requests)


async def test_a_bad_key_raises_under_partial():
    async with serve() as server:
        credentials = {"url": server.url, "api_key": "another"}
        async with client_for(server, credentials=credentials, on_failure="partial") as client:
            with pytest.raises(AuthenticationError):
                await client.generate("text", TEXTS)
    assert (server.counts.rerank, server.counts.token_requests) == (0, 1)


async def test_a_deadline_under_partial_gives_what_was_scored_by_then():
    texts = (*TEXTS, "text 4", "text 0")
    async with (
        serve(faults=[Fault("hang", nth=(3,))]) as server,
        client_for(server, batching=PAIRS, limits=IN_TURN, on_failure="partial") as client,
    ):
        response = await client.generate("text", texts, timeout=0.75)
        assert_tidy(client)
        assert len((await client.generate("text", texts)).results) == 10
    assert pairs(response) == left(texts, {4, 5, 6, 7, 8})
    assert failed(response) == [((4, 5, 6, 7, 8), DeadlineExceededError)]
    assert "deadline of 0.75 s" in str(response.failures[0].error)


async def test_a_deadline_that_the_limiter_cannot_meet_leaves_all_unscored_under_partial(server):
    limits = LimitOptions(requests_per_second=0.01, burst=1)
    async with client_for(server, limits=limits, batching=PAIRS, on_failure="partial") as client:
        response = await client.generate("text", TEXTS, timeout=5)
    assert failed(response) == [(tuple(range(8)), DeadlineExceededError)]
    assert (response.results, response.model_id, server.counts.rerank) == ((), "lexical", 0)


async def test_when_every_batch_fails_the_ranking_is_empty_and_each_has_its_failure():
    async with (
        serve(faults={"backend_failed": 1.0}) as server,
        client_for(
            server,
            batching=PAIRS,
            retries=RetryOptions(max_attempts=2, base_delay=0.001, max_delay=0.002),
            on_failure="partial",
        ) as client,
    ):
        response = await client.generate("text", TEXTS)
    assert (response.results, response.model_id) == ((), "lexical")
    assert sorted(failed(response)) == [((index, index + 1), ServiceError) for index in range(0, 8, 2)]
    assert {failure.error.code for failure in response.failures} == {"downstream_request_failed"}
    assert {failure.error.attempts for failure in response.failures} == {2}
    assert server.counts.rerank == response.stats.requests == 8


async def test_iam_down_under_partial_leaves_all_unscored_and_says_why():
    async with (
        serve(faults={"iam_error": 1.0}) as server,
        client_for(
            server, retries=RetryOptions(max_attempts=3, base_delay=0.001, max_delay=0.002), on_failure="partial"
        ) as client,
    ):
        response = await client.generate("text", TEXTS)
        assert_tidy(client)
    assert failed(response) == [(tuple(range(8)), ServiceError)]
    assert "/identity/token" in str(response.failures[0].error)
    # Every call waits for the token, so it is tried five times as often as a batch: 1 + 5 * 2.
    assert (server.counts.token_requests, server.counts.rerank, response.stats.requests) == (11, 0, 0)


async def test_iam_down_in_the_middle_under_partial_keeps_what_was_scored():
    def token(seen):
        return grant(seen) if seen.number == 1 else refusal(500, "made_up")

    def answer(seen):
        return refusal(401, "authentication_token_expired") if seen.number == 3 else honest(seen)

    async with (
        service(answer, token) as running,
        client_for(running, batching=PAIRS, limits=IN_TURN, on_failure="partial") as client,
    ):
        response = await client.generate("text", TEXTS)
    assert pairs(response) == left(TEXTS, {4, 5, 6, 7})
    assert failed(response) == [((4, 5, 6, 7), ServiceError)]
    assert len(running.seen) == 3


async def test_a_failure_of_another_kind_beside_a_fatal_one_raises_the_fatal_one():
    def answer(seen):
        texts = {item["text"] for item in seen.json["inputs"]}
        if "text 0" in texts:
            return refusal(400, "made_up")
        return refusal(403, "token_quota_reached") if "text 4" in texts else honest(seen)

    async with (
        service(answer) as running,
        client_for(running, batching=PAIRS, limits=IN_TURN, on_failure="partial") as client,
    ):
        with pytest.raises(QuotaExceededError) as caught:
            await client.generate("text", TEXTS)
    assert [index for index, _ in caught.value.scored] == [2, 3]
    assert len(running.seen) == 3


async def test_a_connection_that_is_cut_for_good_is_a_failure_of_its_batch():
    async with (
        serve(faults=[Fault("reset_inside", nth=(2,))]) as server,
        client_for(server, batching=PAIRS, limits=IN_TURN, retries=ONCE, on_failure="partial") as client,
    ):
        response = await client.generate("text", TEXTS)
    assert failed(response) == [((2, 3), ConnectionFailedError)]
    assert pairs(response) == left(TEXTS, {2, 3})


async def test_a_request_that_times_out_is_a_failure_of_its_batch():
    async with (
        serve(faults=[Fault("hang", nth=(2,))]) as server,
        client_for(
            server,
            batching=PAIRS,
            limits=IN_TURN,
            retries=ONCE,
            timeouts=Timeouts(request=0.5),
            on_failure="partial",
        ) as client,
    ):
        response = await client.generate("text", TEXTS)
    ((indices, kind),) = failed(response)
    assert indices == (2, 3)
    assert issubclass(kind, TimeoutError)
    assert server.counts.rerank == 4


async def test_the_policy_of_a_view_is_its_own():
    async with service(refusing("text 2")) as running, client_for(running, batching=PAIRS) as client:
        partial = client.with_options(on_failure="partial")
        assert failed(await partial.generate("text", TEXTS)) == [((2, 3), BadRequestError)]
        with pytest.raises(BadRequestError):
            await client.generate("text", TEXTS)
        with pytest.raises(BadRequestError):
            await partial.with_options(on_failure="raise").generate("text", TEXTS)


async def test_an_overloaded_client_raises_under_partial():
    limits = LimitOptions(requests_per_second=0.01, burst=1, max_queued=0)
    async with serve() as server, client_for(server, limits=limits, on_failure="partial") as client:
        await client.generate("text", ["a"])
        with pytest.raises(OverloadedError):
            await client.generate("text", ["b"])
    assert server.counts.rerank == 1


async def test_a_stream_under_partial_hands_out_what_lands_and_has_the_failures_at_its_end():
    async with (
        service(refusing("text 2", "text 7")) as running,
        client_for(running, batching=PAIRS, on_failure="partial") as client,
        client.stream("text", TEXTS) as stream,
    ):
        assert stream.failures == ()
        got = [sorted(result.index for result in results) async for results in stream]
        assert sorted(got) == [[0, 1], [4, 5]]
        assert sorted(failure.indices for failure in stream.failures) == [(2, 3), (6, 7)]
        response = await stream.response()
    assert response.failures == stream.failures
    assert pairs(response) == left(TEXTS, {2, 3, 6, 7})


async def test_a_stream_under_raise_hands_out_what_landed_and_then_raises():
    async with (
        service(refusing("text 4")) as running,
        client_for(running, batching=PAIRS, limits=IN_TURN) as client,
        client.stream("text", TEXTS) as stream,
    ):
        got = [sorted(result.index for result in await anext(stream)) for _ in range(2)]
        with pytest.raises(BadRequestError) as caught:
            await anext(stream)
        assert stream.failures == ()
    assert got == [[0, 1], [2, 3]]
    assert [index for index, _ in caught.value.scored] == [0, 1, 2, 3]
    assert len(running.seen) == 3


async def test_a_request_of_many_under_partial_is_an_outcome_with_failures():
    requests = [RerankRequest("text", TEXTS, id=0), RerankRequest("text", TEXTS[:2], id=1)]
    async with (
        service(refusing("text 5")) as running,
        client_for(running, batching=PAIRS, on_failure="partial") as client,
        client.generate_many(requests, ordered=True) as outcomes,
    ):
        first, second = [outcome async for outcome in outcomes]
    assert failed(first.response) == [((4, 5), BadRequestError)]
    assert (second.error, second.response.failures) == (None, ())


async def test_the_callers_cancellation_is_never_a_partial_answer():
    async with (
        serve(faults=[Fault("hang", nth=(2,))]) as server,
        client_for(server, batching=PAIRS, limits=IN_TURN, retries=QUICK, on_failure="partial") as client,
    ):
        call = asyncio.create_task(client.generate("text", TEXTS))
        await until(lambda: server.counts.rerank == 2)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert_tidy(client)
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(0):
                await client.generate("text", TEXTS)
    assert not isinstance(caught.value, RerankError)
