"""The small collection through the real model: over HTTP the ranking is the model's own, and it is a good one."""

import asyncio
import csv
import json
from pathlib import Path

import ir_measures
import pytest
from ir_measures import nDCG
from support.clients import client_for

from rerank_async import BatchOptions, RerankModels
from rerank_async.server import LexicalScorer, MiniLMScorer, serve

FOLDER = Path(__file__).parents[1] / "collection"
MODEL = RerankModels.ALL_MINILM_L6_V2


def rows(name):
    return [json.loads(line) for line in (FOLDER / name).read_text().splitlines()]


CORPUS = {row["_id"]: f"{row['title']}. {row['text']}" for row in rows("corpus.jsonl")}
QUERIES = {row["_id"]: row["text"] for row in rows("queries.jsonl")}
TEXTS = list(CORPUS.values())
with (FOLDER / "qrels.tsv").open() as file:
    QRELS = [
        ir_measures.Qrel(row["query-id"], row["corpus-id"], int(row["score"]))
        for row in csv.DictReader(file, delimiter="\t")
    ]


@pytest.fixture(scope="module")
def scorer():
    return MiniLMScorer.load()


@pytest.fixture
async def over_http(scorer):
    """Ranks every query by a model over HTTP: pairs of (index, score), best first."""
    async with serve(scorers={MODEL: scorer, "lexical": LexicalScorer()}) as server:

        async def rank(model_id, **options):
            async with client_for(server, model_id, **options) as client:
                responses = await asyncio.gather(*(client.generate(query, TEXTS) for query in QUERIES.values()))
            return {
                query_id: [(result.index, result.score) for result in response.results]
                for query_id, response in zip(QUERIES, responses, strict=True)
            }

        yield rank


def direct(scorer):
    """The same from the scorer alone."""
    found = {}
    for query_id, query in QUERIES.items():
        scores = scorer.score_now(query, TEXTS).scores
        found[query_id] = sorted(enumerate(scores), key=lambda pair: (-pair[1], pair[0]))
    return found


def ndcg(rankings):
    """Mean nDCG@10. Scores are replaced by ranks, because trec_eval breaks ties by its own rule."""
    ids = list(CORPUS)
    run = [
        ir_measures.ScoredDoc(query_id, ids[index], float(-rank))
        for query_id, ranking in rankings.items()
        for rank, (index, _) in enumerate(ranking)
    ]
    return ir_measures.calc_aggregate([nDCG @ 10], QRELS, run)[nDCG @ 10]


def test_the_collection_is_whole():
    assert (len(CORPUS), len(QUERIES)) == (88, 10)
    assert {qrel.query_id for qrel in QRELS} == set(QUERIES)
    assert {qrel.doc_id for qrel in QRELS} <= set(CORPUS)


@pytest.mark.parametrize("max_inputs", [1000, 88, 13, 5])
async def test_the_real_models_ranking_over_http_is_its_own_to_the_last_bit(over_http, scorer, max_inputs):
    ranked = await over_http(MODEL, batching=BatchOptions(max_inputs=max_inputs))
    assert ranked == direct(scorer)


async def test_the_real_model_ranks_better_than_word_overlap(over_http, scorer):
    real = ndcg(await over_http(MODEL, batching=BatchOptions(max_inputs=13)))
    words = ndcg(await over_http("lexical", batching=BatchOptions(max_inputs=13)))
    assert real == pytest.approx(ndcg(direct(scorer)), abs=1e-12)
    assert words == pytest.approx(ndcg(direct(LexicalScorer())), abs=1e-12)
    assert real > words + 0.1
    assert real > 0.7


async def test_top_n_and_truncation_are_the_models_own_too(scorer):
    query = QUERIES["q01"]
    scores = scorer.score_now(query, TEXTS, 8).scores
    async with (
        serve(scorers={MODEL: scorer}) as server,
        client_for(server, MODEL, batching=BatchOptions(max_inputs=9)) as client,
    ):
        response = await client.generate(query, TEXTS, {"truncate_input_tokens": 8, "return_options": {"top_n": 10}})
    right = sorted(enumerate(scores), key=lambda pair: (-pair[1], pair[0]))[:10]
    assert [(result.index, result.score) for result in response.results] == right
