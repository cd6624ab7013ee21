"""`make test-data DATA=FOLDER`: BEIR folders, reranked over HTTP by the real model, against a direct computation.

Each folder holds ``corpus.jsonl``, ``queries.jsonl`` and ``qrels.tsv`` (graded judgements under a header line). The
candidates are BM25's best 100 of each judged query. The ranking over HTTP must equal the one that is computed straight
from the scorer, query by query: from `generate`, and from `rerank-async bulk` and `eval` on the command line, whose
nDCG@10 must be that of the direct ranking to 1e-4.
"""

from __future__ import annotations

import asyncio
import csv
import json
import math
import os
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import attrs
import bm25s
import ir_measures
import Stemmer

from rerank_async import AsyncRerank, LimitOptions
from rerank_async.bulk.evaluation import read_results
from rerank_async.server import MiniLMScorer, Server, serve

DEPTH = 100
QUERY_WORDS = 150  # the model reads 256 tokens, and a service cuts texts, not queries
MODEL = "sentence-transformers/all-minilm-l6-v2"

Run = dict[str, dict[str, float]]


@attrs.frozen
class Collection:
    """A retrieval collection: texts by id, judged queries by id, and judgements by query and document."""

    name: str
    corpus: dict[str, str]
    queries: dict[str, str]
    qrels: dict[str, dict[str, int]]


def read(folder: Path) -> Collection:
    """Reads one folder; only judged queries are kept."""

    def lines(name: str) -> list[dict[str, str]]:
        return [json.loads(line) for line in (folder / name).read_text("utf-8").splitlines() if line.strip()]

    qrels: dict[str, dict[str, int]] = defaultdict(dict)
    with (folder / "qrels.tsv").open(encoding="utf-8", newline="") as file:
        for query, document, grade in list(csv.reader(file, delimiter="\t"))[1:]:
            qrels[query][document] = int(grade)
    corpus = {line["_id"]: f"{line.get('title', '')} {line['text']}".strip() for line in lines("corpus.jsonl")}
    queries = {line["_id"]: line["text"] for line in lines("queries.jsonl") if line["_id"] in qrels}
    return Collection(folder.name, corpus, queries, dict(qrels))


def first_stage(collection: Collection) -> Run:
    """BM25's best for each query (k1 0.9, b 0.4, English stop words, Snowball stemmer)."""
    stemmer = Stemmer.Stemmer("english")
    ids = list(collection.corpus)

    def tokens(texts: list[str]) -> bm25s.tokenization.Tokenized:
        return bm25s.tokenize(texts, stopwords="en", stemmer=stemmer, show_progress=False)

    index = bm25s.BM25(k1=0.9, b=0.4)
    index.index(tokens(list(collection.corpus.values())), show_progress=False)
    found, scores = index.retrieve(
        tokens(list(collection.queries.values())), k=min(DEPTH, len(ids)), show_progress=False
    )
    return {
        query: {ids[number]: float(score) for number, score in zip(*columns, strict=True)}
        for query, *columns in zip(collection.queries, found, scores, strict=True)
    }


async def rerank(collection: Collection, run: Run, folder: Path) -> tuple[Run, int, dict[str, dict[str, float]]]:
    """The same candidates over HTTP, by the library and by the command line, and straight from the scorer.

    Returns:
        The run; in how many queries one of the two differs from the direct ranking; what `eval` says of the first run
        and the reranked one.
    """
    scorer = MiniLMScorer.load()
    reranked: Run = {}
    direct_run: Run = {}
    differing = 0
    async with (
        serve(scorers={MODEL: scorer}) as server,
        AsyncRerank(
            MODEL,
            params={"truncate_input_tokens": 256},
            credentials={"url": server.url, "api_key": server.api_key},
            project_id=server.project_id,
            limits=LimitOptions(requests_per_second=math.inf, max_concurrency=4),
        ) as client,
    ):

        async def one(query: str, text: str) -> None:
            nonlocal differing
            text = " ".join(text.split()[:QUERY_WORDS])
            ids = list(run[query])
            texts = [collection.corpus[document] for document in ids]
            response = await client.generate(text, texts)
            reranked[query] = {ids[result.index]: result.score for result in response.results}
            direct = (await asyncio.to_thread(scorer.score_now, text, texts, 256)).scores
            order = sorted(range(len(ids)), key=lambda index: (-direct[index], index))
            direct_run[query] = {ids[index]: direct[index] for index in order}
            got = [(result.index, result.score) for result in response.results]
            differing += got != [(index, direct[index]) for index in order]

        await asyncio.gather(*(one(query, text) for query, text in collection.queries.items()))
        with tempfile.TemporaryDirectory() as name:
            means = await by_command_line(collection, run, folder, Path(name), server)
            through = read_results(str(Path(name) / "reranked.run"))
    await scorer.close()
    differing += sum(list(through[query].items()) != list(found.items()) for query, found in direct_run.items())
    return reranked, differing, means


async def by_command_line(
    collection: Collection, run: Run, folder: Path, place: Path, server: Server
) -> dict[str, dict[str, float]]:
    """Writes BM25's run and the queries, as cut, reranks it into ``reranked.run``, and has both measured."""
    with (place / "bm25.run").open("w") as file:
        for query, documents in run.items():
            for rank, (document, score) in enumerate(documents.items(), start=1):
                file.write(f"{query} Q0 {document} {rank} {score!r} bm25\n")
    with (place / "queries.jsonl").open("w") as file:
        for query, text in collection.queries.items():
            file.write(json.dumps({"_id": query, "text": " ".join(text.split()[:QUERY_WORDS])}) + "\n")
    environment = os.environ | {
        "WATSONX_URL": server.url,
        "WATSONX_APIKEY": server.api_key,
        "WATSONX_PROJECT_ID": server.project_id or "any",
    }

    async def command(*words: str) -> bytes:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "rerank_async.cli", *words), env=environment, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate()
        if process.returncode:
            sys.exit(f"{words[0]} ended with {process.returncode}")
        return out

    first, second = str(place / "bm25.run"), str(place / "reranked.run")
    files = ("--run", first, "--corpus", str(folder / "corpus.jsonl"), "--queries", str(place / "queries.jsonl"))
    how = ("--model", MODEL, "--truncate", "256", "--requests-per-second", "inf", "--max-in-flight", "4")
    await command("bulk", *files, "-o", second, *how)
    means = json.loads(await command("eval", "--qrels", str(folder / "qrels.tsv"), first, second, "--json"))["means"]
    return {"BM25": means[first], "reranked": means[second]}


def ndcg(collection: Collection, run: Run) -> float:
    """nDCG@10 over the judged queries."""
    return float(ir_measures.calc_aggregate([ir_measures.nDCG @ 10], collection.qrels, run)[ir_measures.nDCG @ 10])


def main(folder: Path) -> int:
    folders = sorted(path.parent for path in folder.glob("*/corpus.jsonl")) or [folder]
    if not (folders[0] / "corpus.jsonl").is_file():
        sys.exit(f"there is no corpus.jsonl in {folder}, nor in a folder inside it")
    print("| collection | queries | BM25 nDCG@10 | reranked | by `eval` | rankings that differ from a direct one | s |")
    print("|---|---|---|---|---|---|---|", flush=True)
    wrong = 0
    for each in folders:
        started = time.perf_counter()
        collection = read(each)
        run = first_stage(collection)
        reranked, differing, means = asyncio.run(rerank(collection, run, each))
        evaluated = means["reranked"]["nDCG@10"]
        wrong += differing + (abs(evaluated - ndcg(collection, reranked)) > 1e-4)
        print(
            f"| {collection.name} | {len(collection.queries)} | {ndcg(collection, run):.3f} "
            f"| {ndcg(collection, reranked):.3f} | {evaluated:.3f} | {differing} | {time.perf_counter() - started:.0f} |",
            flush=True,
        )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
