"""Texts that are too long, and requests that are too large: counts at the door, exact failures, and nothing scored lost."""

import json

import pytest
from aiohttp import web
from support.clients import client_for
from support.passages import pairs
from support.services import honest, refusal, service
from support.tidiness import assert_tidy

from rerank_async import BatchOptions, RetryOptions
from rerank_async.errors import BadRequestError, DeadlineExceededError, InputTooLongError, RequestTooLargeError
from rerank_async.server import Fault, LexicalScorer, serve

QUERY = "word 7 and 77"
MOST = 16  # words that the model of these tests reads
WORDS = ("word", "and", "or", "7", "77", "other", "longer", "seven")


def texts_of(count, over=(), words=30):
    """Different texts of 2 to 9 words, and at the indices ``over`` of so many."""
    texts = []
    for number in range(count):
        size = words if number in over else 2 + number * 7 % 8
        texts.append(" ".join([f"{number}", *(WORDS[(number + place) % len(WORDS)] for place in range(size - 1))]))
    return tuple(texts)


def server_of(**options):
    return serve(scorers={"lexical": LexicalScorer(MOST)}, **options)


def batching(overlength, **options):
    return BatchOptions(overlength=overlength, **{"adaptive": False, **options})


def scores_of(texts, without):
    """The ranking without those indices."""
    kept = [index for index in range(len(texts)) if index not in without]
    scores = LexicalScorer().score_now(QUERY, [texts[index] for index in kept]).scores
    return tuple(sorted(zip(kept, scores, strict=True), key=lambda pair: (-pair[1], pair[0])))


@pytest.mark.parametrize("on_failure", ["raise", "partial"])
@pytest.mark.parametrize("place", [0, 500, 999])
async def test_isolate_finds_one_of_a_thousand(place, on_failure):
    texts = texts_of(1000, {place})
    async with (
        server_of() as server,
        client_for(server, batching=batching("isolate"), on_failure=on_failure) as client,
    ):
        response = await client.generate(QUERY, texts)
        assert_tidy(client)
    ((indices, error),) = [(failure.indices, failure.error) for failure in response.failures]
    assert (indices, type(error)) == ((place,), InputTooLongError)
    assert pairs(response) == scores_of(texts, {place})
    assert server.counts.rerank == response.stats.requests <= 25


async def test_isolate_finds_one_that_is_the_shortest_in_bytes():
    """Thirty words of a letter each are fewer bytes than eight long words."""
    texts = [f"{number} " + " ".join(["wordwordword"] * 8) for number in range(1000)]
    texts[333] = " ".join("a" * 30)
    async with server_of() as server, client_for(server, batching=batching("isolate")) as client:
        response = await client.generate(QUERY, texts)
    assert [failure.indices for failure in response.failures] == [(333,)]
    assert pairs(response) == scores_of(texts, {333})
    assert server.counts.rerank <= 25


async def test_isolate_of_fifty_in_a_thousand_sends_forty_requests_at_most_and_loses_no_score():
    over = set(range(7, 1000, 20))
    assert len(over) == 50
    texts = texts_of(1000, over)
    async with server_of() as server, client_for(server, batching=batching("isolate")) as client:
        response = await client.generate(QUERY, texts)
        assert_tidy(client)
    gone = [index for failure in response.failures for index in failure.indices]
    assert sorted(gone) == sorted(over), "where lengths are a fair guide, nothing else is left out"
    assert all(isinstance(failure.error, InputTooLongError) for failure in response.failures)
    assert pairs(response) == scores_of(texts, over)
    assert server.counts.rerank == response.stats.requests <= 40


async def test_isolate_of_fifty_whose_bytes_say_nothing_is_bounded_and_accounts_for_every_text():
    over = set(range(7, 1000, 20))
    texts = [
        " ".join("a" * (20 + number % 9)) if number in over else f"{number} {'x' * (number % 60)}"
        for number in range(1000)
    ]
    async with server_of() as server, client_for(server, batching=batching("isolate")) as client:
        response = await client.generate(QUERY, texts)
    gone = [index for failure in response.failures for index in failure.indices]
    assert len(gone) == len(set(gone))
    assert over <= set(gone)
    assert pairs(response) == scores_of(texts, set(gone))
    assert server.counts.rerank <= 40


async def test_isolate_over_several_batches_spends_its_requests_once_for_the_call():
    over = set(range(7, 1000, 20))
    texts = texts_of(1000, over)
    async with server_of() as server, client_for(server, batching=batching("isolate", max_inputs=100)) as client:
        response = await client.generate(QUERY, texts)
        assert_tidy(client)
    gone = {index for failure in response.failures for index in failure.indices}
    assert gone >= over
    assert pairs(response) == scores_of(texts, gone)
    assert server.counts.rerank <= 10 + 39


async def test_isolate_names_every_place_of_a_repeated_text():
    long = " ".join(["long"] * 20)
    texts = ("word 1", long, "word 2", long, "word 1", long)
    async with server_of() as server, client_for(server, batching=batching("isolate")) as client:
        response = await client.generate(QUERY, texts)
    assert [failure.indices for failure in response.failures] == [(1, 3, 5)]
    assert pairs(response) == scores_of(texts, {1, 3, 5})
    assert server.counts.rerank <= 4


async def test_isolate_of_nothing_but_long_texts_and_of_a_single_one():
    async with server_of() as server, client_for(server, batching=batching("isolate")) as client:
        response = await client.generate(QUERY, texts_of(1, {0}))
        assert ([failure.indices for failure in response.failures], server.counts.rerank) == ([(0,)], 1)
        response = await client.generate(QUERY, texts_of(4, {0, 1, 2, 3}))
    assert response.results == ()
    assert sorted(index for failure in response.failures for index in failure.indices) == [0, 1, 2, 3]
    assert server.counts.rerank <= 1 + 8


async def test_isolate_gives_up_early_where_the_query_is_what_is_too_long():
    texts = texts_of(1000)
    async with server_of() as server, client_for(server, batching=batching("isolate")) as client:
        response = await client.generate(" ".join(["word"] * 20), texts)
    assert response.results == ()
    assert sorted(index for failure in response.failures for index in failure.indices) == list(range(1000))
    assert server.counts.rerank <= 1 + 20


async def test_isolate_and_faults_of_other_kinds():
    texts = texts_of(600, {5, 77, 400})
    faults = {"server_error": 0.1, "reset_before": 0.1, "missing_result": 0.1}
    async with (
        server_of(faults=faults, seed=9) as server,
        client_for(server, batching=batching("isolate", max_inputs=200)) as client,
    ):
        response = await client.generate(QUERY, texts)
        assert_tidy(client)
    assert {index for failure in response.failures for index in failure.indices} == {5, 77, 400}
    assert pairs(response) == scores_of(texts, {5, 77, 400})
    assert sum(server.counts.faults.values()) > 0


async def test_isolate_under_partial_accounts_for_a_part_that_fails_otherwise():
    texts = texts_of(64, {10})
    once = RetryOptions(max_attempts=1, base_delay=0.0)
    async with (
        server_of(faults=[Fault("backend_failed", nth=(3,))]) as server,
        client_for(server, batching=batching("isolate"), retries=once, on_failure="partial") as client,
    ):
        response = await client.generate(QUERY, texts)
        assert_tidy(client)
    gone = [index for failure in response.failures for index in failure.indices]
    assert len(gone) == len(set(gone))
    assert pairs(response) == scores_of(texts, set(gone))
    assert server.counts.faults["backend_failed"] == 1


async def test_a_deadline_in_the_middle_of_a_search_keeps_what_was_scored():
    texts = texts_of(64, {10})
    async with (
        server_of(faults=[Fault("hang", nth=(4,))]) as server,
        client_for(server, batching=batching("isolate"), on_failure="partial") as client,
    ):
        response = await client.generate(QUERY, texts, timeout=0.75)
        assert_tidy(client)
    gone = [index for failure in response.failures for index in failure.indices]
    assert sorted(gone) == sorted(set(range(64)) - {result.index for result in response.results})
    assert any(isinstance(failure.error, DeadlineExceededError) for failure in response.failures)
    assert pairs(response) == scores_of(texts, set(gone))
    assert response.results


async def test_a_stream_hands_out_what_isolate_saves():
    texts = texts_of(200, {50, 150})
    async with (
        server_of() as server,
        client_for(server, batching=batching("isolate", max_inputs=100)) as client,
        client.stream(QUERY, texts) as stream,
    ):
        got = sorted([result.index async for results in stream for result in results])
        response = await stream.response()
    assert got == sorted(set(range(200)) - {50, 150})
    assert {index for failure in stream.failures for index in failure.indices} == {50, 150}
    assert pairs(response) == scores_of(texts, {50, 150})


async def test_raise_sends_one_request():
    async with server_of() as server, client_for(server, batching=batching("raise")) as client:
        with pytest.raises(InputTooLongError, match=r"30 > 16.*does not say which text"):
            await client.generate(QUERY, texts_of(1000, {7}))
    assert server.counts.rerank == 1


async def test_truncate_scores_a_thousand_in_two_requests_and_says_which_were_longer():
    over = {7, 500, 999}
    texts = texts_of(1000, over)
    async with server_of() as server, client_for(server, batching=batching("truncate")) as client:
        response = await client.generate(QUERY, texts)
        assert_tidy(client)
    assert (server.counts.rerank, response.stats.requests, response.failures) == (2, 2, ())
    scores = LexicalScorer().score_now(QUERY, texts, MOST).scores
    assert pairs(response) == tuple(sorted(enumerate(scores), key=lambda pair: (-pair[1], pair[0])))
    (warning,) = response.warnings
    assert warning.additional_properties["indices"] == sorted(over)
    assert warning.additional_properties["truncate_input_tokens"] == MOST
    assert "7, 500, 999" in warning.message
    assert response.to_dict()["system"]["warnings"][0]["id"] == warning.id


async def test_truncate_names_the_indices_of_the_callers_list():
    long = " ".join(["long"] * 20)
    texts = ("word 1", "word 1", long, "word 2", long)
    async with server_of() as server, client_for(server, batching=batching("truncate")) as client:
        response = await client.generate(QUERY, texts)
    assert response.warnings[0].additional_properties["indices"] == [2, 4]
    assert len(response.results) == 5
    assert server.counts.rerank == 2


async def test_truncate_that_does_not_help_is_the_error_after_two_requests():
    words = "Token sequence length is longer than the specified maximum sequence length for this model (30 > 16)."

    async with (
        service(lambda _: refusal(400, "invalid_input_argument", words)) as running,
        client_for(running, batching=batching("truncate")) as client,
    ):
        with pytest.raises(InputTooLongError):
            await client.generate(QUERY, texts_of(10, {7}))
    assert len(running.seen) == 2
    assert running.seen[1].json["parameters"]["truncate_input_tokens"] == 16


@pytest.mark.parametrize("overlength", ["raise", "isolate", "truncate"])
@pytest.mark.parametrize(
    "words",
    [
        "Invalid input argument for Model 'lexical': the query is empty",
        "truncate_input_tokens must be at most 512",
        "top_n is out of range",
    ],
    ids=["query", "parameter", "range"],
)
async def test_a_400_of_the_same_code_about_something_else_costs_one_request(overlength, words):
    async with (
        service(lambda _: refusal(400, "invalid_input_argument", words)) as running,
        client_for(running, batching=batching(overlength)) as client,
    ):
        with pytest.raises(BadRequestError) as caught:
            await client.generate(QUERY, texts_of(100, {7}))
        assert_tidy(client)
    assert not isinstance(caught.value, InputTooLongError | RequestTooLargeError)
    assert len(running.seen) == 1


async def test_a_413_splits_and_the_smaller_bound_is_remembered():
    most = 6000

    def answer(seen):
        return refusal(413, "request_too_large") if len(seen.body) > most else honest(seen)

    texts = texts_of(400)
    async with service(answer) as running, client_for(running, batching=batching("raise")) as client:
        response = await client.generate(QUERY, texts)
        assert pairs(response) == scores_of(texts, ())
        refused = sum(len(seen.body) > most for seen in running.seen)
        assert refused > 0
        # Each refusal makes two of one; besides, one text goes ahead.
        assert len(running.seen) == 1 + 2 * refused + 1
        first = len(running.seen)
        assert pairs(await client.generate(QUERY, texts)) == scores_of(texts, ())
        assert sum(len(seen.body) > most for seen in running.seen[first:]) == 0, "no second call is refused"
        assert client.plan(QUERY, texts).requests == len(running.seen) - first
        assert_tidy(client)


@pytest.mark.parametrize("words", ["Too many inputs: at most 100 inputs", "too many inputs"], ids=["number", "none"])
async def test_a_400_about_too_many_inputs_splits_and_is_remembered(words):
    def answer(seen):
        if len(seen.json["inputs"]) > 100:
            return refusal(400, "invalid_request_entity", words)
        return honest(seen)

    texts = texts_of(400)
    async with service(answer) as running, client_for(running, batching=batching("raise")) as client:
        assert pairs(await client.generate(QUERY, texts)) == scores_of(texts, ())
        sizes = [len(seen.json["inputs"]) for seen in running.seen]
        assert sorted(sizes, reverse=True) == ([400] if "100" in words else [400, 200, 200]) + [100] * 4
        first = len(sizes)
        assert pairs(await client.generate(QUERY, texts)) == scores_of(texts, ())
        assert all(len(seen.json["inputs"]) <= 100 for seen in running.seen[first:])
        assert len(running.seen) - first == 4
        assert client.with_options(batching=batching("raise", max_inputs=50)).plan(QUERY, texts).requests == 8


@pytest.mark.parametrize("on_failure", ["raise", "partial"])
@pytest.mark.parametrize("html", [True, False])
async def test_a_query_that_is_too_large_costs_few_requests_and_shows_no_bound(on_failure, html):
    def answer(seen):
        if len(seen.json["query"]) < 10_000:
            return honest(seen)
        if html:
            return web.Response(status=413, text="<html>Request Entity Too Large</html>", content_type="text/html")
        return refusal(413, "request_too_large")

    texts = texts_of(1000)
    async with (
        service(answer) as running,
        client_for(running, batching=batching("raise", max_inputs=1000), on_failure=on_failure) as client,
    ):
        query = "long " * 2000
        if on_failure == "raise":
            with pytest.raises(RequestTooLargeError, match="its query has 10,000 bytes"):
                await client.generate(query, texts)
        else:
            response = await client.generate(query, texts)
            assert sorted(at for failure in response.failures for at in failure.indices) == list(range(1000))
            assert all("its query has 10,000 bytes" in str(failure.error) for failure in response.failures)
        assert len(running.seen) <= 5
        sent = len(running.seen)
        assert client.plan(QUERY, texts).requests == 1
        assert pairs(await client.generate(QUERY, texts)) == scores_of(texts, ())
        assert len(running.seen) == sent + 1
        assert_tidy(client)


async def test_a_truncated_batch_that_is_too_large_stays_truncated_in_its_parts():
    def answer(seen):
        if "truncate_input_tokens" not in seen.json.get("parameters", {}):
            return refusal(400, "invalid_input_argument", "too many tokens (600 > 512)")
        return refusal(413, "request_too_large") if len(seen.json["inputs"]) > 60 else honest(seen)

    texts = texts_of(100, {3, 90})
    async with service(answer) as running, client_for(running, batching=batching("truncate")) as client:
        response = await client.generate(QUERY, texts)
        assert_tidy(client)
    assert len(response.results) == 100
    assert len([each for each in response.warnings if each.id == "rerank_async_truncated"]) == 1
    assert all(seen.json["parameters"]["truncate_input_tokens"] == 512 for seen in running.seen[1:])


async def test_a_text_that_is_refused_alone_as_too_large_is_the_error():
    def answer(seen):
        return refusal(413, "request_too_large") if "huge" in json.dumps(seen.json["inputs"]) else honest(seen)

    texts = ("a", "b", "huge", "c")
    async with service(answer) as running, client_for(running, batching=batching("raise")) as client:
        with pytest.raises(RequestTooLargeError):
            await client.generate(QUERY, texts)
        assert len(running.seen) <= 1 + 2 + 2 + 1
        response = await client.with_options(on_failure="partial").generate(QUERY, texts)
        assert_tidy(client)
    assert [failure.indices for failure in response.failures] == [(2,)]
    assert pairs(response) == scores_of(texts, {2})
