"""The small collection through the command line: BM25's candidates, reranked by the real model, and how good that is."""

import json
from pathlib import Path

import bm25s
import ir_measures
import pytest
import Stemmer
from ir_measures import nDCG
from support import commands

from rerank_async.bulk.evaluation import read_results
from rerank_async.bulk.runs import read_qrels
from rerank_async.server import MiniLMScorer, serve

FOLDER = Path(__file__).parents[1] / "collection"
MODEL = "sentence-transformers/all-minilm-l6-v2"


def rows(name):
    return [json.loads(line) for line in (FOLDER / name).read_text("utf-8").splitlines()]


CORPUS = {row["_id"]: f"{row['title']} {row['text']}" for row in rows("corpus.jsonl")}
QUERIES = {row["_id"]: row["text"] for row in rows("queries.jsonl")}


@pytest.fixture(scope="module")
def candidates():
    """BM25's best 100 of each query: document to score."""
    stemmer = Stemmer.Stemmer("english")

    def tokens(texts):
        return bm25s.tokenize(texts, stopwords="en", stemmer=stemmer, show_progress=False)

    index = bm25s.BM25(k1=0.9, b=0.4)
    index.index(tokens(list(CORPUS.values())), show_progress=False)
    found, scores = index.retrieve(tokens(list(QUERIES.values())), k=min(100, len(CORPUS)), show_progress=False)
    ids = list(CORPUS)
    return {
        query: {ids[number]: float(score) for number, score in zip(numbers, of_query, strict=True)}
        for query, numbers, of_query in zip(QUERIES, found, scores, strict=True)
    }


@pytest.fixture(scope="module")
def scorer():
    return MiniLMScorer.load()


def direct(scorer, candidates):
    """The ranking of the scorer alone: documents with their scores, best first."""
    rankings = {}
    for query, documents in candidates.items():
        names = list(documents)
        scores = scorer.score_now(QUERIES[query], [CORPUS[name] for name in names]).scores
        order = sorted(range(len(names)), key=lambda place: (-scores[place], place))
        rankings[query] = {names[place]: scores[place] for place in order}
    return rankings


def mean_ndcg(run):
    return ir_measures.calc_aggregate([nDCG @ 10], read_qrels(str(FOLDER / "qrels.tsv")), run)[nDCG @ 10]


async def test_bm25_reranked_through_the_command_line_is_the_direct_ranking_query_by_query(
    tmp_path, scorer, candidates
):
    first, out = tmp_path / "bm25.run", tmp_path / "reranked.run"
    with first.open("w") as file:
        for query, documents in candidates.items():
            for rank, (document, score) in enumerate(documents.items(), start=1):
                file.write(f"{query} Q0 {document} {rank} {score!r} bm25\n")
    async with serve(scorers={MODEL: scorer}) as server:
        ran = await commands.run(
            *("bulk", "--run", str(first), "--corpus", str(FOLDER / "corpus.jsonl")),
            *("--queries", str(FOLDER / "queries.jsonl"), "-o", str(out)),
            *("--model", MODEL, "--requests-per-second", "inf"),
            server=server,
        )
    assert ran.code == 0, ran.err
    right = direct(scorer, candidates)
    found = read_results(str(out))
    assert {query: list(documents.items()) for query, documents in found.items()} == {
        query: list(documents.items()) for query, documents in right.items()
    }
    ran = await commands.run("eval", "--qrels", str(FOLDER / "qrels.tsv"), str(first), str(out), "--json")
    assert ran.code == 0, ran.err
    means = json.loads(ran.out)["means"]
    assert means[str(out)]["nDCG@10"] == pytest.approx(mean_ndcg(right), abs=1e-4)
    assert means[str(first)]["nDCG@10"] == pytest.approx(mean_ndcg(candidates), abs=1e-4)
    assert means[str(out)]["nDCG@10"] > means[str(first)]["nDCG@10"] + 0.1
