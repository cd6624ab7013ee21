"""The guard of conftest.py: no test leaves this machine."""

import socket

import aiohttp
import pytest

from rerank_async import AsyncRerank

FAR = ("192.0.2.1", 443)  # a documentation address: RFC 5737


@pytest.mark.parametrize("name", ["connect", "connect_ex"])
def test_connecting_elsewhere_fails_and_names_the_target(name):
    with socket.socket() as far, pytest.raises(AssertionError, match=r"192\.0\.2\.1"):
        getattr(far, name)(FAR)


@pytest.mark.parametrize("flags", [(), (0,)])
def test_sending_elsewhere_fails(flags):
    with socket.socket(type=socket.SOCK_DGRAM) as far, pytest.raises(AssertionError, match=r"192\.0\.2\.1"):
        far.sendto(b"x", *flags, FAR)


@pytest.mark.parametrize("host", ["us-south.ml.cloud.ibm.com", b"example.com", "127.0.0.2", "localhost.example.com"])
def test_looking_up_another_name_fails_and_names_it(host):
    with pytest.raises(AssertionError, match=host if isinstance(host, str) else host.decode()):
        socket.getaddrinfo(host, 443)


def test_loopback_and_unix_sockets_are_left_alone(tmp_path):
    for family, address in [(socket.AF_INET, ("127.0.0.1", 0)), (socket.AF_UNIX, str(tmp_path / "s"))]:
        with socket.socket(family) as here, socket.socket(family) as caller:
            here.bind(address)
            here.listen()
            caller.connect(here.getsockname())
    assert socket.getaddrinfo("localhost", 80)
    assert socket.getaddrinfo("::1", 80)


async def test_a_client_for_the_real_service_is_stopped():
    async with AsyncRerank(
        "lexical", credentials={"url": "https://us-south.ml.cloud.ibm.com", "token": "made-up"}, project_id="p"
    ) as client:
        with pytest.raises(AssertionError, match=r"us-south\.ml\.cloud\.ibm\.com"):
            await client.generate("a query", ["a text"])
    async with aiohttp.ClientSession() as session:
        with pytest.raises(AssertionError, match="example"):
            await session.get("https://example.com")
