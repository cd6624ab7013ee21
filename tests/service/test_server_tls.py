"""The local server over TLS: clients trust it by a CA file, and whoever does not is refused."""

import asyncio
import socket
import ssl

import aiohttp
import pytest
from support.certificates import certificate_files
from support.clients import client_for
from support.passages import pairs

from rerank_async import Credentials
from rerank_async.errors import CertificateError
from rerank_async.server import Fault, LexicalScorer, serve


@pytest.fixture
def files(tmp_path):
    return certificate_files(tmp_path)


async def test_a_client_with_the_ca_file_gets_the_scorers_ranking_and_the_urls_are_https(files):
    texts = ["blue sky", "the red apple", "red"]
    async with serve(tls_cert=files.cert, tls_key=files.key) as server:
        assert server.url.startswith("https://127.0.0.1:")
        assert server.token_url == server.url + "/identity/token"
        async with client_for(server, verify=files.ca) as client:
            found = pairs(await client.generate("red apples", texts))
            assert (await client.model_specs())[0].model_id == "lexical"
    scores = LexicalScorer().score_now("red apples", texts).scores
    assert found == tuple(sorted(enumerate(scores), key=lambda pair: -pair[1]))
    assert (server.counts.tokens, server.counts.rerank) == (1, 1)


async def test_a_context_serves_as_the_files_do(files):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.cert, files.key)
    async with serve(ssl_context=context) as server, client_for(server, verify=files.ca) as client:
        assert pairs(await client.generate("bread", ["bread"])) == ((0, 1.0),)


async def test_who_does_not_know_the_authority_is_refused_and_the_server_sees_no_request(files):
    async with (
        serve(tls_cert=files.cert, tls_key=files.key) as server,
        client_for(server, credentials=Credentials(server.url, server.api_key)) as client,
    ):
        with pytest.raises(CertificateError, match=r"pass verify='/path/to/ca.pem'"):
            await client.generate("bread", ["bread"])
        assert (server.counts.token_requests, server.counts.rerank) == (0, 0)


async def test_plain_http_gets_no_answer_from_a_tls_port_and_the_server_goes_on(files):
    async with serve(tls_cert=files.cert, tls_key=files.key) as server, aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.ClientError):
            await http.get(server.url.replace("https://", "http://"))
        async with client_for(server, verify=files.ca) as client:
            assert pairs(await client.generate("bread", ["bread"])) == ((0, 1.0),)


@pytest.mark.parametrize("fault", ["reset_before", "reset_inside", "truncated_json", "drip", "unavailable"])
async def test_faults_that_reach_below_http_do_what_they_say_over_tls_too(files, fault):
    async with serve(tls_cert=files.cert, tls_key=files.key, faults=[Fault(fault, nth=(1,))]) as server:
        async with client_for(server, verify=files.ca) as client:
            assert pairs(await client.generate("bread", ["bread"])) == ((0, 1.0),)
        assert server.counts.faults[fault] == 1
        assert server.counts.rerank == (1 if fault == "drip" else 2)


async def test_a_stop_ends_what_is_in_flight_over_tls_and_leaves_no_task(files):
    before = asyncio.all_tasks()
    async with serve(tls_cert=files.cert, tls_key=files.key, faults={"hang": 1.0}) as server:
        client = client_for(server, verify=files.ca)
        ranking = asyncio.create_task(client.generate("bread", ["bread"], timeout=30))
        while not server.counts.faults["hang"]:  # noqa: ASYNC110 - the server's counters have no event
            await asyncio.sleep(0)
        ranking.cancel()
        await asyncio.gather(ranking, return_exceptions=True)
        await client.aclose()
    assert asyncio.all_tasks() == before


async def test_bad_files_are_errors_before_anything_listens(files, tmp_path):
    with pytest.raises(ValueError, match=r"^tls_cert needs tls_key"):
        await serve(tls_cert=files.cert).__aenter__()
    with pytest.raises(ValueError, match=r"^tls_key '.*missing.pem' cannot be read"):
        await serve(tls_cert=files.cert, tls_key=tmp_path / "missing.pem").__aenter__()


async def test_a_port_in_use_is_the_systems_error_over_tls_too(files):
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        await serve(port=taken.getsockname()[1], tls_cert=files.cert, tls_key=files.key).__aenter__()
