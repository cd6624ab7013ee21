"""The fake reranker against the real client and a server with the same score function: the same answers and errors."""

import asyncio

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rerank_async import AsyncRerank, BatchOptions, Crypto, RerankParameters, RerankRequest, errors
from rerank_async.testing import FakeReranker, Reranker, ScoreError, rerank_server


def overlap(query, text):
    return len(set(query) & set(text)) - len(text) / 10


def without_time(response):
    return attrs.evolve(response, created_at=None)


async def both(server, fake, *args, **kwargs):
    async with server.client("any/model", batching=fake._batching) as client:
        return without_time(await client.generate(*args, **kwargs)), without_time(await fake.generate(*args, **kwargs))


CASES = [
    (["a", "b", "ab"], None, {}),
    ([], None, {}),
    ([], {"return_options": {"query": True}}, {}),
    (["b", "a", "b", {"text": "a"}], {"return_options": {"inputs": True, "query": True}}, {}),
    (["b", "a", "b", "a"], {"return_options": {"top_n": 1}}, {}),
    (["b", "a", "b", "a"], RerankParameters(truncate_input_tokens=3, return_options={"top_n": 9}), {}),
    (["b", "a", "b"], {"return_options": {"inputs": True, "query": True}}, {"crypto": {"key_ref": "crn:v1:made-up"}}),
    (["b", "a", "b"], None, {"crypto": Crypto("crn:v1:made-up"), "timeout": 30}),
    (iter(["x", "é", "a"]), None, {"extra_headers": {"X-Mine": "1"}, "extra_body": {"new": 1}, "timeout": None}),
    ([str(number) for number in range(37)], {"return_options": {"top_n": 5, "inputs": True}}, {}),
    (["b", "a", "b", "a 3", "x"], {"return_options": {"top_n": 4}}, {"score_threshold": 0.85}),
]


@pytest.mark.parametrize(("inputs", "params", "more"), CASES)
@pytest.mark.parametrize("function", [overlap, None], ids=["function", "words"])
async def test_it_answers_as_the_client_does_over_the_server(rerank_server, inputs, params, more, function):
    rerank_server.score = function
    fake = FakeReranker("any/model", score=function, batching=BatchOptions(max_inputs=4))
    given_inputs = list(inputs)
    real, made_up = await both(rerank_server, fake, "ab 3", given_inputs, params, **more)
    assert made_up == real
    assert made_up.to_dict() == real.to_dict()
    assert made_up.stats.requests == real.stats.requests
    assert [type(result.score) for result in made_up.results] == [float] * len(real.results)


@given(
    texts=st.lists(st.text(alphabet="ab ", max_size=4), max_size=9),
    top_n=st.none() | st.integers(1, 10),
    echo=st.booleans(),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_list_is_ranked_alike(rerank_server, texts, top_n, echo):
    rerank_server.score = overlap
    fake = FakeReranker("any/model", score=overlap, batching=BatchOptions(max_inputs=3))
    params = {"return_options": {"top_n": top_n, "inputs": echo}}
    real, made_up = asyncio.run(both(rerank_server, fake, "ab", texts, params))
    assert made_up == real


WRONG = [
    (("", ["a"]), {}),
    ((5, ["a"]), {}),
    (("q", "a"), {}),
    (("q", ["a", 5]), {}),
    (("q", [{"text": "a", "id": 1}]), {}),
    (("q", ["a"], {"top": 1}), {}),
    (("q", ["a"], {"return_options": {"top_n": 0}}), {}),
    (("q", ["a"], None, {"key": "x"}), {}),
    (("q", ["\ud800"]), {}),
    (("q", ["a"]), {"timeout": 0}),
    (("q", ["a"]), {"timeout": "1"}),
    (("q", ["a"]), {"extra_headers": {"Authorization": "x"}}),
    (("q", ["a"]), {"extra_headers": 5}),
    (("q", ["a"]), {"extra_body": {"query": "x"}}),
    (("q", ["a"]), {"extra_body": {"new": object()}}),
]


@pytest.mark.parametrize(("args", "kwargs"), WRONG)
async def test_it_refuses_what_the_client_refuses_in_the_same_words(args, kwargs):
    fake = FakeReranker()
    client = AsyncRerank("m", credentials={"url": "http://127.0.0.1:9", "api_key": "k"}, project_id="p")
    with pytest.raises(errors.InvalidArgumentError) as real:
        await client.generate(*args, **kwargs)
    with pytest.raises(errors.InvalidArgumentError) as made_up:
        await fake.generate(*args, **kwargs)
    assert (type(made_up.value), str(made_up.value)) == (type(real.value), str(real.value))
    assert (made_up.value.argument, made_up.value.index) == (real.value.argument, real.value.index)
    assert fake.calls == []


async def test_a_text_of_too_many_words_is_too_long_for_both(rerank_server):
    fake = FakeReranker()
    for reranker in (fake, rerank_server.client()):
        with pytest.raises(errors.InputTooLongError, match="600 > 512") as caught:
            await reranker.generate("q", ["word " * 600])
        assert (caught.value.status, caught.value.code) == (400, "invalid_input_argument")
        if reranker is not fake:
            await reranker.aclose()


@pytest.mark.parametrize(("inputs", "params", "more"), CASES)
async def test_a_stream_hands_out_what_the_client_hands_out(rerank_server, inputs, params, more):
    rerank_server.score = overlap
    options = BatchOptions(max_inputs=2, adaptive=False)
    fake = FakeReranker("any/model", score=overlap, batching=options)
    given_inputs, found = list(inputs), []
    async with rerank_server.client("any/model", batching=options) as client:
        for reranker in (client, fake):
            async with reranker.stream("ab 3", given_inputs, params, **more) as stream:
                batches = [[(result.index, result.score, result.input) for result in batch] async for batch in stream]
                found.append((sorted(batches), without_time(await stream.response())))
    assert found[0] == found[1]
    assert [call.texts for call in fake.calls] == [
        tuple(text if isinstance(text, str) else text["text"] for text in given_inputs)
    ]


async def test_a_stream_gives_what_landed_before_an_error():
    fake = FakeReranker(batching=BatchOptions(max_inputs=1))
    async with fake.stream("word", ["word", "word " * 513, "words"]) as stream:
        landed = await anext(stream)
        with pytest.raises(errors.InputTooLongError):
            await anext(stream)
    assert [result.index for result in landed] == [0]
    with pytest.raises(errors.InvalidTypeError, match=r"inputs\[1\]"):
        fake.stream("q", ["a", None])
    assert len(fake.calls) == 1


@pytest.mark.parametrize("ordered", [True, False])
async def test_many_requests_run_as_those_of_the_client(rerank_server, ordered):
    rerank_server.score = overlap
    requests = [RerankRequest("ab", ["a", "b", "x" * number], id=number) for number in range(9)]
    requests[4] = RerankRequest("ab", ["a", 5], id=4)
    fake = FakeReranker("any/model", score=overlap)
    fake.fail(errors.DeadlineExceededError("too late"), on=3)
    found = []
    async with rerank_server.client("any/model") as client:
        for reranker in (client, fake):
            async with reranker.generate_many(iter(requests), ordered=ordered, max_in_flight=2) as outcomes:
                found.append([outcome async for outcome in outcomes])
    real, made_up = ({outcome.request.id: outcome for outcome in each} for each in found)
    assert sorted(real) == sorted(made_up) == list(range(9))
    if ordered:
        assert [outcome.request.id for outcome in found[1]] == list(range(9))
    for number, outcome in real.items():
        if outcome.error is not None:
            assert (number, str(made_up[number].error)) == (4, str(outcome.error))
        elif number != 2:
            assert without_time(made_up[number].response) == without_time(outcome.response)
    assert type(made_up[2].error) is errors.DeadlineExceededError
    assert len(fake.calls) == 8, "the one with bad input is not among them"


async def test_calls_are_recorded():
    fake = FakeReranker("m", {"truncate_input_tokens": 7})
    await fake.generate("q", ["a", {"text": "a"}], timeout=3, extra_headers={"X": "y"}, extra_body={"new": 1})
    await fake.generate("r", [], {"return_options": {"top_n": 2}}, {"key_ref": "crn"})
    first, second = fake.calls
    assert (first.query, first.texts, first.timeout) == ("q", ("a", "a"), 3)
    assert (first.params.truncate_input_tokens, first.crypto) == (7, None)
    assert (first.extra_headers, first.extra_body) == ({"X": "y"}, {"new": 1})
    assert (second.params.truncate_input_tokens, second.params.return_options.top_n) == (None, 2)
    assert second.crypto == Crypto("crn")
    fake.reset()
    assert fake.calls == []


async def test_it_fails_when_it_is_told_to():
    fake = FakeReranker(score=overlap)
    late, busy = errors.DeadlineExceededError("too late"), errors.RateLimitError("busy", status=429)
    await fake.generate("q", ["a"])
    fake.fail(late, on=[2, 3])
    fake.fail(busy, on=3)
    assert (await fake.generate("q", ["a"])).results
    for error in (late, busy):
        with pytest.raises(type(error)) as caught:
            await fake.generate("q", ["a"])
        assert caught.value is error
    assert (await fake.generate("q", ["a"])).results
    fake.fail(late)
    for _ in range(2):
        with pytest.raises(errors.DeadlineExceededError):
            await fake.generate("q", ["a"])
    fake.reset()
    assert (await fake.generate("q", ["a"])).results


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ((ValueError,), TypeError, "an exception that was made"),
        (("late",), TypeError, "an exception that was made"),
        ((ValueError("x"), 0), ValueError, "number of a call, the next one is 1, is at least 1, not 0"),
        ((ValueError("x"), "1"), TypeError, "whole number"),
    ],
)
def test_a_wrong_failure_is_named(arguments, kind, words):
    with pytest.raises(kind, match=words):
        FakeReranker().fail(arguments[0], **({"on": arguments[1]} if len(arguments) > 1 else {}))


async def test_a_wrong_score_function_reaches_the_author_past_the_service():
    fake = FakeReranker(scores=lambda query, texts: [1.0] * 5)
    with pytest.raises(ScoreError, match=r"returned 5 scores for 2 texts") as caught:
        await fake.generate("q", ["a", "b"])
    assert not isinstance(caught.value, errors.RerankError)
    fake = FakeReranker(score=lambda query, text: {}[text])
    with pytest.raises(ScoreError, match="raised KeyError for text 0") as caught:
        await fake.generate("q", ["a", "b"])
    assert isinstance(caught.value.__cause__, KeyError)


async def test_a_closed_one_refuses():
    async with FakeReranker() as fake:
        assert (await fake.generate("a", ["a"])).results
    with pytest.raises(errors.ClientClosedError):
        await fake.generate("a", ["a"])
    for handout in (fake.stream("a", ["a"]), fake.generate_many([])):
        with pytest.raises(errors.ClientClosedError):
            await handout.__aenter__()
    assert len(fake.calls) == 1


async def test_it_gives_way_once_and_can_be_cancelled():
    task = asyncio.create_task(FakeReranker().generate("a", ["a"]))
    await asyncio.sleep(0)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_all_three_are_rerankers():
    client = AsyncRerank("m", credentials={"url": "http://127.0.0.1:9", "api_key": "k"}, project_id="p")
    assert isinstance(client, Reranker)
    assert isinstance(FakeReranker(), Reranker)
    assert not isinstance(object(), Reranker)
    assert not isinstance(rerank_server(), Reranker)
