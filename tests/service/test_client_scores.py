"""Scores on request, live: a scale that a fixed threshold can be set on, and cuts of the merged ranking."""

import asyncio
import math

import pytest
from aiohttp import web
from support.clients import client_for
from support.passages import pairs, passages, ranking
from support.services import service

from rerank_async import BatchOptions, RerankModels, RerankRequest
from rerank_async.errors import InvalidArgumentError

TEXTS = tuple(str(number) for number in range(-8, 9))
SMALL = BatchOptions(max_inputs=4)


def scored_by_itself(seen):
    """Each text is its own score, times a hundred."""
    value = seen.json
    results = [{"index": at, "score": 100.0 * float(item["text"])} for at, item in enumerate(value["inputs"])]
    return web.json_response({"model_id": value["model_id"], "results": results, "input_token_count": 1})


async def test_logits_go_through_the_sigmoid_and_keep_their_order_and_their_raw_score():
    async with (
        service(scored_by_itself) as running,
        client_for(running, RerankModels.MS_MARCO_MINILM_L_12_V2, batching=SMALL) as client,
    ):
        response = await client.generate("query", TEXTS)
    normalized = response.normalized()
    assert [result.index for result in normalized.results] == [result.index for result in response.results]
    assert [result.raw_score for result in normalized.results] == [score for _, score in pairs(response)]
    for result in normalized.results:
        assert result.score == pytest.approx(1 / (1 + math.exp(min(700, -result.raw_score))), abs=1e-12)
    assert (normalized.results[0].score, normalized.results[-1].score) == (1.0, pytest.approx(0.0))
    assert normalized.normalized().results == normalized.results, "nothing is squeezed twice"
    # It does not depend on the company: the same text alone has the same score.
    alone = [result for result in normalized.results if result.raw_score == 0.0]
    assert [result.score for result in alone] == [0.5]


async def test_similarities_stay_and_an_unknown_model_must_be_told():
    async with (
        service(scored_by_itself) as running,
        client_for(running, RerankModels.ALL_MINILM_L6_V2) as client,
        client_for(running, "made-up/model") as unknown,
    ):
        response = await client.generate("query", TEXTS)
        assert [result.score for result in response.normalized().results] == [score for _, score in pairs(response)]
        response = await unknown.generate("query", TEXTS)
        with pytest.raises(InvalidArgumentError, match="kind must be given for the model 'made-up/model'"):
            response.normalized()
        assert [result.score for result in response.normalized("logits").results if result.raw_score == 0] == [0.5]
        assert response.normalized("similarities").results[0].score == 800.0


@pytest.mark.parametrize("top_n", [None, 1, 3, 100])
async def test_a_threshold_cuts_the_merged_ranking_at_the_models_own_score(top_n):
    params = None if top_n is None else {"return_options": {"top_n": top_n}}
    async with service(scored_by_itself) as running, client_for(running, batching=SMALL) as client:
        response = await client.generate("query", TEXTS, params, score_threshold=300.0)
        assert [score for _, score in pairs(response)] == [800.0, 700.0, 600.0, 500.0, 400.0, 300.0][:top_n]
        assert (await client.generate("query", TEXTS, params, score_threshold=800.5)).results == ()
        everything = await client.generate("query", TEXTS, params, score_threshold=-800)
        assert len(everything.results) == (17 if top_n is None else min(17, top_n))
        assert everything.input_token_count == 5, "what is cut was scored and billed all the same"


async def test_a_threshold_is_that_of_one_request_whatever_the_batches(server):
    texts = passages(300)
    wanted = tuple(pair for pair in ranking(texts) if pair[1] >= 0.25)
    query = "how does bread dough rise in a cold kitchen"
    async with client_for(server) as client:
        views = [client.with_options(batching=BatchOptions(max_inputs=size)) for size in (1, 7, 100, 1000)]
        responses = await asyncio.gather(*(view.generate(query, texts, score_threshold=0.25) for view in views))
    assert 0 < len(wanted) < 300
    assert {pairs(response) for response in responses} == {wanted}


async def test_a_stream_hands_out_nothing_below_the_threshold():
    async with (
        service(scored_by_itself) as running,
        client_for(running, batching=SMALL) as client,
        client.stream("query", TEXTS, score_threshold=0) as stream,
    ):
        got = [result.score async for results in stream for result in results]
        response = await stream.response()
    assert sorted(got, reverse=True) == [score for _, score in pairs(response)] == [100.0 * n for n in range(8, -1, -1)]


async def test_outcomes_of_many_can_be_normalized():
    requests = [RerankRequest("query", TEXTS, id=number) for number in range(3)]
    async with (
        service(scored_by_itself) as running,
        client_for(running, RerankModels.MS_MARCO_MINILM_L_12_V2) as client,
        client.generate_many(requests) as outcomes,
    ):
        best = [outcome.response.normalized().results[0].score async for outcome in outcomes]
    assert best == [1.0] * 3


@pytest.mark.parametrize("threshold", [math.nan, math.inf, "0.5", True], ids=["nan", "inf", "text", "bool"])
async def test_a_threshold_that_is_no_number_is_refused_before_anything_is_sent(threshold):
    async with service(scored_by_itself) as running, client_for(running) as client:
        with pytest.raises(InvalidArgumentError, match="score_threshold"):
            await client.generate("query", TEXTS, score_threshold=threshold)
    assert running.seen == []
