"""`rerank-async auth check` in a process of its own: what it says of each step, and how it ends."""

import json
import re
import ssl
from urllib.parse import urlsplit

import pytest
import trustme
from support.commands import environment, one_sentence, run
from support.proxy import proxy
from support.ways import SETTINGS, WAYS

from rerank_async.cli.exits import Exit
from rerank_async.server import serve
from rerank_async.values.platforms import platform_url

CHECK = ("auth", "check")
NAMES = [name for name, way in WAYS.items() if way.flow != "function"]


def words(ran):
    return {row[0]: row[1] for row in ran.rows}


async def test_it_says_what_was_used_and_what_can_be_reached(server):
    ran = await run(*CHECK, server=server)
    assert (ran.code, ran.err) == (0, "")
    said = words(ran)
    assert list(said) == ["way in", "endpoint", "token", "service", "project"]
    assert said["way in"] == "an API key of IBM Cloud, exchanged at its IAM (iam)"
    assert said["endpoint"] == server.token_url
    assert re.fullmatch(r"good until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC, (60|59) min from now", said["token"])
    assert said["service"] == f"{server.url} answers: 2 models can rerank"
    assert said["project"] == "local-project can be reached: 'local project'"
    counts = server.counts
    assert (counts.token_requests, counts.specs, counts.platform, counts.rerank) == (1, 1, 1, 0)


@pytest.mark.parametrize("name", NAMES)
async def test_every_way_in_by_a_file_of_credentials(tmp_path, name):
    way = WAYS[name]
    async with serve(**SETTINGS) as server:
        file = tmp_path / "credentials.json"
        file.write_text(json.dumps({"url": server.url, **way.fields(server), "space_id": server.space_id}))
        ran = await run(*CHECK, "--credentials", str(file), "--json")
    assert (ran.code, ran.err) == (0, "")
    said = json.loads(ran.out)
    assert said["ok"] is True
    assert (said["flow"], said["endpoint"]) == (way.flow, way.path and server.url + way.path)
    lasts = None if name == "zen" else pytest.approx(3600, abs=60)
    assert said["token"]["expires_in"] == lasts
    assert said["service"] == {"url": server.url, "models": 2}
    assert said["place"] | {"name": ""} == {
        "kind": "space",
        "id": "local-space",
        "platform": server.url,
        "reachable": True,
        "name": "",
    }


async def test_local_needs_nothing():
    ran = await run(*CHECK, "--local")
    assert ran.code == 0
    assert "can be reached" in words(ran)["project"]


async def test_a_user_name_and_password_of_the_environment(server):
    found = environment(server, WATSONX_APIKEY="", WATSONX_USERNAME=server.username, WATSONX_PASSWORD=server.password)
    ran = await run(*CHECK, **found)
    assert ran.code == 0
    assert words(ran)["way in"] == "a user of Cloud Pak for Data (cp4d)"


# What goes wrong, step by step


async def test_a_key_that_is_refused(server):
    ran = await run(*CHECK, "--json", server=server, WATSONX_APIKEY="another")
    assert ran.code == Exit.REFUSED
    said = json.loads(ran.out)
    assert (said["ok"], said["flow"], said["endpoint"]) == (False, "iam", server.token_url)
    assert said["error"] | {"message": "", "trace": ""} == {
        "step": "token",
        "type": "AuthenticationError",
        "message": "",
        "status": 400,
        "code": "BXNIM0415E",
        "trace": "",
    }
    assert said["error"]["message"] in one_sentence(ran)
    assert "another" not in ran.out + ran.err


async def test_the_steps_before_a_failure_are_told(server):
    ran = await run(*CHECK, "--project-id", "not there/../at all", server=server)
    assert ran.code == Exit.USAGE
    assert list(words(ran).items())[-1] == ("project", "failed")
    assert words(ran)["token"].startswith("good until")
    assert "There is no project" in one_sentence(ran)


async def test_a_token_that_has_expired_says_so_and_what_to_do(server):
    ran = await run(*CHECK, **environment(server, WATSONX_APIKEY="", WATSONX_TOKEN=server.issue_token(0)))
    assert ran.code == Exit.REFUSED
    assert words(ran)["token"].startswith("expired at ")
    assert "api_key= to have tokens renewed" in one_sentence(ran)


async def test_an_iam_that_is_down_or_hangs():
    async with serve(faults={"iam_html": 1.0}) as server:
        ran = await run(*CHECK, server=server)
    assert ran.code == Exit.SERVICE
    assert words(ran)["token"] == "failed"
    async with serve(faults={"iam_hang": 1.0}) as server:
        ran = await run(*CHECK, "--timeout", "0.5", server=server)
    assert ran.code == Exit.TIMED_OUT
    assert "not done after 0.5 s, it waited for the token" in one_sentence(ran)


async def test_nobody_there(server):
    gone = environment(server, WATSONX_URL="http://127.0.0.1:1", WATSONX_APIKEY="", WATSONX_TOKEN="a.made-up.token")
    ran = await run(*CHECK, **gone)
    assert ran.code == Exit.SERVICE
    assert list(words(ran).items())[-1] == ("service", "failed")
    assert "cannot connect to http://127.0.0.1:1" in one_sentence(ran)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "cannot read"),
        ("made-up secret, not JSON", "does not hold a JSON object"),
        ('["made-up secret"]', "does not hold a JSON object"),
        ('{"api_key": "made-up secret"}', "'url' is missing; found: api_key"),
        ('{"url": "https://us-south.ml.cloud.ibm.com", "pasword": "made-up secret"}', "did you mean 'password'?"),
    ],
    ids=["none", "words", "list", "no url", "unknown"],
)
async def test_a_file_of_credentials_that_cannot_be_used(tmp_path, content, what):
    file = tmp_path / "credentials.json"
    if content is not None:
        file.write_text(content)
    ran = await run(*CHECK, "--credentials", str(file), RERANK_ASYNC_LOG="debug")
    assert ran.code == Exit.USAGE
    assert ran.out in {"", "credentials\tfailed\n"}
    assert what in ran.err
    assert "made-up secret" not in ran.err


async def test_two_ways_in_at_once_are_warned_of(server):
    fields = {"url": server.url, "api_key": server.api_key, "token": server.issue_token()}
    ran = await run(*CHECK, "--credentials", "-", "--project-id", "local-project", stdin=json.dumps(fields).encode())
    assert ran.code == 0
    assert "warning: credentials hold more than one way in" in one_sentence(ran)


@pytest.mark.parametrize(
    ("args", "what"),
    [
        (["--local", "--credentials", "x.json"], "--credentials has no effect"),
        (["--project-id", "p", "--space-id", "s"], "both given"),
        (["--timeout", "0"], "--timeout"),
    ],
    ids=["local", "both", "timeout"],
)
async def test_options_that_cannot_be(args, what):
    ran = await run(*CHECK, *args)
    assert (ran.code, ran.out) == (Exit.USAGE, "")
    assert what in ran.err


# The real addresses, through a proxy of the environment


async def test_the_real_addresses_by_proxy_and_ca_file_of_the_environment(tmp_path):
    authority = trustme.CA()
    hosts = ("us-south.ml.cloud.ibm.com", "iam.cloud.ibm.com", "api.dataplatform.cloud.ibm.com")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*hosts).configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with (
        serve(ssl_context=context) as server,
        proxy(("made-up-user", "made-up-word"), {f"{host}:443": urlsplit(server.url).port for host in hosts}) as way,
    ):
        found = environment(
            server,
            WATSONX_URL=f"https://{hosts[0]}",
            HTTPS_PROXY=way.url("made-up-user:made-up-word"),
            SSL_CERT_FILE=str(tmp_path / "ca.pem"),
        )
        good = await run(*CHECK, **found)
        untrusted = await run(*CHECK, **found | {"SSL_CERT_FILE": "", "RERANK_ASYNC_LOG": "debug"})
        unknown = await run(*CHECK, **found | {"HTTPS_PROXY": way.url()})
    assert (good.code, good.err) == (0, "")
    assert words(good)["endpoint"] == "https://iam.cloud.ibm.com/identity/token"
    assert {asked.target for asked in way.asked} == {f"{host}:443" for host in hosts}
    assert untrusted.code == unknown.code == Exit.SERVICE
    assert "certificate of iam.cloud.ibm.com was not accepted" in untrusted.err
    assert "asks for a name and password (407)" in one_sentence(unknown)
    assert "made-up-word" not in good.out + untrusted.out + untrusted.err + unknown.err


@pytest.mark.parametrize(
    ("service", "platform"),
    [
        ("https://us-south.ml.cloud.ibm.com", "https://api.dataplatform.cloud.ibm.com"),
        ("https://eu-de.ml.cloud.ibm.com", "https://api.eu-de.dataplatform.cloud.ibm.com"),
        ("https://ca-tor.ml.cloud.ibm.com", "https://api.ca-tor.dai.cloud.ibm.com"),
        ("https://ap-south-1.aws.wxai.ibm.com", "https://api.ap-south-1.aws.data.ibm.com"),
        ("https://private.eu-de.ml.cloud.ibm.com", None),
        ("https://cpd-zen.apps.made-up.example", "https://cpd-zen.apps.made-up.example"),
        ("http://127.0.0.1:8008", "http://127.0.0.1:8008"),
    ],
)
def test_where_the_platform_is(service, platform):
    assert platform_url(service) == platform
