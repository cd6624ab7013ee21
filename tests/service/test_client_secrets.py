"""No key, password or token shows anywhere: logs of all of the process, errors in every form, pickles, the command line.

Each way in is driven through success and every kind of failure, and whatever was written or could be is searched.
"""

import asyncio
import json
import logging
import traceback
from base64 import b64encode
from contextlib import asynccontextmanager
from urllib.parse import quote, quote_plus

import pytest
from aiohttp import web
from support import commands
from support.clients import QUICK, client_for
from support.proxy import proxy
from support.services import service
from support.showing import chain, in_words
from support.ways import API_KEY, PASSWORD, SETTINGS, USERNAME, WAYS

from rerank_async import AsyncAPIClient, AsyncRerank, Credentials, Timeouts
from rerank_async.errors import InvalidArgumentError, RerankError
from rerank_async.server import serve

WRONG = "made-up-wrong-secret-g7h8i9"
SECRET_FIELDS = ("api_key", "password", "token")


def spellings(secret):
    """As it is, and as a form, a path, a body or a Basic or Zen header would carry it."""
    yield secret
    yield quote(secret, safe="")
    yield quote_plus(secret)
    for text in (secret, f"{USERNAME}:{secret}"):
        yield b64encode(text.encode()).decode().rstrip("=")


def secrets_of(server):
    tokens = [*server._issuer._expires_at, *server._tokens._identities._expires_at]
    # A token is three parts, of which the last is the one that nobody could make up.
    parts = [token.rpartition(".")[2] for token in tokens]
    return {spelling for secret in (API_KEY, PASSWORD, WRONG, *tokens, *parts) for spelling in spellings(secret)}


def everything_of(error):
    """All that an error may show: in words, pickled, and with the locals of every frame, ours and foreign ones."""
    shown = [in_words(error)]
    for each in chain(error):
        captured = traceback.TracebackException(type(each), each, each.__traceback__, capture_locals=True)
        shown += captured.format(chain=False)
    return "\n".join(shown)


def shown_by(error):
    """The same without this module's own frames, which hold the secrets."""
    while error.__traceback__ is not None and error.__traceback__.tb_frame.f_code.co_filename == __file__:
        error.__traceback__ = error.__traceback__.tb_next
    return everything_of(error)


def found(secrets, text):
    return sorted(secret for secret in secrets if secret in text)


SCENES = {
    "success": {},
    "revoked": {"revoke": True},
    "wrong secret": {"wrong": True},
    "token refused": {"faults": {"token_rejected": 1.0}},
    "server error": {"faults": {"server_error": 1.0}},
    "no permission": {"project_id": "another"},
    "redirect": {"faults": {"redirect": 1.0}},
    "reset": {"faults": {"reset_before": 1.0}},
    "reset inside": {"faults": {"reset_inside": 1.0}},
    "nonsense": {"faults": {"nonsense_json": 1.0}},
    "hang": {"faults": {"hang": 1.0}, "timeouts": Timeouts(request=0.05)},
    "iam error": {"faults": {"iam_error": 1.0}},
    "iam limit": {"faults": {"iam_rate_limited": 1.0}},
    "iam page": {"faults": {"iam_html": 1.0}},
    "iam nonsense": {"faults": {"iam_nonsense": 1.0}},
    "iam no token": {"faults": {"iam_no_token": 1.0}},
    "iam dead token": {"faults": {"iam_expired_token": 1.0}},
    "iam redirect": {"faults": {"iam_redirect": 1.0}},
    "iam reset": {"faults": {"iam_reset": 1.0}},
    "iam hang": {"faults": {"iam_hang": 1.0}, "timeouts": Timeouts(request=0.02)},
    "gone": {"gone": True},
    "certificate": {"https": True},
}
FAST = QUICK.__class__(max_attempts=2, base_delay=0.001, max_delay=0.001)


@asynccontextmanager
async def opened(scene):
    """The server of a scene, and a client's credentials and options; a server that is gone was there once."""
    async with serve(**SETTINGS, faults=scene.get("faults", ())) as server:
        yield server


async def play(way, scene):
    """Everything that one scene shows, and the secrets that it may not show."""
    shown = []
    async with opened(scene) as server:
        fields = way.fields(server)
        if scene.get("wrong"):
            fields |= {name: WRONG for name in SECRET_FIELDS if name in fields}
        url = server.url.replace("http:", "https:") if scene.get("https") else server.url
        credentials = Credentials(url, **fields)
        del fields
        options = {"credentials": credentials, "timeouts": scene.get("timeouts"), "retries": FAST}
        client = client_for(server, project_id=scene.get("project_id", server.project_id), **options)
        shown += [repr(credentials), str(credentials), repr(client), repr(client.api_client), repr(options)]
        shown += [repr(client.api_client.flow), repr(client.api_client.channel().tokens.granted)]
        secrets = secrets_of(server)
        if not scene.get("gone"):
            shown += await calls(server, client, scene)
            secrets |= secrets_of(server)
    if scene.get("gone"):
        shown += await calls(server, client, scene)
    shown.append(repr(client.api_client.channel().tokens.granted))
    await client.aclose()
    shown += await calls(server, client, scene)  # of a closed client
    return shown, secrets


async def calls(server, client, scene):
    shown = []
    for _ in range(2):
        try:
            response = await client.generate("bread", ["bread", "x"])
        except RerankError as exc:
            shown.append(everything_of(exc))
        else:
            shown.append(repr(response) + json.dumps(response.to_dict()))
        if scene.get("revoke"):
            server.revoke_tokens()
    return shown


def pairs():
    """Each way through what is its own; what the service does after that is the same for all, so four of them do."""
    for name, scene in SCENES.items():
        for way in WAYS:
            of_the_endpoint, of_the_service = name.startswith("iam"), "faults" in scene and not name.startswith("iam")
            if of_the_endpoint and WAYS[way].path is None:
                continue
            if of_the_service and way not in {"iam", "cp4d_iam", "zen", "function"}:
                continue
            yield pytest.param(way, name, id=f"{way}-{name}")


@pytest.mark.parametrize(("way", "name"), list(pairs()))
async def test_nothing_shows_a_secret(caplog, way, name):
    caplog.set_level(logging.DEBUG)  # of every logger in this process: the client's, the server's, aiohttp's, asyncio's
    shown, secrets = await play(WAYS[way], SCENES[name])
    logged = [caplog.text, *(repr(vars(record)) for record in caplog.records)]
    assert found(secrets, "\n".join(shown)) == []
    assert found(secrets, "\n".join(logged)) == []
    assert "rerank_async" in {record.name for record in caplog.records}
    if name == "success":
        assert "rerank_async.server" in {record.name for record in caplog.records}
        assert any(secret.count(".") == 2 for secret in secrets) or way == "zen"


def test_the_search_finds_what_is_there():
    secrets = set(spellings(API_KEY))
    for text in (API_KEY, f"apikey={quote_plus(API_KEY)}", b64encode(f"{USERNAME}:{API_KEY}".encode()).decode()):
        assert found(secrets, f"... {text} ...")

    def fail(key):
        raise RerankError(f"a key of {len(key)} characters")

    with pytest.raises(RerankError) as caught:
        fail(API_KEY)
    assert found(secrets, everything_of(caught.value))


@pytest.mark.parametrize("name", [name for name, way in WAYS.items() if way.path])
async def test_an_endpoint_that_repeats_what_it_was_sent_is_not_quoted(caplog, name):
    """A gateway's error page, or an error in JSON, may hold the request."""
    caplog.set_level(logging.DEBUG)

    def repeat(seen):
        sent = seen.body.decode() or json.dumps(seen.headers)
        return web.json_response({"errorCode": "X", "errorMessage": f"you sent {sent}", "message": sent}, status=400)

    async with serve(**SETTINGS) as server, service(token=repeat) as running:
        way = WAYS[name]
        credentials = Credentials(
            server.url, auth_url=running.url + "/identity/token", **way.fields(server), **_flow_of(way)
        )
        async with client_for(server, credentials=credentials) as client:
            try:
                await client.generate("bread", ["bread"])
            except RerankError as exc:
                shown = everything_of(exc)
        assert running.token_requests
        assert found(secrets_of(server), shown + caplog.text) == []


def _flow_of(way):
    return {} if way.flow == "mcsp" else {"flow": way.flow}


async def test_a_proxys_password_shows_nowhere(caplog, server):
    caplog.set_level(logging.DEBUG)
    password = "made-up-proxy-password"
    shown = []
    async with proxy(("made-up-user", "another")) as way:
        for url in (way.url(f"made-up-user:{password}"), "http://made-up-user:made-up-proxy-password@127.0.0.1:1"):
            client = client_for(server, proxies={"http": url}, retries=FAST)
            shown += [repr(client), repr(client.api_client._channel), repr(vars(client.api_client._channel.http))]
            shown += await calls(server, client, {})
            await client.aclose()
            del url
    spelled = {password, b64encode(f"made-up-user:{password}".encode()).decode()}
    assert len(shown) == 10
    assert found(spelled, "\n".join(shown) + caplog.text) == []


@pytest.mark.parametrize("name", [name for name, way in WAYS.items() if way.flow != "function"])
async def test_the_command_line_shows_none_either(name):
    async with serve(**SETTINGS) as server:

        async def check(changes, *options):
            fields = WAYS[name].fields(server)
            fields |= {field: value for field, value in changes.items() if field in fields}
            return await commands.run(
                *("auth", "check", "--credentials", "-", "--project-id", server.project_id, *options),
                stdin=json.dumps({"url": server.url, **fields}).encode(),
                RERANK_ASYNC_LOG="debug",
            )

        wrong = dict.fromkeys(SECRET_FIELDS, WRONG)
        good, bad = await asyncio.gather(check({}, "--json"), check(wrong, "--json"))
        secrets = secrets_of(server)
    assert (good.code, bad.code) == (0, 3)
    assert "Traceback" in bad.err
    assert json.loads(good.out)["ok"] is True
    assert json.loads(bad.out)["error"]["type"] == "AuthenticationError"
    assert found(secrets, good.out + good.err + bad.out + bad.err) == []


async def test_a_constructor_that_fails_shows_none():
    shown = []
    for fields in (
        {"url": "https://us-south.ml.cloud.ibm.com", "api_key": API_KEY, "pasword": PASSWORD},
        {"url": "ftp://made-up", "api_key": API_KEY, "token": WRONG},
        {"url": "https://us-south.ml.cloud.ibm.com", "api_key": f"{API_KEY}\nX: y"},
        {"url": "https://us-south.ml.cloud.ibm.com", "username": USERNAME, "password": PASSWORD},
        {"url": "https://us-south.ml.cloud.ibm.com", "api_key": API_KEY, "flow": "cp4d"},
        {"url": f"https://{USERNAME}:{PASSWORD}@us-south.ml.cloud.ibm.com", "api_key": "k"},
        {"url": f"https://us-soth.ml.cloud.ibm.com/?apikey={API_KEY}", "api_key": "k"},
        {"url": f"us-south.ml.cloud.ibm.com/?apikey={API_KEY}", "api_key": "k"},
        {"url": f"ftp://us-south.ml.cloud.ibm.com#{API_KEY}", "api_key": "k"},
        {"url": API_KEY, "api_key": "k"},
        {"url": API_KEY.encode(), "api_key": "k"},
        {"url": "https://127.0.0.1", "auth_url": f"https://127.0.0.1/t?apikey={API_KEY}", "api_key": "k"},
        {"url": "https://127.0.0.1", "bedrock_url": f"https://127.0.0.1\n{API_KEY}", "api_key": "k"},
        API_KEY,
        API_KEY.encode(),
        [API_KEY],
        (API_KEY,),
    ):
        for make in (
            lambda given: AsyncRerank("lexical", credentials=given, project_id="p"),
            lambda given: AsyncAPIClient(given, project_id="p"),
            Credentials.from_dict,
        ):
            try:
                make(fields)
            except RerankError as exc:
                shown.append(shown_by(exc))
    with pytest.raises(RerankError) as caught:
        Credentials.from_env(f"https://us-south.ml.cloud.ibm.com/ml/v1?apikey={API_KEY}")
    shown.append(shown_by(caught.value))
    assert len(shown) == 17 * 3 - 2 + 1, "two of them are found out by a client alone"
    secrets = {spelling for secret in (API_KEY, PASSWORD, WRONG) for spelling in spellings(secret)}
    assert found(secrets, "\n".join(shown)) == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {API_KEY}"},
        {"X-Gateway-Key": f"{API_KEY}\n"},
        {"X-Gateway-Key": API_KEY.encode()},
        {"a b": API_KEY},
        [("X-Gateway-Key", API_KEY)],
        f"X-Gateway-Key: {API_KEY}",
    ],
)
async def test_headers_that_are_refused_show_none(headers):
    given = {"credentials": {"url": "https://127.0.0.1", "api_key": "k"}, "project_id": "p"}
    client = AsyncRerank("lexical", **given)
    shown = []
    for use in (
        lambda: AsyncRerank("lexical", **given, extra_headers=headers),
        lambda: AsyncAPIClient(**given, extra_headers=headers),
        lambda: client.with_options(extra_headers=headers),
        lambda: client.stream("bread", ["bread"], extra_headers=headers),
    ):
        with pytest.raises(InvalidArgumentError, match="extra_headers") as caught:
            use()
        shown.append(shown_by(caught.value))
    with pytest.raises(InvalidArgumentError, match="extra_headers") as caught:
        await client.generate("bread", ["bread"], extra_headers=headers)
    shown.append(shown_by(caught.value))
    assert found(set(spellings(API_KEY)), "\n".join(shown)) == []


@pytest.mark.parametrize("name", ["server error", "reset", "nonsense", "hang", "iam error", "redirect"])
async def test_a_key_in_a_header_of_the_callers_shows_nowhere(caplog, name):
    """Each failing call, whether the header is one of the client, of a view or of the call."""
    caplog.set_level(logging.DEBUG)
    scene, headers = SCENES[name], {"X-Gateway-Key": API_KEY}
    shown = []
    async with (
        serve(faults=scene["faults"]) as server,
        client_for(server, retries=FAST, timeouts=scene.get("timeouts"), extra_headers=headers) as given,
        client_for(server, retries=FAST, timeouts=scene.get("timeouts")) as plain,
    ):
        for client, options in (
            (given, {}),
            (plain.with_options(extra_headers=headers), {}),
            (plain, {"extra_headers": headers}),
        ):
            with pytest.raises(RerankError) as caught:
                await client.generate("bread", ["bread"], **options)
            shown += [repr(client), repr(client.api_client.headers), shown_by(caught.value)]
        async with plain.stream("bread", ["bread"], extra_headers=headers) as stream:
            with pytest.raises(RerankError) as caught:
                await stream.response()
        shown += [repr(stream), shown_by(caught.value)]
    assert len(shown) == 11
    assert found(set(spellings(API_KEY)), "\n".join(shown) + caplog.text) == []


def test_nothing_of_it_pickles():
    import pickle

    credentials = Credentials("https://cpd.made-up.example", username=USERNAME, password=PASSWORD)
    for secret in (credentials, credentials.password, AsyncRerank("lexical", credentials=credentials, project_id="p")):
        with pytest.raises(TypeError) as caught:
            pickle.dumps(secret)
        assert found({API_KEY, PASSWORD}, str(caught.value)) == []
