"""Sources for bulk jobs, the ranking that a scorer alone gives them, and a disk that is full for SQLite."""

import json
import random

from rerank_async.server import LexicalScorer

WORDS = ["market", "harbour", "bread", "dough", "copper", "river", "lantern", "winter", "garden", "engine", "letter"]

LONGEST_NAME = 255 - len("..job.json.0123456789.tmp")
"""Letters of an output's name that leave room for what a job keeps beside it; 255 is the most on Linux and macOS."""


def queries(count, inputs=5, seed=1):
    """So many queries with candidates that have ids."""
    draw = random.Random(seed)

    def text(length):
        return " ".join(draw.choices(WORDS, k=length))

    return [
        {
            "id": f"q{number}",
            "query": text(3),
            "inputs": [{"id": f"d{number}-{place}", "text": text(6)} for place in range(inputs)],
        }
        for number in range(count)
    ]


def write_jsonl(path, values):
    path.write_bytes(b"".join(json.dumps(value).encode() + b"\n" for value in values))
    return path


def ranked(value, top_n=None):
    """What the output has to say of a query, by the scorer alone."""
    texts = [item["text"] if isinstance(item, dict) else item for item in value["inputs"]]
    scores = LexicalScorer().score_now(value["query"], texts).scores if texts else []
    order = sorted(range(len(texts)), key=lambda index: (-scores[index], index))[:top_n]

    def name(index):
        item = value["inputs"][index]
        return {"id": item["id"]} if isinstance(item, dict) and "id" in item else {"index": index}

    return {"id": value["id"], "results": [name(index) | {"score": scores[index]} for index in order]}


def lines(path):
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def by_id(values):
    return {value["id"]: value for value in values}


def small_databases(connect):
    """SQLite's ``connect``, but there is room for two kilobytes only."""

    def small(*args, **more):
        connection = connect(*args, **more)
        connection.execute("PRAGMA page_size = 512")
        connection.execute("PRAGMA max_page_count = 4")
        connection.execute("PRAGMA temp.max_page_count = 4")
        return connection

    return small
