"""TLS: certificates are checked by what was given, and an error is never answered by checking less."""

import asyncio
import ssl

import pytest
import trustme
from support.clients import client_for
from support.passages import pairs
from support.services import service

from rerank_async import AsyncRerank, Credentials, RetryOptions
from rerank_async.errors import CertificateError, ConnectionFailedError, InvalidArgumentError

CA = trustme.CA()


@pytest.fixture
def ca_file(tmp_path):
    path = tmp_path / "ca.pem"
    CA.cert_pem.write_to_path(str(path))
    return path


def server_side(name="127.0.0.1"):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    CA.issue_cert(name).configure_cert(context)
    return context


def ca_context(path):
    return ssl.create_default_context(cafile=path)


@pytest.mark.parametrize(
    "give", [str, lambda path: path, ca_context, lambda _: False], ids=["str", "Path", "context", "False"]
)
async def test_what_verify_takes(ca_file, give):
    async with service(ssl_context=server_side()) as running, client_for(running, verify=give(ca_file)) as client:
        assert pairs(await client.generate("bread", ["bread"])) == ((0, 1.0),)
    assert (len(running.token_requests), len(running.seen)) == (1, 1)


@pytest.mark.parametrize("name", ["ours.pem", "ours.crt", "OURS.CER"])
async def test_a_folder_of_ca_certificates(tmp_path, name):
    folder = tmp_path / "authorities"
    folder.mkdir()
    CA.cert_pem.write_to_path(str(folder / name))
    trustme.CA().cert_pem.write_to_path(str(folder / "another.pem"))
    CA.private_key_pem.write_to_path(str(folder / "key.pem"))
    (folder / "README.txt").write_text("not a certificate")
    async with service(ssl_context=server_side()) as running, client_for(running, verify=folder) as client:
        assert pairs(await client.generate("bread", ["bread"])) == ((0, 1.0),)


async def test_a_folder_of_other_cas_trusts_nothing_else(tmp_path):
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "another.pem"))
    async with service(ssl_context=server_side()) as running, client_for(running, verify=tmp_path) as client:
        with pytest.raises(CertificateError):
            await client.generate("bread", ["bread"])
    assert running.token_requests == []


@pytest.mark.parametrize("content", [None, "not a certificate"], ids=["empty", "nonsense"])
async def test_a_folder_without_a_ca_certificate_is_an_error_that_says_so(tmp_path, content):
    if content is not None:
        (tmp_path / "ca.pem").write_text(content)
    async with service(ssl_context=server_side()) as running, client_for(running, verify=tmp_path) as client:
        with pytest.raises(InvalidArgumentError, match="no file in the folder") as caught:
            await client.generate("bread", ["bread"])
    assert caught.value.argument == "verify"
    assert running.token_requests == []


async def test_after_a_failure_nothing_is_downgraded(ca_file):
    """The mistake of a client that answers a certificate error by checking no more."""
    async with service(ssl_context=server_side()) as running, client_for(running) as client:
        for _ in range(3):
            with pytest.raises(CertificateError):
                await client.generate("bread", ["bread"])
        view = client.with_options(timeout=30)
        with pytest.raises(CertificateError):
            await view.generate("bread", ["bread"])
        with pytest.raises(CertificateError):
            await client.model_specs()
        assert (running.token_requests, running.seen) == ([], [])
        # Another client beside it is not touched by any of that, nor does it touch the first.
        async with client_for(running, verify=ca_file) as trusting:
            await trusting.generate("bread", ["bread"])
        with pytest.raises(CertificateError):
            await client.generate("bread", ["bread"])
    assert len(running.seen) == 1


async def test_a_certificate_that_signed_itself_is_refused_by_the_name_of_its_host(tmp_path):
    # An authority's own certificate serves as one: nothing above it vouches for it.
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    (tmp_path / "own.pem").write_bytes(CA.private_key_pem.bytes() + CA.cert_pem.bytes())
    context.load_cert_chain(tmp_path / "own.pem")
    async with service(ssl_context=context) as running, client_for(running) as client:
        with pytest.raises(CertificateError, match=r"certificate of 127\.0\.0\.1 .*self.signed.*pass verify="):
            await client.generate("bread", ["bread"])
    assert running.token_requests == []


async def test_the_argument_wins_over_the_credentials(ca_file):
    async with service(ssl_context=server_side()) as running:
        credentials = Credentials(running.url, "made-up", verify=ca_file)
        async with client_for(running, credentials=credentials) as client:
            await client.generate("bread", ["bread"])
        async with client_for(running, credentials=credentials, verify=True) as client:
            with pytest.raises(CertificateError):
                await client.generate("bread", ["bread"])
    assert len(running.seen) == 1


@pytest.mark.parametrize("verify", [None, True])
@pytest.mark.parametrize("secret", ["api_key", "token"])
async def test_an_unknown_ca_is_refused_at_once_and_nothing_is_sent(verify, secret):
    async with (
        service(ssl_context=server_side()) as running,
        client_for(running, verify=verify, credentials={"url": running.url, secret: "made-up"}) as client,
    ):
        with pytest.raises(CertificateError, match=r"pass verify='/path/to/ca.pem'") as caught:
            await client.generate("bread", ["bread"])
    assert isinstance(caught.value, ConnectionError)
    assert running.url in str(caught.value)
    assert caught.value.attempts == 1
    assert (running.token_requests, running.seen) == ([], [])


async def test_a_certificate_for_another_name_is_refused(ca_file):
    async with (
        service(ssl_context=server_side("elsewhere.example")) as running,
        client_for(running, verify=ca_file) as client,
    ):
        with pytest.raises(CertificateError):
            await client.generate("bread", ["bread"])
    assert running.token_requests == []


async def test_https_asked_of_a_plain_server_is_no_matter_of_certificates():
    async with service() as running:
        credentials = {"url": running.url.replace("http://", "https://"), "token": "made-up"}
        async with client_for(running, credentials=credentials) as client:
            with pytest.raises(ConnectionFailedError) as caught:
                await client.generate("bread", ["bread"])
    assert not isinstance(caught.value, CertificateError)
    assert running.seen == []


# One side speaks TLS and the other does not


@pytest.mark.parametrize("secret", ["api_key", "token"])
async def test_https_to_a_server_of_plain_http_is_said_at_once(secret):
    async with service() as running:
        url = running.url.replace("http:", "https:")
        async with client_for(running, credentials={"url": url, secret: "made-up"}, retries=RetryOptions()) as client:
            with pytest.raises(ConnectionFailedError, match=r"does not speak TLS.* begin with http://") as caught:
                await client.generate("bread", ["bread"])
    assert url in str(caught.value)
    assert not isinstance(caught.value, CertificateError)
    assert (caught.value.final, caught.value.refused, caught.value.attempts) == (True, False, 1)
    assert "not permitted" not in str(caught.value)


@pytest.mark.parametrize("secret", ["api_key", "token"])
async def test_http_to_a_server_that_speaks_tls_asks_for_https(secret):
    async with service(ssl_context=server_side()) as running:
        credentials = {"url": running.url.replace("https:", "http:"), secret: "made-up"}
        retries = RetryOptions(max_attempts=2, base_delay=0.001, max_delay=0.001)
        async with client_for(running, credentials=credentials, retries=retries) as client:
            with pytest.raises(ConnectionFailedError, match=r"speaks TLS .* begin with https://") as caught:
                await client.generate("bread", ["bread"])
    assert caught.value.attempts > 1


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"\x15\x03\x03\x00\x02\x02\x28", r"rerank: \[SSL: .*handshake failure"),  # an alert of TLS
        (b"", "rerank: ConnectionResetError"),
    ],
)
async def test_a_handshake_that_fails_otherwise_has_a_reason(answer, words):
    async def talk(reader, writer):
        await reader.read(2**16)
        writer.write(answer)
        writer.close()

    listening = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with listening:
        credentials = {"url": f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}", "token": "made-up"}
        retries = RetryOptions(max_attempts=1)
        async with AsyncRerank("m", credentials=credentials, project_id="p", retries=retries) as client:
            with pytest.raises(ConnectionFailedError, match=words) as caught:
                await client.generate("bread", ["bread"])
    assert not caught.value.final
