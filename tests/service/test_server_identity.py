"""The ways to a token at the local server, over HTTP: what each takes, gives and refuses."""

import base64
import json
from pathlib import Path
from urllib.parse import urlencode

import aiohttp
import pytest

from rerank_async.server import Fault, serve

WIRE = Path(__file__).parents[1] / "wire"
IAM = "/identity/token"
MCSP = "/api/2.0/apikeys/token"
AUTHORIZE = "/icp4d-api/v1/authorize"
IDENTITY = "/idprovider/v1/auth/identitytoken"
VALIDATE = "/v1/preauth/validateAuth"
APIKEY = "urn:ibm:params:oauth:grant-type:apikey"
ASSUME = "urn:ibm:params:oauth:grant-type:assume"


@pytest.fixture
async def http():
    async with aiohttp.ClientSession() as session:
        yield session


async def asked(http, server, path, method="POST", **options):
    async with http.request(method, server.url + path, **options) as answer:
        return answer.status, await answer.json()


async def opens(http, server, authorization):
    """Whether the platform lets it in."""
    url = f"{server.url}/v2/projects/{server.project_id}"
    async with http.get(url, headers={"Authorization": authorization}) as answer:
        return answer.status


def claims(token):
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def wire(name):
    return json.loads((WIRE / f"{name}.json").read_text())


def as_sent(recorded):
    """The bytes of a recorded request's body."""
    body = recorded["body"]
    if isinstance(body, list):
        return urlencode([tuple(pair) for pair in body]).encode()
    return None if body is None else json.dumps(body).encode()


async def sent(http, server, name, answer):
    """What the server answers to a recorded request, which has to have the fields of the recorded answer."""
    recorded = wire(f"token_request_{name}")
    path, method = recorded.get("path", IAM), recorded.get("method", "POST")
    status, value = await asked(http, server, path, method, data=as_sent(recorded), headers=recorded["headers"])
    assert (status, set(value)) == (200, set(wire(answer)["body"]))
    return value


@pytest.mark.parametrize(
    ("name", "answer", "settings"),
    [
        ("apikey", "token_answer", {"api_key": "made-up+api/key="}),
        ("mcsp", "token_answer_mcsp", {"api_key": "made-up+api/key="}),
        ("cp4d_apikey", "token_answer_cp4d", {"api_key": "made-up+api/key=", "username": "ada"}),
        ("cp4d_password", "token_answer_cp4d", {"password": 'made up "pässword"', "username": "ada"}),
        ("cp4d_iam", "token_answer_cp4d_iam", {"password": "made&up+pass=wörd", "username": "ada"}),
    ],
    ids=["iam", "mcsp", "cp4d key", "cp4d password", "cp4d iam"],
)
async def test_the_documented_requests_are_answered(http, name, answer, settings):
    async with serve(**settings) as server:
        await sent(http, server, name, answer)


async def test_the_documented_requests_that_carry_a_token_are_answered(http):
    async with serve(username="ada", profile_id="Profile-00000000-made-up") as server:
        server._issuer._expires_at["made-up+first/token="] = float("inf")
        server._tokens._identities._expires_at["made-up-first-token"] = float("inf")
        await sent(http, server, "assume_profile", "token_answer")
        value = await sent(http, server, "cp4d_validate", "token_answer_cp4d_validate")
        assert await opens(http, server, f"Bearer {value['accessToken']}") == 200


async def test_iam_gives_a_token_for_a_key(http, server):
    status, value = await asked(http, server, IAM, data={"grant_type": APIKEY, "apikey": server.api_key})
    assert status == 200
    assert await opens(http, server, f"Bearer {value['access_token']}") == 200
    assert (value["token_type"], value["expires_in"]) == ("Bearer", 3600)


@pytest.mark.parametrize("where", ["data", "params"])
async def test_a_trusted_profile_is_assumed_with_a_token(http, server, where):
    fields = {"grant_type": ASSUME, "access_token": server.issue_token(), "profile_id": server.profile_id}
    status, value = await asked(http, server, IAM, **{where: fields})
    assert status == 200
    assert claims(value["access_token"])["sub_type"] == "Profile"
    assert await opens(http, server, f"Bearer {value['access_token']}") == 200


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"access_token": "a.b.c"}, "BXNIM0139E"),
        ({"profile_id": "another"}, "BXNIM0513E"),
        ({"profile_id": ""}, "BXNIM0513E"),
        ({"grant_type": "password"}, "BXNIM0109E"),
    ],
    ids=["token", "profile", "no profile", "grant"],
)
async def test_what_iam_refuses_of_a_profile(http, server, changes, code):
    fields = {"grant_type": ASSUME, "access_token": server.issue_token(), "profile_id": server.profile_id}
    status, value = await asked(http, server, IAM, data=fields | changes)
    assert (status, value["errorCode"]) == (400, code)
    assert server.counts.tokens == 0


async def test_an_expired_token_assumes_nothing(http, server):
    fields = {"grant_type": ASSUME, "access_token": server.issue_token(0), "profile_id": server.profile_id}
    assert (await asked(http, server, IAM, data=fields))[0] == 400


async def test_a_key_in_the_query_is_not_read(http, server):
    status, _ = await asked(http, server, IAM, params={"grant_type": APIKEY, "apikey": server.api_key})
    assert status == 400


async def test_any_profile_where_none_is_named(http):
    async with serve(profile_id=None) as server:
        fields = {"grant_type": ASSUME, "access_token": server.issue_token(), "profile_id": "whichever"}
        assert (await asked(http, server, IAM, data=fields))[0] == 200


async def test_aws_gives_a_token_for_a_key(http, server):
    status, value = await asked(http, server, MCSP, json={"apikey": server.api_key})
    assert (status, set(value)) == (200, {"token", "token_type", "expires_in", "expiration"})
    assert await opens(http, server, f"Bearer {value['token']}") == 200
    assert (await asked(http, server, MCSP, json={"apikey": "another"}))[0] == 401


@pytest.mark.parametrize("way", [{"api_key": "local-api-key"}, {"password": "local-password"}], ids=["key", "password"])
async def test_a_cloud_pak_gives_a_token_for_a_user(http, server, way):
    status, value = await asked(http, server, AUTHORIZE, json={"username": server.username, **way})
    assert (status, set(value)) == (200, {"_messageCode_", "message", "token"})
    assert await opens(http, server, f"Bearer {value['token']}") == 200


@pytest.mark.parametrize(
    "fields",
    [
        {"username": "local-user", "password": "wrong"},
        {"username": "another", "password": "local-password"},
        {"username": "local-user"},
        {"api_key": "local-api-key"},
        {"username": "local-user", "api_key": "wrong", "password": "local-password"},
        {"username": "local-user", "password": ["local-password"]},
    ],
    ids=["password", "user", "neither", "no user", "key wins", "list"],
)
async def test_whom_a_cloud_pak_refuses(http, server, fields):
    status, value = await asked(http, server, AUTHORIZE, json=fields)
    recorded = wire("token_error_cp4d_password")
    assert (status, set(value)) == (recorded["status"], set(recorded["body"]))
    assert server.counts.tokens == 0


@pytest.mark.parametrize("path", [MCSP, AUTHORIZE])
@pytest.mark.parametrize("body", ["{", "[]", "x" * 10], ids=["cut", "list", "words"])
async def test_a_body_that_is_no_json_object_is_a_400(http, server, path, body):
    assert (await asked(http, server, path, data=body))[0] == 400


async def identity(http, server, **changes):
    form = {"grant_type": "password", "username": server.username, "password": server.password, "scope": "openid"}
    return await asked(http, server, IDENTITY, data=form | changes)


async def test_the_iam_of_a_cloud_pak_takes_two_steps(http, server):
    status, first = await identity(http, server)
    assert (status, first["expires_in"]) == (200, 3600)
    assert await opens(http, server, f"Bearer {first['access_token']}") == 401, "the first token opens one door only"
    headers = {"username": server.username, "iam-token": first["access_token"]}
    status, second = await asked(http, server, VALIDATE, "GET", headers=headers)
    assert (status, set(second)) == (200, {"username", "accessToken"})
    assert await opens(http, server, f"Bearer {second['accessToken']}") == 200
    assert (server.counts.token_requests, server.counts.tokens) == (2, 1)
    assert (await asked(http, server, VALIDATE, "GET", headers={**headers, "username": "another"}))[0] == 401
    wrong = {**headers, "iam-token": second["accessToken"]}
    assert (await asked(http, server, VALIDATE, "GET", headers=wrong))[0] == 401


@pytest.mark.parametrize(
    ("changes", "status"),
    [({"password": "wrong"}, 401), ({"username": "another"}, 401), ({"scope": "all"}, 400), ({"grant_type": "x"}, 400)],
    ids=["password", "user", "scope", "grant"],
)
async def test_what_the_first_step_refuses(http, server, changes, status):
    assert (await identity(http, server, **changes))[0] == status


@pytest.mark.parametrize(
    ("pair", "status"),
    [("local-user:local-api-key", 200), ("local-user:wrong", 401), ("another:local-api-key", 401), ("", 401)],
    ids=["good", "key", "user", "nothing"],
)
async def test_a_zen_api_key_is_a_token_by_itself(http, server, pair, status):
    assert await opens(http, server, f"ZenApiKey {base64.b64encode(pair.encode()).decode()}") == status


async def test_the_documented_zen_header_is_taken(http):
    async with serve(username="ada", api_key="made-up+api/key=") as server:
        assert await opens(http, server, wire("zen_header")["headers"]["Authorization"]) == 200


async def test_revoked_tokens_of_every_way_are_refused(http, server):
    _, value = await asked(http, server, AUTHORIZE, json={"username": server.username, "password": server.password})
    server.revoke_tokens()
    assert await opens(http, server, f"Bearer {value['token']}") == 401


# What one may lack, and how one may fail: the same for all routes.

WAYS = {
    IAM: {"data": {"grant_type": APIKEY, "apikey": "local-api-key"}},
    MCSP: {"json": {"apikey": "local-api-key"}},
    AUTHORIZE: {"json": {"username": "local-user", "password": "local-password"}},
    IDENTITY: {
        "data": {"grant_type": "password", "username": "local-user", "password": "local-password", "scope": "openid"}
    },
}


@pytest.mark.parametrize("path", WAYS)
async def test_every_route_may_lack_the_token_or_give_a_dead_one(http, path):
    async with serve(faults=[Fault("iam_no_token", nth=(1,)), Fault("iam_expired_token", nth=(2,))]) as server:
        (_, without), (_, dead), (_, good) = [await asked(http, server, path, **WAYS[path]) for _ in range(3)]
    (name,) = {"access_token", "token"} & good.keys()
    assert name not in without
    assert claims(dead[name])["exp"] < claims(good[name])["iat"]
    assert dead.get("expires_in", 0) == 0
    assert server.counts.faults == {"iam_no_token": 1, "iam_expired_token": 1}


async def test_a_limit_says_how_long_to_wait(http):
    async with (
        serve(faults=[Fault("iam_rate_limited", nth=(1,), seconds=7)]) as server,
        http.post(server.url + MCSP, json={}) as answer,
    ):
        assert (answer.status, answer.headers["Retry-After"]) == (429, "7")
