"""The claim: however a list is cut, answered and retried, the ranking is the one that a single request would give."""

import asyncio
from collections import Counter
from random import Random

import pytest
from support.clients import client_for
from support.passages import QUERY, pairs, passages, ranking
from support.services import honest, service

from rerank_async import Answered, BatchOptions
from rerank_async.server import Fault, LexicalScorer, RateLimit, serve

TEXTS = passages(2345)
UNIQUE = tuple(dict.fromkeys(TEXTS))

# Everything that a retry mends, a tenth of all requests together. A second 401 for one batch is final by design, so
# those come by number.
MENDABLE = (
    *("server_error", "backend_failed", "no_trace", "empty_error", "unavailable", "bad_gateway", "gateway_timeout"),
    *("rate_limited", "pool_full", "reset_before", "reset_inside"),
    *(
        "truncated_json",
        "nonsense_json",
        "nonsense_html",
        "missing_result",
        "duplicate_index",
        "wrong_index",
        "nan_score",
    ),
)
TENTH = (
    *(Fault(name, share=0.1 / len(MENDABLE)) for name in MENDABLE),
    Fault("token_expired", nth=(3,)),
    Fault("token_rejected", nth=(11,)),
)

NOT_MET = RateLimit(requests=5000, headers=False)
"""What a 429 that comes by chance names, so that the client does not pace itself by the documented 8 a second."""


class Uneven:
    """The lexical scorer, as late as chance wants, which counts what it bills."""

    model_id = "lexical"
    max_sequence_length = 512

    def __init__(self, seed, longest):
        self._random = Random(seed)
        self._longest = longest
        self._scorer = LexicalScorer()
        self.billed = 0

    async def score(self, query, texts, truncate):
        await asyncio.sleep(self._random.uniform(0, self._longest))
        scored = await self._scorer.score(query, texts, truncate)
        self.billed += scored.input_token_count
        return scored

    async def close(self):
        raise AssertionError("a scorer that was given is not closed")


def test_the_passages_hold_what_the_claim_is_about():
    assert len(TEXTS) == 2345
    assert len(TEXTS) - len(UNIQUE) == 2345 // 3
    scores = LexicalScorer().score_now(QUERY, UNIQUE).scores
    assert max(Counter(scores).values()) > 50, "different texts tie"
    assert len(set(scores)) > 20


BATCHINGS = {
    "7": BatchOptions(max_inputs=7),
    "100": BatchOptions(max_inputs=100),
    "999": BatchOptions(max_inputs=999),
    "1000": BatchOptions(max_inputs=1000),
    "bytes": BatchOptions(max_bytes=3000),
}


@pytest.mark.parametrize(
    ("top_n", "inputs", "query"),
    [(None, None, None), (None, True, True), (1, True, None), (2, None, True), (50, True, True), (9999, False, False)],
)
@pytest.mark.parametrize("batching", BATCHINGS.values(), ids=BATCHINGS)
async def test_the_ranking_is_the_scorers_own(batching, top_n, inputs, query):
    answered = []
    scorer = Uneven(seed=1, longest=0.03)
    options = {"top_n": top_n, "inputs": inputs, "query": query}
    async with (
        serve(scorers={"lexical": scorer}, faults={"unsorted": 0.5}) as server,
        client_for(server, batching=batching, observer=answered.append) as client,
    ):
        response = await client.generate(QUERY, TEXTS, {"return_options": options})
    assert pairs(response) == ranking(TEXTS, top_n)
    assert [result.input for result in response.results] == [
        TEXTS[result.index] if inputs else None for result in response.results
    ]
    assert response.query == (QUERY if query else None)
    assert response.input_token_count == scorer.billed == LexicalScorer().score_now(QUERY, UNIQUE).input_token_count
    assert server.counts.inputs == len(UNIQUE)
    order = [event.batch for event in answered if isinstance(event, Answered)]
    assert sorted(order) == list(range(response.stats.requests))
    if len(order) > 10:
        assert order != sorted(order), "the answers came in another order than they were asked for"


async def test_one_text_a_request():
    texts = TEXTS[:300]
    async with serve() as server, client_for(server, batching=BatchOptions(max_inputs=1)) as client:
        response = await client.generate(QUERY, texts, {"return_options": {"top_n": 40}})
    assert pairs(response) == ranking(texts, 40)
    assert server.counts.rerank == len(set(texts))


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("batching", ["7", "100", "bytes"])
async def test_a_tenth_of_the_requests_failing_changes_nothing(batching, seed):
    scorer = Uneven(seed=seed, longest=0.01)
    async with (
        serve(scorers={"lexical": scorer}, limit=NOT_MET, faults=TENTH, seed=seed) as server,
        client_for(server, batching=BATCHINGS[batching]) as client,
    ):
        everything, best = await asyncio.gather(
            client.generate(QUERY, TEXTS, {"return_options": {"inputs": True}}),
            client.generate(QUERY, TEXTS, {"return_options": {"top_n": 77}}),
        )
    assert pairs(everything) == ranking(TEXTS)
    assert all(result.input == TEXTS[result.index] for result in everything.results)
    assert pairs(best) == ranking(TEXTS, 77)
    billed = LexicalScorer().score_now(QUERY, UNIQUE).input_token_count
    # Answers that made no sense were thrown away, and what they would have billed with them.
    assert everything.input_token_count == best.input_token_count == billed
    failed = sum(server.counts.faults.values())
    assert failed >= (20 if batching == "7" else 3)
    assert everything.stats.retries + everything.stats.throttled + best.stats.retries + best.stats.throttled == failed


@pytest.mark.parametrize("name", MENDABLE)
async def test_each_fault_that_a_retry_mends_alone(name):
    texts = TEXTS[:60]
    faults = [Fault(name, nth=(1, 2, 4))]
    async with serve(faults=faults) as server, client_for(server, batching=BatchOptions(max_inputs=20)) as client:
        response = await client.generate(QUERY, texts)
    assert pairs(response) == ranking(texts)
    assert server.counts.faults[name] == 3


@pytest.mark.parametrize("name", ["unsorted", "extra_fields", "slow", "drip"])
async def test_what_is_odd_but_legal_is_taken_as_it_is(name):
    texts = TEXTS[:60]
    faults = [Fault(name, share=1.0, seconds=0.0001)]
    async with serve(faults=faults) as server, client_for(server, batching=BatchOptions(max_inputs=20)) as client:
        response = await client.generate(QUERY, texts)
    assert pairs(response) == ranking(texts)
    assert response.stats.requests == server.counts.rerank
    assert response.stats.retries == 0
    if name == "extra_fields":
        assert response.extra == {"new_field": {"nested": [1, 2, 3]}}
        assert [warning.id for warning in response.warnings] == ["LOCAL"]
        assert all("new_field" in result.extra for result in response.results)


async def test_without_dedupe_every_text_is_sent_and_the_ranking_is_the_same():
    async with serve() as server, client_for(server, batching=BatchOptions(dedupe=False)) as client:
        response = await client.generate(QUERY, TEXTS)
    assert pairs(response) == ranking(TEXTS)
    assert server.counts.inputs == len(TEXTS)
    assert response.input_token_count == LexicalScorer().score_now(QUERY, TEXTS).input_token_count


async def test_texts_and_dicts_mixed_are_the_same_texts():
    texts = TEXTS[:200]
    mixed = [{"text": text} if number % 2 else text for number, text in enumerate(texts)]
    async with serve() as server, client_for(server, batching=BatchOptions(max_inputs=30)) as client:
        response = await client.generate(QUERY, iter(mixed))
    assert pairs(response) == ranking(texts)
    assert server.counts.inputs == len(set(texts))


async def test_truncation_is_the_scorers():
    texts = tuple(f"{text} bread dough" for text in TEXTS[:100])
    async with serve() as server, client_for(server, batching=BatchOptions(max_inputs=9)) as client:
        response = await client.generate(QUERY, texts, {"truncate_input_tokens": 2})
    scores = LexicalScorer().score_now(QUERY, texts, 2).scores
    assert pairs(response) == tuple(sorted(enumerate(scores), key=lambda pair: (-pair[1], pair[0])))
    assert pairs(response) != ranking(texts)


async def test_with_crypto_nothing_is_deduped_and_the_echo_is_the_services():
    async def answer(seen):
        reply = honest(seen)
        body = reply.text.replace('"text": "', '"text": "from the service: ').replace(QUERY, "the service's query")
        reply.text = body
        return reply

    texts = ("bread", "dough", "bread", "rye", "bread")
    options = {"return_options": {"inputs": True, "query": True}}
    async with service(answer) as running, client_for(running, batching=BatchOptions(max_inputs=2)) as client:
        response = await client.generate(QUERY, texts, options, {"key_ref": "crn:v1:made-up"})
    assert [item["text"] for seen in running.seen for item in seen.json["inputs"]] == list(texts)
    assert all(seen.json["crypto"] == {"key_ref": "crn:v1:made-up"} for seen in running.seen)
    assert pairs(response) == ranking(texts)
    assert [result.input for result in response.results] == [
        "from the service: " + texts[result.index] for result in response.results
    ]
    assert response.query == "the service's query"


async def test_with_crypto_the_whole_list_is_ranked_as_without():
    async with serve() as server, client_for(server, batching=BatchOptions(max_inputs=500)) as client:
        response = await client.generate(
            QUERY, TEXTS, {"return_options": {"inputs": True}}, {"key_ref": "crn:v1:made-up"}
        )
    assert pairs(response) == ranking(TEXTS)
    assert [result.input for result in response.results] == [TEXTS[result.index] for result in response.results]
    assert server.counts.inputs == len(TEXTS)


async def test_many_calls_at_once_get_each_their_own_ranking():
    queries = [f"{QUERY} {word}" for word in ("rye", "oven", "window", "slow", "grain", "towel", "baker", "stone")]
    scorer = Uneven(seed=5, longest=0.01)
    async with (
        serve(scorers={"lexical": scorer}, limit=NOT_MET, faults=TENTH, seed=9) as server,
        client_for(server, batching=BatchOptions(max_inputs=40)) as client,
    ):
        responses = await asyncio.gather(*(client.generate(query, TEXTS[:500]) for query in queries))
    for query, response in zip(queries, responses, strict=True):
        assert pairs(response) == ranking(TEXTS[:500], None, query)
    assert server.counts.in_flight == 0
