"""Through an authenticating proxy: which requests take it, what it may see, and what becomes of its refusals."""

import asyncio
import ssl

import aiohttp
import pytest
import trustme
from support.clients import QUICK, client_for
from support.passages import pairs
from support.proxy import proxy
from support.services import RERANK, TOKEN, service
from support.showing import in_words
from support.tracebacks import with_locals

from rerank_async import AsyncAPIClient, AsyncRerank, Credentials
from rerank_async.errors import (
    CertificateError,
    ConnectionFailedError,
    InvalidArgumentError,
    InvalidTypeError,
    ProxyError,
)

REGION = "us-south.ml.cloud.ibm.com"
IAM = "iam.cloud.ibm.com"
PASSWORD = "made-up-proxy-password/@:#%"
USER_INFO = "made-up-user:made-up-proxy-password%2F%40%3A%23%25"
BASIC = "bWFkZS11cC11c2VyOm1hZGUtdXAtcHJveHktcGFzc3dvcmQvQDojJQ=="
CREDENTIALS = ("made-up-user", PASSWORD)
KEY = "made-up-api-key"

CA = trustme.CA()


@pytest.fixture
def ca_file(tmp_path):
    path = tmp_path / "ca.pem"
    CA.cert_pem.write_to_path(str(path))
    return str(path)


def server_side(*names):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    CA.issue_cert(*names).configure_cert(context)
    return context


def port_of(running):
    return int(running.url.rpartition(":")[2])


async def one_call(client):
    assert pairs(await client.generate("bread", ["bread"])) == ((0, 1.0),)


async def test_plain_http_is_forwarded_the_token_request_included():
    async with (
        service() as running,
        proxy(CREDENTIALS) as way,
        client_for(running, proxies={"http": way.url(USER_INFO)}) as client,
    ):
        await one_call(client)
        await one_call(client)
    assert way.targets() == [("POST", running.url + path) for path in (TOKEN, RERANK, RERANK)]
    assert {asked.header("Proxy-Authorization")[0] for asked in way.asked} == {f"Basic {BASIC}"}
    sent = running.token_requests + running.seen
    assert len(sent) == 3
    assert all(seen.header("Proxy-Authorization") == [] for seen in sent)


async def test_https_goes_by_connect_to_the_real_names_and_the_proxy_sees_neither_key_nor_token_nor_text(ca_file):
    async with service(ssl_context=server_side(REGION, IAM)) as running:
        names = {f"{REGION}:443": port_of(running), f"{IAM}:443": port_of(running)}
        async with (
            proxy(CREDENTIALS, names) as way,
            AsyncRerank(
                "lexical",
                credentials={"url": f"https://{REGION}", "api_key": KEY},
                project_id="p",
                verify=ca_file,
                proxies={"https": way.url(USER_INFO)},
            ) as client,
        ):
            await one_call(client)
            await asyncio.gather(*(one_call(client) for _ in range(5)))
    assert {asked.method for asked in way.asked} == {"CONNECT"}
    assert {asked.target for asked in way.asked} == {f"{REGION}:443", f"{IAM}:443"}
    assert all(asked.header("Proxy-Authorization") == [f"Basic {BASIC}"] for asked in way.asked)
    assert all(asked.header("Authorization") == [] for asked in way.asked)
    assert len(way.tunnelled) > 1000
    assert not any(word in way.tunnelled for word in (KEY.encode(), b"made-up-token", b"bread"))
    sent = running.token_requests + running.seen
    assert (len(running.token_requests), len(running.seen)) == (1, 6)
    assert all(seen.header("Proxy-Authorization") == [] for seen in sent)


async def test_an_https_proxy(ca_file):
    async with (
        service() as running,
        proxy(CREDENTIALS, ssl_context=server_side("127.0.0.1")) as way,
    ):
        url = way.url(USER_INFO).replace("http://", "https://")
        async with client_for(running, verify=ca_file, proxies={"http": url}) as client:
            await one_call(client)
        async with client_for(running, proxies={"http": url}) as client:
            with pytest.raises(CertificateError, match=r"certificate of 127\.0\.0\.1 was not accepted"):
                await one_call(client)
    assert len(way.asked) == 2


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("user_info", ["", "made-up-user:wrong-password"], ids=["none", "wrong"])
async def test_a_proxy_that_wants_credentials_is_an_error_at_once_that_shows_none(scheme, user_info):
    async with service() as running, proxy(CREDENTIALS) as way:
        credentials = {"url": running.url.replace("http", scheme), "api_key": KEY}
        proxies = {scheme: way.url(user_info)}
        async with client_for(running, credentials=credentials, proxies=proxies) as client:
            with pytest.raises(ProxyError) as caught:
                await one_call(client)
    wrong = "its name or password is wrong" if user_info else "give them in proxies"
    assert f"the proxy {way.url()} (proxies['{scheme}']) asks for a name and password (407)" in str(caught.value)
    assert wrong in str(caught.value)
    assert isinstance(caught.value, ConnectionError)
    assert len(way.asked) == 1, "it is not asked again"
    assert running.token_requests == running.seen == []
    shown = in_words(caught.value) + with_locals(caught.value)
    assert "wrong-password" not in shown
    assert KEY not in shown


@pytest.mark.parametrize(
    ("status", "kind", "asked"),
    [("403 Forbidden", ProxyError, 1), ("502 Bad Gateway", ConnectionFailedError, 10)],
    ids=["forbidden", "unreachable"],
)
async def test_a_tunnel_that_is_refused_is_final_and_one_that_failed_is_tried_again(status, kind, asked):
    async with proxy() as way:
        way.refusal = status
        async with AsyncRerank(
            "lexical",
            credentials={"url": f"https://{REGION}", "token": "made-up"},
            project_id="p",
            proxies={"https": way.url()},
            retries=QUICK,
        ) as client:
            with pytest.raises(
                ConnectionFailedError, match=f"did not open the way to https://{REGION}.*: {status}"
            ) as caught:
                await one_call(client)
    assert type(caught.value) is kind
    assert len(way.asked) == asked


async def test_a_proxy_that_is_not_there_is_named_without_its_password():
    async with proxy() as gone:
        url = gone.url(USER_INFO)
    credentials = {"url": "https://us-south.ml.cloud.ibm.com", "token": "made-up"}
    async with AsyncRerank(
        "lexical", credentials=credentials, project_id="p", proxies={"https": url}, retries=QUICK
    ) as client:
        with pytest.raises(
            ConnectionFailedError, match=r"cannot connect to the proxy http://127\.0\.0\.1:\d+ .*refused"
        ) as caught:
            await one_call(client)
    shown = in_words(caught.value) + with_locals(caught.value)
    assert PASSWORD not in shown
    assert USER_INFO not in shown
    assert BASIC not in shown


async def test_a_certificate_behind_a_proxy_is_checked_as_without_one(ca_file):
    async with (
        service(ssl_context=server_side("elsewhere.example")) as running,
        proxy(names={f"{REGION}:443": port_of(running)}) as way,
    ):
        for verify in (True, ca_file):
            async with AsyncRerank(
                "lexical",
                credentials={"url": f"https://{REGION}", "token": "made-up"},
                project_id="p",
                verify=verify,
                proxies={"https": way.url()},
            ) as client:
                with pytest.raises(CertificateError, match=f"certificate of {REGION} was not accepted"):
                    await one_call(client)
    assert len(way.asked) == 2
    assert running.seen == []


# Environment: what curl, requests and IBM's SDK read.


@pytest.mark.parametrize(
    "name",
    ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"],
)
async def test_the_environments_proxy_is_taken(monkeypatch, ca_file, name):
    async with (
        service(ssl_context=server_side(REGION)) as running,
        proxy(CREDENTIALS, {f"{REGION}:443": port_of(running)}) as way,
    ):
        monkeypatch.setenv(name, way.url(USER_INFO))
        credentials = {"url": f"https://{REGION}", "token": "made-up"}
        async with AsyncRerank("lexical", credentials=credentials, project_id="p", verify=ca_file) as client:
            await one_call(client)
    assert way.targets() == [("CONNECT", f"{REGION}:443")]


async def test_the_environments_proxy_for_plain_http(monkeypatch):
    host = "rerank.example"
    async with service() as running, proxy(names={f"{host}:80": port_of(running)}) as way:
        monkeypatch.setenv("http_proxy", f"127.0.0.1:{way.port}")
        async with AsyncRerank(
            "lexical",
            credentials={"url": f"http://{host}", "token": "made-up"},
            project_id="p",
            allow_http_hosts=(host,),
        ) as client:
            await one_call(client)
    assert way.targets() == [("POST", f"http://{host}{RERANK}")]


@pytest.mark.parametrize("no_proxy", ["us-south.ml.cloud.ibm.com", ".ibm.com", "elsewhere.example, cloud.ibm.com", "*"])
async def test_no_proxy_is_heeded(monkeypatch, no_proxy):
    async with proxy() as way:
        monkeypatch.setenv("HTTPS_PROXY", way.url())
        monkeypatch.setenv("NO_PROXY", no_proxy)
        async with AsyncRerank(
            "lexical", credentials={"url": f"https://{REGION}", "token": "made-up"}, project_id="p"
        ) as client:
            with pytest.raises(AssertionError, match=f"tried to leave this machine: .*{REGION}"):
                await one_call(client)
    assert way.asked == []


@pytest.mark.parametrize(
    "options",
    [{}, {"trust_env": False}, {"proxies": {}}, {"proxies": {"http": None}}],
    ids=["loopback", "trust_env", "empty", "None"],
)
async def test_when_the_environment_does_not_decide(monkeypatch, server, options):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with client_for(server, **options) as client:
        await one_call(client)
    assert server.counts.statuses == {200: 1}, "it came straight here: there is nothing at the proxy's address"


async def test_a_session_of_ones_own_takes_the_proxies_that_are_given_and_leaves_the_environment_alone(monkeypatch):
    async with service() as running, proxy() as way, aiohttp.ClientSession() as session:
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
        client = client_for(running, session=session, proxies={"http": way.url()})
        await one_call(client)
        assert len(way.asked) == 2
        elsewhere = {"url": f"https://{REGION}", "token": "made-up"}
        client = client_for(running, session=session, credentials=elsewhere)
        with pytest.raises(AssertionError, match="tried to leave this machine"):  # not by the environment's proxy
            await one_call(client)
        client = client_for(running, session=session, credentials=elsewhere, trust_env=True, retries=QUICK)
        with pytest.raises(ConnectionFailedError, match=r"the proxy http://127\.0\.0\.1:1 \(HTTPS_PROXY\)"):
            await one_call(client)


async def test_netrc_is_not_read(monkeypatch, tmp_path):
    """aiohttp's own trust_env would put what it finds there in place of the token."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login made-up-user password made-up-word\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    async with service() as running, proxy() as way:
        monkeypatch.setenv("HTTPS_PROXY", way.url())
        async with client_for(running, trust_env=True) as client:
            await one_call(client)
    assert running.seen[0].header("Authorization") == ["Bearer made-up-token-1"]
    assert running.token_requests[0].header("Authorization") == []


async def test_the_argument_wins_over_the_credentials():
    async with service() as running, proxy() as way:
        proxies = {"http": "http://127.0.0.1:1"}
        credentials = Credentials(running.url, KEY, proxies=proxies)
        async with client_for(running, credentials=credentials, proxies={"http": way.url()}) as client:
            await one_call(client)
        async with client_for(running, credentials=credentials, retries=QUICK) as client:
            with pytest.raises(ConnectionFailedError, match=r"cannot connect to the proxy http://127\.0\.0\.1:1"):
                await one_call(client)
    assert len(way.asked) == 2


async def test_proxies_win_over_the_environment(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    async with service() as running, proxy() as way, client_for(running, proxies={"all": way.url()}) as client:
        await one_call(client)
    assert len(way.asked) == 2


async def test_a_proxy_of_the_environment_that_cannot_be_used_is_no_reason_to_go_without(monkeypatch, server):
    monkeypatch.setenv("ALL_PROXY", f"socks5://{USER_INFO}@127.0.0.1:1080")
    async with client_for(server) as client:
        await one_call(client)  # loopback never takes it
    credentials = {"url": f"https://{REGION}", "token": "made-up"}
    async with AsyncRerank("lexical", credentials=credentials, project_id="p") as client:
        with pytest.raises(InvalidArgumentError, match=r"ALL_PROXY is a socks5 proxy.*pass trust_env=False") as caught:
            await one_call(client)
    assert PASSWORD not in in_words(caught.value) + with_locals(caught.value)


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"proxies": PASSWORD}, InvalidTypeError, "proxies must be a dict such as {'https':"),
        ({"proxies": [PASSWORD]}, InvalidTypeError, "not list"),
        ({"proxies": {"htps": "http://h:1"}}, InvalidArgumentError, "did you mean 'https'?"),
        ({"proxies": {"https://": "http://h:1"}}, InvalidArgumentError, "Known: all, http, https"),
        ({"proxies": {"https": 3128}}, InvalidTypeError, "proxies['https'] must be a str, not int"),
        ({"proxies": {"https": b"http://h:1"}}, InvalidTypeError, "must be a str, not bytes"),
        ({"proxies": {"https": ""}}, InvalidArgumentError, "is not an address such as http://proxy.example:3128"),
        ({"proxies": {"https": "http://user:made-up/1@h:1"}}, InvalidArgumentError, "password as %XX"),
        ({"proxies": {"https": "http://user:1/made-up@h:1"}}, InvalidArgumentError, "password as %XX"),
        ({"proxies": {"https": "http://user:made-up@h:port"}}, InvalidArgumentError, "is not an address"),
        ({"proxies": {"https": "http://user:made up@h:1"}}, InvalidArgumentError, "characters"),
        ({"proxies": {"https": "socks5://user:made-up@h:1"}}, InvalidArgumentError, "only http:// and https://"),
        ({"trust_env": "yes"}, InvalidTypeError, "trust_env must be True or False, not str"),
        ({"extra_headers": {"Authorization": "x"}}, InvalidArgumentError, "'Authorization', which the client sets"),
        ({"extra_headers": "X: y"}, InvalidTypeError, "extra_headers must be a dict, not str"),
    ],
    ids=str,
)
@pytest.mark.parametrize("front", [AsyncRerank, AsyncAPIClient])
def test_what_cannot_be_used_is_refused_and_not_shown(front, options, kind, words):
    first = ("lexical",) if front is AsyncRerank else ()
    with pytest.raises(InvalidArgumentError) as caught:
        front(*first, credentials=Credentials("https://" + REGION, token="t"), project_id="p", **options)
    assert type(caught.value) is kind
    assert words in str(caught.value)
    assert caught.value.argument == next(iter(options))
    shown = in_words(caught.value)
    assert PASSWORD not in shown
    assert "made-up" not in str(caught.value)
