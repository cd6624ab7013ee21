"""Which way in the credentials mean: IBM's order, our exceptions from it, and every wrong combination."""

import re

import pytest
from support.exchanges import jwt

from rerank_async import AsyncAPIClient, Credentials
from rerank_async.auth import GivenFunction, GivenToken, asked, choose_flow, flow_name, notes_on
from rerank_async.auth.endpoints import guessed_bedrock, iam_url, mcsp_url
from rerank_async.auth.trusted_profile import TrustedProfile
from rerank_async.errors import InvalidArgumentError
from rerank_async.values.secret import Secret

CLOUD = "https://us-south.ml.cloud.ibm.com"
AWS = "https://ap-south-1.aws.wxai.ibm.com"
GOV = "https://wxai.ibmforusgov.com"
PAK = "https://cpd-zen.apps.example.com"
BARE = "https://cpd.example.com"
LOCAL = "http://127.0.0.1:8765"
AUTH = "https://iam.example.com/token"

IAM = "https://iam.cloud.ibm.com/identity/token"
MCSP = "https://account-iam.platform.saas.ibm.com/api/2.0/apikeys/token"
SIGN_IN = "/icp4d-api/v1/authorize"


def function():
    return "t"


KEY = {"api_key": "k"}
TOKEN = {"token": "t"}
PASSWORD = {"username": "ada", "password": "p"}
USER_KEY = {"username": "ada", "api_key": "k"}
PROFILE = {"trusted_profile_id": "p"}
FUNCTION = {"token_function": function}

# (url, fields, flow, the addresses that are asked)
ORDER = [
    # IBM Cloud
    (CLOUD, KEY, "iam", [IAM]),
    (CLOUD, KEY | {"auth_url": AUTH}, "iam", [AUTH]),
    (CLOUD, TOKEN, "bearer", []),
    (CLOUD, KEY | TOKEN, "bearer", []),
    (CLOUD, KEY | TOKEN | FUNCTION | PASSWORD, "bearer", []),
    (CLOUD, FUNCTION, "function", []),
    (CLOUD, KEY | FUNCTION, "function", []),
    (CLOUD, KEY | FUNCTION | PROFILE, "function", []),
    (CLOUD, KEY | PROFILE, "trusted_profile", [IAM]),
    (CLOUD, TOKEN | PROFILE, "trusted_profile", [IAM]),
    (CLOUD, KEY | TOKEN | PROFILE, "trusted_profile", [IAM]),
    (CLOUD, KEY | PROFILE | {"auth_url": AUTH}, "trusted_profile", [AUTH]),
    (CLOUD, KEY | PASSWORD, "iam", [IAM]),
    ("https://us-south.ml.test.cloud.ibm.com", KEY, "iam", ["https://iam.test.cloud.ibm.com/identity/token"]),
    # IBM's clouds on AWS
    (AWS, KEY, "mcsp", [MCSP]),
    (AWS, TOKEN, "bearer", []),
    (AWS, KEY | FUNCTION, "function", []),
    (AWS, KEY | PROFILE, "mcsp", [MCSP]),
    (AWS, KEY | {"auth_url": "https://iam.example.com/api/2.0/apikeys/token"}, "mcsp", ["https://iam.example.com/api/2.0/apikeys/token"]),
    (AWS, KEY | {"auth_url": AUTH}, "iam", [AUTH]),
    (GOV, KEY, "mcsp", ["https://dai.ibmforusgov.com/api/rest/mcsp/apikeys/token"]),
    # Cloud Pak for Data: any other host
    (BARE, PASSWORD, "cp4d", [BARE + SIGN_IN]),
    (BARE, USER_KEY, "cp4d", [BARE + SIGN_IN]),
    (BARE, USER_KEY | PASSWORD, "cp4d", [BARE + SIGN_IN]),
    (BARE, PASSWORD | {"auth_url": AUTH}, "cp4d", [AUTH]),
    (BARE, PASSWORD | PROFILE, "cp4d", [BARE + SIGN_IN]),
    (BARE, TOKEN | PASSWORD, "bearer", []),
    (BARE, FUNCTION | PASSWORD, "function", []),
    (BARE, USER_KEY | {"bedrock_url": PAK}, "cp4d", [BARE + SIGN_IN]),
    (BARE, PASSWORD | {"bedrock_url": PAK}, "cp4d_iam", [PAK + "/idprovider/v1/auth/identitytoken", BARE + "/v1/preauth/validateAuth"]),
    (BARE, PASSWORD | {"bedrock_url": PAK, "auth_url": AUTH}, "cp4d_iam", [AUTH, BARE + "/v1/preauth/validateAuth"]),
    (PAK, PASSWORD, "cp4d_iam", [PAK + "/idprovider/v1/auth/identitytoken", PAK + "/v1/preauth/validateAuth", PAK + SIGN_IN]),
    (PAK, PASSWORD | USER_KEY, "cp4d_iam", [PAK + "/idprovider/v1/auth/identitytoken", PAK + "/v1/preauth/validateAuth", PAK + SIGN_IN]),
    (PAK, USER_KEY, "cp4d", [PAK + SIGN_IN]),
    (PAK, PASSWORD | {"auth_url": AUTH}, "cp4d", [AUTH]),
    # An auth_url with an API key and no user name is IAM whatever the host
    (BARE, KEY | {"auth_url": AUTH}, "iam", [AUTH]),
    (BARE, KEY | PROFILE | {"auth_url": AUTH}, "trusted_profile", [AUTH]),
    (BARE, USER_KEY | {"auth_url": AUTH}, "cp4d", [AUTH]),
    # So is loopback, which is asked itself
    (LOCAL, KEY, "iam", [LOCAL + "/identity/token"]),
    (LOCAL, KEY | PROFILE, "trusted_profile", [LOCAL + "/identity/token"]),
    (LOCAL, KEY | {"auth_url": AUTH}, "iam", [AUTH]),
    (LOCAL, PASSWORD, "cp4d", [LOCAL + SIGN_IN]),
    (LOCAL, USER_KEY, "cp4d", [LOCAL + SIGN_IN]),
    (LOCAL, PASSWORD | {"bedrock_url": LOCAL}, "cp4d_iam", [LOCAL + "/idprovider/v1/auth/identitytoken", LOCAL + "/v1/preauth/validateAuth"]),
    # By name
    (BARE, KEY | {"flow": "iam"}, "iam", [IAM]),
    (LOCAL, KEY | {"flow": "mcsp"}, "mcsp", [LOCAL + "/api/2.0/apikeys/token"]),
    (BARE, KEY | {"flow": "mcsp"}, "mcsp", [MCSP]),
    (CLOUD, KEY | TOKEN | {"flow": "iam"}, "iam", [IAM]),
    (CLOUD, TOKEN | PROFILE | {"flow": "bearer"}, "bearer", []),
    (PAK, USER_KEY | {"flow": "zen"}, "zen", []),
    (PAK, PASSWORD | {"flow": "cp4d"}, "cp4d", [PAK + SIGN_IN]),
    (PAK, PASSWORD | {"flow": "cp4d_iam"}, "cp4d_iam", [PAK + "/idprovider/v1/auth/identitytoken", PAK + "/v1/preauth/validateAuth"]),
    (CLOUD, PASSWORD | {"flow": "cp4d"}, "cp4d", [CLOUD + SIGN_IN]),
    (CLOUD, KEY | FUNCTION | {"flow": "function"}, "function", []),
    (AWS, KEY | PROFILE | {"flow": "trusted_profile"}, "trusted_profile", [IAM]),
]  # fmt: skip


def named(case):
    url, fields, *_ = case
    return f"{url.split('//')[1]} {' '.join(str(fields['flow']) if name == 'flow' else name for name in fields)}"


@pytest.mark.parametrize(("url", "fields", "name", "addresses"), ORDER, ids=map(named, ORDER))
def test_the_way_in_and_the_addresses_that_it_asks(url, fields, name, addresses):
    credentials = Credentials(url, **fields)
    assert flow_name(credentials) == name
    flow = choose_flow(credentials)
    assert flow.name == name
    assert list(asked(flow)) == addresses


def test_a_token_that_is_already_one_of_a_profile_is_used_as_it_is():
    profile = jwt(sub_type="Profile", exp=1_900_000_000)
    flow = choose_flow(Credentials(CLOUD, token=profile, **PROFILE))
    assert isinstance(flow, GivenToken)
    assert flow.authorization() == Secret("Bearer " + profile)
    assert isinstance(choose_flow(Credentials(CLOUD, token=jwt(sub_type="User"), **PROFILE)), TrustedProfile)


# (url, fields, what is missing, what was found)
WRONG = [
    (CLOUD, {}, "neither api_key nor token", "nothing else"),
    (CLOUD, PASSWORD, "neither api_key nor token", "username, password. A user name and password are for Cloud Pak"),
    (CLOUD, PROFILE, "api_key or token", "trusted_profile_id"),
    (CLOUD, {"auth_url": AUTH}, "neither api_key nor token", "auth_url"),
    (AWS, {}, "api_key", "nothing else"),
    (AWS, TOKEN | PROFILE, "api_key", "token, trusted_profile_id"),
    (AWS, PASSWORD, "api_key", "username, password. A user name and password are for Cloud Pak"),
    (BARE, {}, "username and api_key or password", "nothing else. The host is none of IBM Cloud's"),
    (BARE, KEY, "username", "api_key. The host is none of IBM Cloud's"),
    (BARE, {"username": "ada"}, "api_key or password", "username. The host"),
    (BARE, {"password": "p"}, "username", "password. The host"),
    (BARE, {"username": "ada", "bedrock_url": PAK}, "api_key or password", "username, bedrock_url"),
    (LOCAL, {}, "neither api_key nor token", "nothing else"),
    (LOCAL, {"username": "ada"}, "api_key or password", "username"),
    (CLOUD, TOKEN | {"flow": "iam"}, "lack api_key", "token"),
    (CLOUD, KEY | {"flow": "bearer"}, "lack token", "api_key"),
    (CLOUD, KEY | {"flow": "function"}, "lack atoken_function or token_function", "api_key"),
    (CLOUD, KEY | {"flow": "trusted_profile"}, "lack trusted_profile_id", "api_key"),
    (CLOUD, PROFILE | {"flow": "trusted_profile"}, "lack api_key or token", "trusted_profile_id"),
    (PAK, KEY | {"flow": "cp4d"}, "lack username", "api_key"),
    (BARE, PASSWORD | {"flow": "cp4d_iam"}, "lack bedrock_url", "username, password"),
    (PAK, USER_KEY | {"flow": "cp4d_iam"}, "lack password", "api_key, username"),
    (PAK, PASSWORD | {"flow": "zen"}, "lack api_key", "username, password"),
    (AWS, TOKEN | {"flow": "mcsp"}, "lack api_key", "token"),
]


@pytest.mark.parametrize(("url", "fields", "missing", "found"), WRONG, ids=map(named, WRONG))
def test_what_is_missing_is_named_beside_what_was_found(url, fields, missing, found):
    secret = {name: f"hunter2-{value}" for name, value in fields.items() if name in {"api_key", "token", "password"}}
    with pytest.raises(InvalidArgumentError, match=re.escape(missing)) as raised:
        choose_flow(Credentials(url, **fields | secret))
    assert f"found: {found}" in str(raised.value)
    assert raised.value.argument == "credentials"
    assert "hunter2" not in str(raised.value)
    assert url.split("//")[1].split(":")[0] in str(raised.value)


def test_an_iam_elsewhere_is_pointed_out():
    with pytest.raises(InvalidArgumentError, match="For an IAM elsewhere give api_key and auth_url="):
        choose_flow(Credentials(BARE, "k"))


# (url, fields, the fields without effect)
NOTES = [
    (CLOUD, KEY | TOKEN, "flow 'bearer' is used, and api_key has no effect"),
    (CLOUD, TOKEN | FUNCTION, "flow 'bearer' is used, and token_function has no effect"),
    (CLOUD, KEY | FUNCTION, "flow 'function' is used, and api_key has no effect"),
    (CLOUD, KEY | TOKEN | PROFILE, "flow 'trusted_profile' is used, and token has no effect"),
    (CLOUD, KEY | PASSWORD, "flow 'iam' is used, and username and password have no effect"),
    (CLOUD, TOKEN | {"auth_url": AUTH}, "flow 'bearer' is used, and auth_url has no effect"),
    (AWS, KEY | PROFILE, "flow 'mcsp' is used, and trusted_profile_id has no effect"),
    (BARE, USER_KEY | PASSWORD, "flow 'cp4d' is used, and password has no effect"),
    (BARE, USER_KEY | {"bedrock_url": PAK}, "flow 'cp4d' is used, and bedrock_url has no effect"),
    (PAK, USER_KEY | PASSWORD | {"flow": "zen"}, "flow 'zen' is used, and password has no effect"),
]


@pytest.mark.parametrize(("url", "fields", "words"), NOTES, ids=map(named, NOTES))
def test_two_ways_in_are_warned_about(url, fields, words):
    credentials = Credentials(url, **fields)
    assert words in (notes_on(credentials) or "")
    with pytest.warns(UserWarning, match="more than one way in"):
        AsyncAPIClient(credentials, "project")


QUIET = [
    (CLOUD, KEY),
    (CLOUD, KEY | {"auth_url": AUTH}),
    (CLOUD, KEY | PROFILE),
    (CLOUD, TOKEN | PROFILE),
    (CLOUD, FUNCTION | {"atoken_function": function}),
    (CLOUD, KEY | {"instance_id": "i", "iam_serviceid_crn": "crn", "version": "5.1"}),
    (AWS, KEY),
    (PAK, PASSWORD),
    (PAK, PASSWORD | {"account_id": "a", "version": "5.0"}),
    (PAK, USER_KEY | PASSWORD),
    (PAK, USER_KEY),
]


@pytest.mark.parametrize(("url", "fields"), QUIET, ids=map(named, QUIET))
def test_one_way_in_is_not_warned_about(url, fields):
    credentials = Credentials(url, **fields)
    assert notes_on(credentials) is None
    AsyncAPIClient(credentials, "project")


@pytest.mark.parametrize(
    ("fields", "argument"),
    [
        (KEY | {"auth_url": "http://iam.example.com/token"}, "credentials.auth_url"),
        (PASSWORD | {"bedrock_url": "http://cp-console.example.com"}, "credentials.bedrock_url"),
    ],
    ids=["auth_url", "bedrock_url"],
)
def test_no_secret_goes_to_an_endpoint_in_the_clear(fields, argument):
    with pytest.raises(InvalidArgumentError, match="in the clear") as raised:
        AsyncAPIClient(Credentials(PAK, **fields), "project")
    assert raised.value.argument == argument
    hosts = ("iam.example.com", "cp-console.example.com")
    AsyncAPIClient(Credentials(PAK, **fields), "project", allow_http_hosts=hosts)


# Endpoints


@pytest.mark.parametrize(
    ("service", "endpoint"),
    [
        *(
            (f"https://{prefix}{region}.ml.cloud.ibm.com", IAM)
            for prefix in ("", "private.")
            for region in ("us-south", "eu-de", "eu-gb", "jp-tok", "au-syd", "ca-tor")
        ),
        ("https://US-SOUTH.ml.cloud.ibm.com", IAM),
        ("https://yp-qa.ml.cloud.ibm.com", IAM),
        ("https://us-south.ml.test.cloud.ibm.com", "https://iam.test.cloud.ibm.com/identity/token"),
        ("http://127.0.0.1:8765", "http://127.0.0.1:8765/identity/token"),
        ("http://[::1]:8765", "http://[::1]:8765/identity/token"),
        ("http://localhost:1/base", "http://localhost:1/identity/token"),
    ],
)
def test_iam_by_the_address_of_the_service(service, endpoint):
    assert iam_url(service) == endpoint


@pytest.mark.parametrize(
    ("service", "endpoint"),
    [
        (AWS, MCSP),
        ("https://private.us-east-1.aws.wxai.ibm.com", MCSP),
        ("https://dev.aws.wxai.ibm.com", MCSP.replace("platform", "platform.test")),
        ("https://private.test.aws.wxai.ibm.com", MCSP.replace("platform", "platform.test")),
        ("https://private.internal.wxai.ibmforusgov.com", "https://dai.ibmforusgov.com/api/rest/mcsp/apikeys/token"),
        ("https://wxai.prep.ibmforusgov.com", "https://dai.prep.ibmforusgov.com/api/rest/mcsp/apikeys/token"),
        ("http://localhost:1/base", "http://localhost:1/api/2.0/apikeys/token"),
    ],
)
def test_the_exchange_on_aws_by_the_address_of_the_service(service, endpoint):
    assert mcsp_url(service) == endpoint


@pytest.mark.parametrize(
    ("service", "version", "guess"),
    [
        (PAK, None, PAK),
        ("https://zen-wx.apps.example.com:8443/base", "5.1", "https://cpd-wx.apps.example.com:8443"),
        ("https://cpd-wx-dev.apps.example.com", "5.3", "https://cpd-wx-dev.apps.example.com"),
        ("https://cpd-wx.apps.example.com", "5.0.1", "https://cp-console-wx.apps.example.com"),
        ("https://cpd-wx.apps.example.com", "4.8", "https://cp-console-wx.apps.example.com"),
        (BARE, None, None),
        ("https://cpd-.example.com", None, None),
        ("https://cpd-wx", None, None),
        ("https://10.0.0.1", None, None),
        ("http://cpd-wx.apps.example.com", None, None),
    ],
)
def test_the_guess_of_the_foundational_services(service, version, guess):
    assert guessed_bedrock(service, version) == guess


# Functions


async def coroutine_function():
    return "t"


def with_client(client):
    return "t"


def with_default(client=None):
    return "t"


@pytest.mark.parametrize(
    ("fields", "in_thread", "arguments"),
    [
        ({"token_function": function}, True, ()),
        ({"token_function": with_client}, True, (None,)),
        ({"token_function": with_default}, True, ()),
        ({"token_function": lambda *anything: "t"}, True, ()),
        ({"token_function": coroutine_function}, False, ()),
        ({"atoken_function": coroutine_function}, False, ()),
        ({"token_function": function, "atoken_function": coroutine_function}, False, ()),
        ({"token_function": str}, True, ()),
    ],
    ids=range(8),
)
def test_how_a_function_is_called(fields, in_thread, arguments):
    flow = choose_flow(Credentials(CLOUD, **fields))
    assert isinstance(flow, GivenFunction)
    assert (flow.in_thread, flow.arguments()) == (in_thread, arguments)


@pytest.mark.parametrize("bad", [lambda a, b: "t", lambda *, a: "t"], ids=["two", "named"])
def test_a_function_that_wants_more_is_refused(bad):
    with pytest.raises(InvalidArgumentError, match="no argument or one, but wants a"):
        choose_flow(Credentials(CLOUD, token_function=bad))
