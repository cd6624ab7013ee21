"""The real addresses of IBM's clouds and of Cloud Paks, unchanged: a proxy leads all of them to a local server."""

import ssl
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
import trustme
from support.passages import pairs
from support.proxy import proxy
from support.ways import API_KEY, PASSWORD, SETTINGS, USERNAME

from rerank_async import AsyncRerank
from rerank_async.errors import AuthenticationError
from rerank_async.server import serve

BY_KEY = {"api_key": API_KEY}
BY_PROFILE = {"api_key": API_KEY, "trusted_profile_id": "local-profile"}
BY_USER = {"username": USERNAME, "password": PASSWORD}
IBM, PRIVATE, IAM = "us-south.ml.cloud.ibm.com", "private.eu-de.ml.cloud.ibm.com", "iam.cloud.ibm.com"
AWS, MCSP = "ap-south-1.aws.wxai.ibm.com", "account-iam.platform.saas.ibm.com"
PAK, CONSOLE = "cpd-zen.apps.made-up.example", "cp-console-zen.apps.made-up.example"
HOSTS = (IBM, PRIVATE, IAM, AWS, MCSP, PAK, CONSOLE)

CA = trustme.CA()


@pytest.fixture
def ca_file(tmp_path):
    path = tmp_path / "ca.pem"
    CA.cert_pem.write_to_path(str(path))
    return str(path)


@asynccontextmanager
async def tls_server(**options):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    CA.issue_cert(*HOSTS).configure_cert(context)
    async with serve(**{**SETTINGS, **options}, ssl_context=context) as server:
        yield server


def port_of(server):
    return urlsplit(server.url).port


def client_through(way, ca_file, **credentials):
    return AsyncRerank(
        "lexical",
        credentials={**credentials, "proxies": {"https": way.url()}, "verify": ca_file},
        project_id="local-project",
    )


@pytest.mark.parametrize(
    ("host", "fields", "asked"),
    [
        (IBM, BY_KEY, [IAM]),
        (IBM, BY_PROFILE, [IAM]),
        (PRIVATE, BY_KEY, [IAM]),
        (AWS, BY_KEY, [MCSP]),
        (PAK, BY_USER | {"bedrock_url": f"https://{CONSOLE}"}, [CONSOLE]),
        (PAK, BY_USER, [CONSOLE]),
        (PAK, BY_USER | {"flow": "cp4d"}, []),
        (PAK, {"username": USERNAME, "api_key": API_KEY}, []),
        (PAK, {"username": USERNAME, "api_key": API_KEY, "flow": "zen"}, []),
    ],
    ids=["iam", "profile", "private", "mcsp", "cp4d_iam", "guessed", "cp4d", "cp4d key", "zen"],
)
async def test_the_default_endpoint_of_each_cloud(ca_file, host, fields, asked):
    """``asked``: the hosts besides the service's own, which alone learn of the secret."""
    async with tls_server() as server, proxy(names={f"{name}:443": port_of(server) for name in HOSTS}) as way:
        version = {"version": "5.0"} if host == PAK else {}
        async with client_through(way, ca_file, url=f"https://{host}", **version, **fields) as client:
            assert pairs(await client.generate("bread", ["bread"])) == ((0, 1.0),)
    assert {target for _, target in way.targets()} == {f"{name}:443" for name in (host, *asked)}
    assert server.counts.statuses == {200: 1}


async def test_a_guess_that_leads_nowhere_falls_back_to_the_older_sign_in_and_is_not_tried_again(ca_file):
    async with (
        tls_server(token_lifetime=3600) as pak,
        tls_server(password="another") as console,
        proxy(names={f"{PAK}:443": port_of(pak), f"{CONSOLE}:443": port_of(console)}) as way,
        client_through(way, ca_file, url=f"https://{PAK}", version="5.0", **BY_USER) as client,
    ):
        for _ in range(3):
            assert pairs(await client.generate("bread", ["bread"])) == ((0, 1.0),)
            pak.revoke_tokens()
        granted = client.api_client.channel().tokens.granted
    assert (granted.flow, granted.url) == ("cp4d", f"https://{PAK}/icp4d-api/v1/authorize")
    assert (console.counts.token_requests, pak.counts.token_requests) == (1, 3)


async def test_where_both_sign_ins_fail_the_error_tells_of_both(ca_file):
    async with (
        tls_server(password="another") as server,
        proxy(names={f"{name}:443": port_of(server) for name in (PAK, CONSOLE)}) as way,
        client_through(way, ca_file, url=f"https://{PAK}", version="5.0", **BY_USER) as client,
    ):
        with pytest.raises(AuthenticationError) as caught:
            await client.generate("bread", ["bread"])
    assert f"https://{PAK}/icp4d-api/v1/authorize answered 401" in str(caught.value)
    assert f"https://{CONSOLE}/idprovider/v1/auth/identitytoken" in str(caught.value)
    assert server.counts.rerank == 0


async def test_an_address_that_was_given_has_no_fallback(ca_file):
    async with (
        tls_server() as pak,
        tls_server(password="another") as console,
        proxy(names={f"{PAK}:443": port_of(pak), f"{CONSOLE}:443": port_of(console)}) as way,
        client_through(way, ca_file, url=f"https://{PAK}", bedrock_url=f"https://{CONSOLE}", **BY_USER) as client,
    ):
        with pytest.raises(AuthenticationError):
            await client.generate("bread", ["bread"])
    assert pak.counts.token_requests == 0
