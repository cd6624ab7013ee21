"""The real model: the same numbers directly and over HTTP, whatever travels beside a text."""

import asyncio
import sys

import aiohttp
import attrs
import pytest

from rerank_async.server import LexicalScorer, MiniLMScorer, ModelUnavailableError, OverlengthError, minilm, serve

pytest.importorskip("onnxruntime")
pytest.importorskip("tokenizers")

QUERY = "How do I close a file?"
TEXTS = [
    "Calling close() flushes the buffers and gives the descriptor back to the system.",
    "A generator is a function that returns an iterator.",
    "Files are best opened with a with statement, which closes them at the end.",
    "",
    "The moon is about 384,000 kilometres away. " * 6,
    "Schließen Sie die Datei 📁, bevor Sie gehen.",
]


@pytest.fixture(scope="module")
def direct():
    return MiniLMScorer.load()


@pytest.fixture
async def http():
    async with aiohttp.ClientSession() as session:
        yield session


async def rerank(http, server, texts, query=QUERY, **parameters):
    inputs = [{"text": text} for text in texts]
    body = {"model_id": MiniLMScorer.model_id, "query": query, "inputs": inputs, "project_id": "local-project"}
    headers = {"Authorization": f"Bearer {server.issue_token()}"}
    url = server.url + "/ml/v1/text/rerank?version=2024-10-18"
    async with http.post(url, headers=headers, json=body | {"parameters": parameters}) as answer:
        return answer.status, await answer.json()


def scores(value):
    return tuple(result["score"] for result in sorted(value["results"], key=lambda result: result["index"]))


async def test_the_ranking_over_http_equals_the_direct_one_to_the_last_bit(http, direct):
    scored = direct.score_now(QUERY, TEXTS)
    async with serve() as server:
        status, value = await rerank(http, server, TEXTS)
    assert (status, scores(value), value["input_token_count"]) == (200, scored.scores, scored.input_token_count)
    order = sorted(range(len(TEXTS)), key=lambda index: (-scored.scores[index], index))
    assert [result["index"] for result in value["results"]] == order
    assert set(order[:2]) == {0, 2}  # the texts about closing files


async def test_a_score_does_not_depend_on_the_other_texts_nor_on_the_cache(direct):
    whole = direct.score_now(QUERY, TEXTS).scores
    fresh = MiniLMScorer(cache=0)
    assert tuple(fresh.score_now(QUERY, [text]).scores[0] for text in TEXTS) == whole
    assert (await fresh.score(QUERY, TEXTS[::-1] * 2, None)).scores == whole[::-1] * 2
    await fresh.close()


async def test_requests_at_the_same_time_get_the_numbers_of_requests_alone(direct):
    scorer = MiniLMScorer(threads=2)
    lists = [TEXTS, TEXTS[1:], TEXTS[:2], TEXTS[3:]]
    together = await asyncio.gather(*(scorer.score(QUERY, texts, None) for texts in lists))
    assert list(together) == [direct.score_now(QUERY, texts) for texts in lists]
    await scorer.close()


async def test_two_requests_for_one_text_embed_it_once(monkeypatch):
    scorer, embedded = MiniLMScorer.load(), []
    encoder = scorer._encoder
    embed = encoder.embed
    monkeypatch.setattr(encoder, "embed", lambda ids: embedded.append(tuple(ids)) or embed(ids))
    await asyncio.gather(*(scorer.score(QUERY, TEXTS, None) for _ in range(3)))
    await scorer.score(QUERY, TEXTS, None)
    assert len(embedded) == len(set(embedded)) == 1 + len(TEXTS)
    await scorer.close()


def test_a_text_that_another_request_embedded_meanwhile_is_not_embedded_again():
    scorer = MiniLMScorer.load()
    (key, *_) = scorer._keys(QUERY, [], None)
    ids = scorer._encoder.tokens(QUERY)
    assert scorer._embed(scorer._encoder, key, ids) is scorer._embed(scorer._encoder, key, ids)


async def test_truncation_is_honoured(http, direct):
    long = "file " * 400  # one token a word
    async with serve() as server:
        status, value = await rerank(http, server, [long], truncate_input_tokens=20)
        _, by_hand = await rerank(http, server, ["file " * 20])
        assert (status, scores(value)) == (200, scores(by_hand))
        assert value["input_token_count"] == by_hand["input_token_count"]
        one, two = [(await rerank(http, server, TEXTS[:1], truncate_input_tokens=n))[1] for n in (1, 2)]
        assert scores(one) != scores(two)
        # 256 tokens with the two special ones are what the model takes.
        full = (await rerank(http, server, [long], truncate_input_tokens=256))[1]
        assert scores(full) == direct.score_now(QUERY, ["file " * 254]).scores


@pytest.mark.parametrize("truncate", [None, 257, 512])
async def test_a_text_above_256_tokens_that_is_not_cut_is_refused_in_the_services_words(http, truncate):
    parameters = {} if truncate is None else {"truncate_input_tokens": truncate}
    async with serve() as server:
        status, value = await rerank(http, server, ["short", "file " * 300], **parameters)
        assert status == 400
        assert value["errors"][0]["message"] == (
            "Invalid input argument for Model 'sentence-transformers/all-minilm-l6-v2': Token sequence length is "
            "longer than the specified maximum sequence length for this model (302 > 256)."
        )
        assert (await rerank(http, server, ["file " * 254], **parameters))[0] == 200
        assert server.counts.inputs == 1


def test_the_query_is_never_cut(direct):
    with pytest.raises(OverlengthError, match=r"302 > 256"):
        direct.score_now("file " * 300, ["short"], truncate=10)


def test_input_tokens_are_those_of_query_and_text_for_every_pair(direct):
    # "[CLS] file [SEP]" and "[CLS] file file [SEP]" for the first pair, "[CLS] file [SEP]" twice for the second.
    assert direct.score_now("file", ["file file", "file"]).input_token_count == (3 + 4) + (3 + 3)
    assert direct.score_now("file", ["file file"], truncate=1).input_token_count == 3 + 3


@pytest.mark.parametrize("name", ["MODEL_FILE", "TOKENIZER_FILE"])
async def test_another_file_than_the_expected_one_is_refused(http, monkeypatch, name):
    monkeypatch.setattr(minilm, name, attrs.evolve(getattr(minilm, name), sha256="0" * 64))
    with pytest.raises(ModelUnavailableError, match="is not used"):
        MiniLMScorer.load()
    async with serve() as server:
        status, value = await rerank(http, server, ["a"])
    assert (status, value["errors"][0]["code"]) == (404, "model_not_supported")


async def test_a_preload_of_a_model_that_cannot_be_loaded_is_a_python_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    monkeypatch.delitem(sys.modules, "rerank_async.server.encoder", raising=False)
    with pytest.raises(ModelUnavailableError, match=r"needs tokenizers: pip install '\.\[local\]'"):
        async with serve(preload=[MiniLMScorer.model_id]):
            pytest.fail("the model was loaded")


async def test_the_model_is_loaded_once_for_requests_that_arrive_together(monkeypatch):
    from rerank_async.server import encoder

    made = []

    class Counting(encoder.Encoder):
        def __init__(self, model, tokenizer):
            made.append(1)
            super().__init__(model, tokenizer)

    monkeypatch.setattr(encoder, "Encoder", Counting)
    scorer = MiniLMScorer()
    await asyncio.gather(*(scorer.score(QUERY, [text], None) for text in TEXTS))
    assert made == [1]
    await scorer.close()


async def test_a_request_whose_client_left_stops_costing_work(monkeypatch):
    scorer, embedded, begun = MiniLMScorer.load(threads=1), [], asyncio.Event()
    loop, embed = asyncio.get_running_loop(), scorer._encoder.embed

    def slowly(ids):
        embedded.append(1)
        loop.call_soon_threadsafe(begun.set)
        return embed(ids)

    monkeypatch.setattr(scorer._encoder, "embed", slowly)
    request = asyncio.create_task(scorer.score(QUERY, [f"text {number} " * 100 for number in range(200)], 256))
    await begun.wait()
    request.cancel()
    await asyncio.wait([request])
    await scorer.close()
    assert len(embedded) < 201


async def test_models_beside_each_other_answer_under_their_ids(http, direct):
    async with serve(scorers={direct.model_id: direct, "lexical": LexicalScorer()}) as server:
        status, value = await rerank(http, server, TEXTS)
    assert (status, value["model_id"]) == (200, "sentence-transformers/all-minilm-l6-v2")
    # Given, so not closed: it still scores.
    assert (await direct.score(QUERY, TEXTS, None)).scores == scores(value)
