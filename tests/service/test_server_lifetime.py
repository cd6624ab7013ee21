"""Starting and stopping: a free port, no work left behind, clear errors."""

import asyncio
import socket

import aiohttp
import pytest

from rerank_async.server import Fault, LexicalScorer, Scored, serve

GRANT = "urn:ibm:params:oauth:grant-type:apikey"


async def until(condition):
    while not condition():  # noqa: ASYNC110 - the server's counters have no event
        await asyncio.sleep(0)


def post(http, server, model_id="lexical"):
    body = {"model_id": model_id, "query": "q", "inputs": [{"text": "a"}], "project_id": "local-project"}
    headers = {"Authorization": f"Bearer {server.issue_token()}"}
    return http.post(server.url + "/ml/v1/text/rerank?version=2024-10-18", headers=headers, json=body)


class Stuck:
    """Never scores; says when it was begun and when it was cancelled."""

    model_id = "stuck"
    max_sequence_length = None

    def __init__(self):
        self.begun = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def score(self, query, texts, truncate):
        self.begun.set()
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return Scored((), 0)

    async def close(self):
        pass


async def test_two_servers_listen_on_two_ports_and_are_gone_afterwards():
    async with serve() as one, serve() as two:
        assert one.url != two.url
        assert one.token_url == one.url + "/identity/token"
    host, port = one.url.removeprefix("http://").split(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)))


async def test_a_stop_cancels_what_is_in_flight_and_leaves_no_task():
    before = asyncio.all_tasks()
    stuck = Stuck()
    async with aiohttp.ClientSession() as http:
        async with serve(scorers={"stuck": stuck}) as server:
            request = asyncio.create_task(post(http, server, "stuck").__aenter__())
            await stuck.begun.wait()
        assert stuck.cancelled.is_set()
        with pytest.raises(aiohttp.ClientError):
            await request
    assert asyncio.all_tasks() == before


async def test_a_stop_ends_a_hanging_fault_of_either_route():
    async with aiohttp.ClientSession() as http:
        async with serve(faults=[Fault("hang", nth=(1,)), Fault("iam_hang", nth=(1,))]) as server:
            form = {"grant_type": GRANT, "apikey": server.api_key}
            tasks = [
                asyncio.create_task(post(http, server).__aenter__()),
                asyncio.create_task(http.post(server.token_url, data=form).__aenter__()),
            ]
            await until(lambda: server.counts.faults.total() == 2)
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(end, aiohttp.ClientError) for end in ended)


async def test_a_client_that_leaves_stops_the_scoring():
    stuck = Stuck()
    async with aiohttp.ClientSession() as http, serve(scorers={"stuck": stuck}) as server:
        request = asyncio.create_task(post(http, server, "stuck").__aenter__())
        await stuck.begun.wait()
        request.cancel()
        await stuck.cancelled.wait()
        await until(lambda: not server.counts.in_flight)
        assert server.requests[0].status is None
        assert server.counts.max_in_flight == 1


async def test_an_error_inside_the_context_comes_out_as_it_is():
    with pytest.raises(LookupError, match="mine"):
        async with serve():
            raise LookupError("mine")


async def test_an_idle_connection_does_not_hold_up_the_stop():
    async with aiohttp.ClientSession() as http:
        async with serve() as server, post(http, server) as answer:
            await answer.read()
        with pytest.raises(aiohttp.ClientConnectionError):
            await post(http, server)


async def test_a_server_that_cannot_listen_says_so_and_leaves_nothing():
    async with serve() as server:
        port = int(server.url.rpartition(":")[2])
        with pytest.raises(OSError, match="in use"):
            async with serve(port=port):
                pytest.fail("the port was taken")


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"faults": {"hnag": 0.1}}, ValueError, "Did you mean 'hang'"),
        ({"latency": -1}, ValueError, "Latency.base"),
        ({"token_lifetime": 0}, ValueError, "token_lifetime"),
        ({"token_latency": -1}, ValueError, "token_latency"),
        ({"max_inputs": 0}, ValueError, "max_inputs is at least 1"),
        ({"preload": ["lexcial"]}, ValueError, "preload names 'lexcial'; the models are: lexical,"),
    ],
)
async def test_a_bad_option_is_an_error_before_anything_listens(options, error, words):
    with pytest.raises(error, match=words.replace("'", "['\"]")):
        async with serve(**options):
            pytest.fail("the option was taken")


async def test_preload_scores_once_with_the_model():
    class Counting(LexicalScorer):
        calls = 0

        async def score(self, query, texts, truncate):
            self.calls += 1
            return await super().score(query, texts, truncate)

    scorer = Counting()
    async with serve(scorers={"lexical": scorer}, preload=["lexical"]):
        assert scorer.calls == 1


async def test_max_inputs_and_token_latency_are_what_was_set(monkeypatch):
    waited = []

    async def sleep(delay):
        waited.append(delay)

    async with aiohttp.ClientSession() as http, serve(max_inputs=1, token_latency=0.5) as server:
        monkeypatch.setattr("rerank_async.server.doors.asyncio.sleep", sleep)
        await http.post(server.token_url, data={"grant_type": GRANT, "apikey": server.api_key})
        assert 0.5 in waited
        headers = {"Authorization": f"Bearer {server.issue_token()}"}
        body = {"model_id": "lexical", "query": "q", "inputs": [{"text": "a"}] * 2, "project_id": "local-project"}
        url = server.url + "/ml/v1/text/rerank?version=2024-10-18"
        async with http.post(url, headers=headers, json=body) as answer:
            assert answer.status == 400


def test_a_server_runs_in_one_loop_after_another():
    async def once():
        async with serve() as server, aiohttp.ClientSession() as http, post(http, server) as answer:
            return answer.status

    assert [asyncio.run(once()), asyncio.run(once())] == [200, 200]
