"""Each way in: the bytes of its requests against ``tests/wire``, what its answers mean, and what their failures say."""

import json
from urllib.parse import parse_qsl

import pytest
from support.bodies import as_bytes, wire, wire_files
from support.codecs import NAMES, use_codec
from support.exchanges import answer, drive, jwt, recorded

from rerank_async import __version__
from rerank_async.auth import GivenToken, ZenApiKey, choose_flow
from rerank_async.auth.iam import IamApiKey
from rerank_async.errors import (
    AuthenticationError,
    ClientClosedError,
    ConnectionFailedError,
    DecodeError,
    RateLimitError,
    RedirectError,
    RerankError,
    ServiceError,
)
from rerank_async.values.credentials import Credentials
from rerank_async.values.secret import Secret

CLOUD = "https://us-south.ml.cloud.ibm.com"
PAK = "https://cpd-zen.apps.example.com"
KEY = "made-up+api/key="
IAM = "https://iam.cloud.ibm.com/identity/token"
SIGN_IN = PAK + "/icp4d-api/v1/authorize"
BEDROCK = "https://cpd-zen.apps.example.com/idprovider/v1/auth/identitytoken"
VALIDATE = PAK + "/v1/preauth/validateAuth"


@pytest.fixture(params=NAMES)
def codec_name(request):
    with use_codec(request.param):
        yield request.param


def flow_of(url=CLOUD, **fields):
    return choose_flow(Credentials(url, **fields))


GRANTED = recorded("token_answer")
FLOWS = {
    "iam": (flow_of(api_key=KEY), [GRANTED], [("token_request_apikey", IAM)]),
    "iam elsewhere": (
        flow_of("https://gateway.example.com", api_key=KEY, auth_url="https://iam.example.com/my/token"),
        [GRANTED],
        [("token_request_apikey", "https://iam.example.com/my/token")],
    ),
    "profile from a key": (
        flow_of(api_key=KEY, trusted_profile_id="Profile-00000000-made-up"),
        [answer(200, {}, {"access_token": "made-up+first/token=", "expires_in": 3600}), GRANTED],
        [("token_request_apikey", IAM), ("token_request_assume_profile", IAM)],
    ),
    "profile from a token": (
        flow_of(token="Bearer made-up+first/token=", trusted_profile_id="Profile-00000000-made-up"),
        [GRANTED],
        [("token_request_assume_profile", IAM)],
    ),
    "mcsp": (
        flow_of("https://ap-south-1.aws.wxai.ibm.com", api_key=KEY),
        [recorded("token_answer_mcsp")],
        [("token_request_mcsp", "https://account-iam.platform.saas.ibm.com/api/2.0/apikeys/token")],
    ),
    "cp4d by password": (
        flow_of(PAK, username="ada", password='made up "pässword"', flow="cp4d"),
        [recorded("token_answer_cp4d")],
        [("token_request_cp4d_password", SIGN_IN)],
    ),
    "cp4d by key": (
        flow_of(PAK, username="ada", api_key=KEY, account_id="made-up-account"),
        [recorded("token_answer_cp4d")],
        [("token_request_cp4d_apikey", SIGN_IN)],
    ),
    "cp4d: the key wins": (
        flow_of(PAK, username="ada", api_key=KEY, password="p", account_id="made-up-account", flow="cp4d"),
        [recorded("token_answer_cp4d")],
        [("token_request_cp4d_apikey", SIGN_IN)],
    ),
    "cp4d_iam": (
        flow_of(
            PAK,
            username="ada",
            password="made&up+pass=wörd",
            account_id="made-up-account",
            bedrock_url="https://cp-console.apps.example.com",
        ),
        [recorded("token_answer_cp4d_iam"), recorded("token_answer_cp4d_validate")],
        [
            ("token_request_cp4d_iam", "https://cp-console.apps.example.com/idprovider/v1/auth/identitytoken"),
            ("token_request_cp4d_validate", VALIDATE),
        ],
    ),
}


def as_sent(request):
    """A request as its file writes it: forms as lists of fields, JSON as values."""
    headers = dict(request.headers)
    assert headers.pop("User-Agent").startswith(f"rerank_async/{__version__} (")
    kind = headers.get("Content-Type", "")
    if request.body is None:
        return headers, None
    text = request.body.reveal()
    if kind == "application/json":
        return headers, json.loads(text)
    return headers, [list(pair) for pair in parse_qsl(text, strict_parsing=True)]


@pytest.mark.parametrize("case", FLOWS)
def test_the_requests_are_the_documented_ones_to_the_letter(codec_name, case):
    flow, answers, expected = FLOWS[case]
    requests, grant = drive(flow, *answers)
    assert grant.authorization == Secret("Bearer made-up-token")
    assert [request.url for request in requests] == [url for _, url in expected]
    for request, (name, _) in zip(requests, expected, strict=True):
        file = wire(name)
        assert request.method == file.get("method", "POST")
        assert as_sent(request) == (file["headers"], file["body"])
        assert "made" not in repr(request)


def test_every_recorded_request_is_made_by_a_way_in():
    assert {name for _, _, expected in FLOWS.values() for name, _ in expected} == set(wire_files("token_request"))


def test_forms_and_json_are_encoded_byte_by_byte():
    requests, _ = drive(*FLOWS["iam"][:1], GRANTED)
    grant_type = "grant_type=urn%3Aibm%3Aparams%3Aoauth%3Agrant-type%3Aapikey"
    assert requests[0].body.reveal() == f"{grant_type}&apikey=made-up%2Bapi%2Fkey%3D"
    requests, _ = drive(FLOWS["cp4d_iam"][0], *FLOWS["cp4d_iam"][1])
    assert requests[0].body.reveal() == (
        "grant_type=password&username=ada&password=made%26up%2Bpass%3Dw%C3%B6rd&scope=openid&account_id=made-up-account"
    )
    requests, _ = drive(FLOWS["cp4d by password"][0], *FLOWS["cp4d by password"][1])
    assert requests[0].body.reveal() == '{"username":"ada","password":"made up \\"pässword\\""}'


def test_the_zen_key_is_the_documented_header():
    flow = flow_of(PAK, username="ada", api_key=KEY, flow="zen")
    assert isinstance(flow, ZenApiKey)
    assert flow.authorization().reveal() == wire("zen_header")["headers"]["Authorization"]
    assert "check both" in flow.advice(0.0)


# What a grant says


@pytest.mark.parametrize(
    ("case", "name", "url", "lifetime"),
    [
        ("iam", "iam", IAM, 3600.0),
        ("profile from a key", "trusted_profile", IAM, 3600.0),
        ("mcsp", "mcsp", "https://account-iam.platform.saas.ibm.com/api/2.0/apikeys/token", 7200.0),
        ("cp4d by key", "cp4d", SIGN_IN, 3600.0),
        ("cp4d_iam", "cp4d_iam", "https://cp-console.apps.example.com/idprovider/v1/auth/identitytoken", 43200.0),
    ],
)
def test_the_grant_says_who_granted_it_and_for_how_long(case, name, url, lifetime):
    flow, answers, _ = FLOWS[case]
    _, grant = drive(flow, *answers)
    assert (grant.flow, grant.url, grant.lifetime, grant.next_flow) == (name, url, lifetime, None)
    assert flow.name == name
    assert flow.advice is None


def test_the_life_of_a_cloud_pak_s_own_token_is_what_its_answer_says():
    flow, answers, _ = FLOWS["cp4d_iam"]
    _, grant = drive(flow, answers[0], answer(200, {}, {"accessToken": "t", "expires_in": 60}))
    assert grant.lifetime == 60.0


# The fallback of a guessed address


GUESSED = flow_of(PAK, username="ada", password="made-up-password")
REFUSED = recorded("token_error_cp4d_password")
OLD = recorded("token_answer_cp4d")
DOWN = answer(503, {}, "")
NOWHERE = ConnectionFailedError("cannot connect to nowhere", url=BEDROCK)


def test_a_guessed_address_that_works_is_used():
    requests, grant = drive(GUESSED, recorded("token_answer_cp4d_iam"), recorded("token_answer_cp4d_validate"))
    assert [request.url for request in requests] == [BEDROCK, VALIDATE]
    assert (grant.flow, grant.next_flow) == ("cp4d_iam", None)


@pytest.mark.parametrize("failures", [[NOWHERE], [REFUSED], [DOWN], [answer(200, {}, "<html>")]], ids=str)
def test_a_guessed_address_that_fails_falls_back_to_the_older_sign_in_for_good(failures):
    requests, grant = drive(GUESSED, *failures, OLD)
    assert [request.url for request in requests] == [BEDROCK, SIGN_IN]
    assert json.loads(requests[1].body.reveal()) == {"username": "ada", "password": "made-up-password"}
    assert (grant.flow, grant.authorization.reveal()) == ("cp4d", "Bearer made-up-token")
    requests, _ = drive(grant.next_flow, OLD)
    assert [request.url for request in requests] == [SIGN_IN], "the guess is not made again"


def test_so_does_one_whose_second_request_fails():
    requests, grant = drive(GUESSED, recorded("token_answer_cp4d_iam"), REFUSED, OLD)
    assert [request.url for request in requests] == [BEDROCK, VALIDATE, SIGN_IN]
    assert grant.flow == "cp4d"


@pytest.mark.parametrize(
    ("last", "kind"), [(REFUSED, AuthenticationError), (DOWN, ServiceError), (NOWHERE, ConnectionFailedError)]
)
def test_when_both_fail_the_error_says_both(last, kind):
    with pytest.raises(kind) as raised:
        drive(GUESSED, NOWHERE, last)
    assert "before it" in str(raised.value)
    assert "cannot connect to nowhere" in str(raised.value)
    assert "give bedrock_url" in str(raised.value)


def test_an_address_that_was_given_does_not_fall_back():
    flow = flow_of(PAK, username="ada", password="made-up-password", bedrock_url="https://cp-console.apps.example.com")
    with pytest.raises(AuthenticationError, match="The user name or password is wrong"):
        drive(flow, REFUSED)
    with pytest.raises(ConnectionFailedError):
        drive(flow, NOWHERE)


def test_a_closed_client_does_not_fall_back():
    with pytest.raises(ClientClosedError):
        drive(GUESSED, ClientClosedError("closed"))


# Refusals


IAM_FLOW = IamApiKey("https://iam.example/identity/token", Secret(KEY))


def parsed(body, status=200, headers=None):
    return drive(IAM_FLOW, answer(status, headers or {}, body))[1]


@pytest.mark.parametrize("expires_in", [0, -1, -0.5, 0.0])
def test_a_token_that_has_already_expired_is_no_token(codec_name, expires_in):
    with pytest.raises(DecodeError, match="already expired"):
        parsed({"access_token": "t", "expires_in": expires_in})


def test_a_token_that_is_as_good_as_dead_is_no_token():
    with pytest.raises(DecodeError, match=r"lives for only 0\.01 s"):
        parsed({"access_token": "t", "expires_in": 0.01})


@pytest.mark.parametrize("expires_in", ["NaN", "Infinity", "1e400", "1" + "0" * 400], ids=lambda text: text[:12])
def test_a_life_beyond_every_float_is_an_error_of_ours_or_the_documented_hour(codec_name, expires_in):
    body = '{"access_token":"t","expires_in":' + expires_in + "}"
    if codec_name == "stdlib":
        assert parsed(body).lifetime == 3600.0
    else:
        with pytest.raises(DecodeError):  # orjson refuses such numbers
            parsed(body)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "<html>login</html>",
        "null",
        "[]",
        "5",
        '"token"',
        "{}",
        {"access_token": ""},
        {"access_token": None},
        {"access_token": 5},
        {"access_token": ["t"]},
        {"token": "t"},
        b"\xff\xfe",
        "[" * 100_000,
        {"access_token": "a\nb"},
        {"access_token": "a\r\nX-Injected: 1"},
        {"access_token": "a\0b"},
        {"access_token": "t\u00fc"},
        {"access_token": "a b"},
    ],
    ids=lambda body: repr(body)[:24],
)
def test_an_answer_without_a_token_that_a_header_can_carry(codec_name, body):
    with pytest.raises(DecodeError, match="answered 200 without an access_token that can be used") as raised:
        parsed(body)
    assert raised.value.url == IAM_FLOW.url
    assert raised.value.__cause__ is None, "the JSON error would carry the body, which may hold a token"


def test_an_answer_in_html_says_so():
    with pytest.raises(DecodeError, match=r"\(text/html, 18 bytes\)"):
        parsed("<html>login</html>", headers={"content-type": "text/html; charset=utf-8"})


def test_a_bad_key_is_an_authentication_error_though_its_status_is_400(codec_name):
    with pytest.raises(AuthenticationError, match="Provided API key could not be found") as raised:
        drive(IAM_FLOW, recorded("token_error_unknown_key"))
    error = raised.value
    assert (error.status, error.code, error.trace, error.url) == (400, "BXNIM0415E", "made-up-request", IAM_FLOW.url)
    assert "Check the API key" in str(error)
    assert "made-up+api" not in str(error)


@pytest.mark.parametrize(
    ("case", "answers", "words"),
    [
        ("profile from a key", [answer(400, {}, "")], "Check the API key"),
        ("profile from a key", [GRANTED, answer(400, {}, "")], "Check trusted_profile_id"),
        ("profile from a token", [answer(400, {}, "")], "cannot be renewed here: pass a new one, or api_key="),
        ("mcsp", [answer(401, {}, "")], "keys of IBM Cloud are not known there"),
        ("cp4d by password", [answer(401, {}, "")], "Check username and password"),
        ("cp4d by key", [answer(401, {}, "")], "Check username and api_key"),
        ("cp4d_iam", [answer(401, {}, "")], "Check username, password and bedrock_url"),
        ("cp4d_iam", [recorded("token_answer_cp4d_iam"), answer(401, {}, "")], "may use the Cloud Pak"),
    ],
)
def test_each_refusal_says_what_to_check(case, answers, words):
    with pytest.raises(AuthenticationError, match=words):
        drive(FLOWS[case][0], *answers)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, AuthenticationError),
        (401, AuthenticationError),
        (403, AuthenticationError),
        (404, AuthenticationError),
        (429, RateLimitError),
        (500, ServiceError),
        (503, ServiceError),
        (302, RedirectError),
    ],
)
@pytest.mark.parametrize(
    "body", ["", "<html>Oops</html>", {"errorCode": "BXN", "errorMessage": "m"}], ids=["empty", "html", "json"]
)
def test_a_refusal_by_its_status(codec_name, status, kind, body):
    with pytest.raises(RerankError) as raised:
        parsed(body, status, {"retry-after": "3"})
    assert type(raised.value) is kind
    assert raised.value.status == status
    if kind in {RateLimitError, ServiceError}:
        assert raised.value.retry_after == 3.0


@pytest.mark.parametrize("status", [400, 401, 429, 500, 302])
@pytest.mark.parametrize("echoed", [KEY, "made-up%2Bapi%2Fkey%3D"], ids=["as it is", "as it was sent"])
def test_a_secret_that_is_said_back_is_struck_out(status, echoed):
    body = {"errorCode": f"E-{echoed}", "errorMessage": f"no such key: {echoed}", "trace": f"t-{echoed}"}
    with pytest.raises(RerankError) as raised:
        parsed(body, status)
    assert echoed not in f"{raised.value} {raised.value.code} {raised.value.trace}"
    assert "***" in f"{raised.value} {raised.value.code}"


def test_so_is_a_token_of_the_first_step():
    flow, _, _ = FLOWS["cp4d_iam"]
    body = {"code": "x", "message": "made-up-first-token is not known"}
    with pytest.raises(AuthenticationError, match=r"\*\*\* is not known"):
        drive(flow, recorded("token_answer_cp4d_iam"), answer(401, {}, body))


# Tokens that were given


@pytest.mark.parametrize(
    ("given", "header"),
    [
        ("t", "Bearer t"),
        ("Bearer t", "Bearer t"),
        (" Bearer  t ", "Bearer t"),
        ("Basic t", "Basic t"),
        ("ZenApiKey dTpr", "ZenApiKey dTpr"),
    ],
)
def test_a_given_token_may_say_its_scheme(given, header):
    assert flow_of(token=given).authorization() == Secret(header)


def test_the_advice_for_a_given_token_knows_its_end():
    ended = GivenToken(Secret(jwt(exp=1_700_000_000)))
    assert "ended at 2023-11-14 22:13:20 UTC" in ended.advice(1_700_000_000.0)
    assert "ended" not in ended.advice(1_699_999_999.0)
    assert "cannot be renewed" in ended.advice(0.0)
    assert "not a JWT: should it be an API key" in GivenToken(Secret("opaque")).advice(0.0)
    for flow in (ended, GivenToken(Secret("opaque"))):
        assert "pass a new one, or api_key=" in flow.advice(1_800_000_000.0)


def test_no_repr_shows_a_secret():
    flows = [flow for flow, _, _ in FLOWS.values()]
    flows += [flow_of(token="made-up-token"), flow_of(PAK, username="ada", api_key=KEY, flow="zen")]
    for flow in flows:
        assert KEY not in repr(flow)
        assert "made up" not in repr(flow)
        assert "wörd" not in repr(flow)
        assert "made-up-token" not in repr(flow)
        assert "first" not in repr(flow)


# Who asks


def test_the_identity_is_a_digest_that_differs_by_each_part():
    base = {"username": "ada", "password": "made-up-password", "account_id": "a", "flow": "cp4d"}
    flows = [
        flow_of(api_key=KEY),
        flow_of(api_key=KEY + "x"),
        flow_of(api_key=KEY, trusted_profile_id="p"),
        flow_of(api_key=KEY, trusted_profile_id="q"),
        flow_of(token=KEY, trusted_profile_id="p"),
        flow_of(PAK, **base),
        flow_of(PAK, **base | {"username": "bob"}),
        flow_of(PAK, **base | {"password": "made-up-passwort"}),
        flow_of(PAK, **base | {"account_id": "b"}),
        flow_of(PAK, username="ada", api_key="made-up-password", account_id="a"),
        flow_of(PAK, **base | {"flow": None}),
    ]
    identities = [flow.identity() for flow in flows]
    assert len(set(identities)) == len(flows)
    assert all(len(each) == 64 and int(each, 16) for each in identities)
    assert flow_of(api_key=KEY).identity() == identities[0]
    assert flow_of(PAK, **base).identity() == identities[5]
    assert KEY not in "".join(identities)


def test_the_recorded_errors_are_read():
    for name in wire_files("token_error"):
        file = wire(name)
        with pytest.raises(AuthenticationError) as raised:
            parsed(as_bytes(file["body"]), file["status"], file["headers"])
        assert raised.value.code
