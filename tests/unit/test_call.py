"""One call over a session that is made up: what the answers do not say, and where its permits go."""

import asyncio
import json

import pytest
from support.clock import FakeClock
from yarl import URL

from rerank_async.auth import GivenToken
from rerank_async.call import Call, Job
from rerank_async.errors import ClientClosedError
from rerank_async.exchange import Channel, Checks
from rerank_async.policy.limiting import WindowLimiter
from rerank_async.policy.planning import load
from rerank_async.runtime.gate import Gate
from rerank_async.runtime.http import Answer
from rerank_async.runtime.tokens import GivenTokenCache
from rerank_async.values.options import BatchOptions, RetryOptions
from rerank_async.values.response import NO_EXTRA
from rerank_async.values.secret import Secret


class Session:
    """Scores each text by its length, and says around the results what it was told to."""

    def __init__(self, *said):
        self.said = list(said)
        self.closed = False

    def check(self):
        if self.closed:
            raise ClientClosedError("closed")

    async def send(self, _method, _url, *, headers, authorization, body):
        assert authorization.reveal() == "Bearer t"
        await asyncio.sleep(0)
        texts = json.loads(body)["inputs"]
        results = [{"index": i, "score": float(len(each["text"]))} for i, each in enumerate(texts)]
        return Answer(200, headers, json.dumps({"results": results} | self.said.pop(0)).encode())


def call_over(session, texts, query=None, lanes=1, landed=None, **changes):
    clock = FakeClock()
    gate = Gate(WindowLimiter(float("inf")), 1, clock)
    tokens = GivenTokenCache(GivenToken(Secret("t")))
    url = URL("https://host.example/ml/v1/text/rerank")
    channel = Channel(session, tokens, gate, clock, RetryOptions(), url, str(url), Checks())
    head = {"model_id": "asked-for", "query": "q"}
    job = Job(head, load(texts, BatchOptions(max_inputs=1), head, dedupe=True), None, None, query, False, {}, None)
    return Call(channel, job._replace(**changes), lanes, (), landed), gate


async def response_to(*said, query=None):
    call, gate = call_over(Session(*said), ["a", "bb", "ccc"][: len(said)], query)
    response = await call.run()
    assert [result.index for result in response.results] == sorted(range(len(said)), reverse=True)
    assert (gate.granted, gate.status().in_flight) == (len(said), 0), "one permit for each request, and all have left"
    assert response.stats.requests == len(response.stats.exchanges) == len(said)
    return response


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("said", [{}, {"model_id": None}, {"model_id": ""}, {"model_id": 5}])
async def test_a_service_that_says_nothing(said, count):
    response = await response_to(*[said] * count)
    assert response.model_id == "asked-for", "the model that was asked for answers to its name"
    assert (response.model_version, response.created_at, response.input_token_count) == (None, None, None)
    assert (response.query, response.warnings) == (None, ())
    assert response.extra is NO_EXTRA


async def test_what_the_service_says_is_passed_on():
    said = {"model_id": "m", "model_version": "1", "created_at": "c", "input_token_count": 7, "query": "its", "x": 1}
    response = await response_to({}, said, said | {"created_at": "d"})
    assert (response.model_id, response.model_version, response.created_at) == ("m", "1", "d")
    assert (response.input_token_count, response.query, response.extra) == (14, "its", {"x": 1})


@pytest.mark.parametrize("said", [{}, {"query": "its"}])
async def test_the_query_of_the_caller_goes_before_that_of_the_service(said):
    assert (await response_to(said, query="mine")).query == "mine"
    assert (await response_to(said, query="")).query == ""


# Batches as they land


async def test_each_batch_is_handed_out_as_it_lands_with_the_indices_of_the_caller():
    landed = []
    texts = ["a", "bb", "a", "ccc"]
    call, _ = call_over(Session({}, {}, {}), texts, landed=landed.append, top_n=1)
    call._job = call._job._replace(texts=texts)
    response = await call.run()
    assert [[(each.index, each.score, each.input) for each in results] for results in landed] == [
        [(0, 1.0, "a"), (2, 1.0, "a")],
        [(1, 2.0, "bb")],
        [(3, 3.0, "ccc")],
    ]
    assert [each.index for each in response.results] == [3], "the cut holds in the response alone"


@pytest.mark.parametrize(("whole", "asked"), [(False, 2), (True, None)])
async def test_a_cut_is_pushed_down_unless_every_score_is_wanted(whole, asked):
    call, _ = call_over(Session({}), ["a", "bb", "ccc"], top_n=2, whole=whole)
    call._job = call._job._replace(load=call._job.load._replace(max_inputs=3))
    assert call._take(0).top_n == asked


# Permits


async def test_a_permit_of_a_session_that_was_closed_is_returned():
    session = Session()
    session.closed = True
    call, gate = call_over(session, ["a", "bb"], lanes=2)
    with pytest.raises(ClientClosedError):
        await call.run()
    assert (gate.granted, gate.status().in_flight, gate.status().queued) == (0, 0, 0)


async def test_a_permit_whose_token_died_meanwhile_is_returned_and_asked_for_again():
    call, gate = call_over(Session({}, {}), ["a", "bb"])
    tokens, asked = call._channel.tokens, []

    def alive():
        asked.append(gate.status().in_flight)
        return None if len(asked) in {2, 3} else tokens._token  # dead when its permit comes, and until it is renewed

    tokens.alive = alive
    assert len((await call.run()).results) == 2
    assert asked == [0, 1, 0, 1, 0, 1], "asked before each permit, and again with it in hand"
    assert (gate.granted, gate.status().in_flight) == (2, 0), "three were granted, and one came back"


async def test_a_permit_that_comes_when_another_lane_has_sent_the_last_batch_is_returned():
    call, gate = call_over(Session({}, {}), ["a", "bb"], lanes=2)
    grant, granted = gate._grant, []

    def spy(*moments):
        granted.append(moments)
        return grant(*moments)

    gate._grant = spy
    assert len((await call.run()).results) == 2
    assert len(granted) == 3, "one in vain"
    assert (gate.granted, gate.status().in_flight, gate.status().queued) == (2, 0, 0)
