"""Credentials: what is taken, what is refused, and that no way of failing shows a secret."""

import pickle

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tracebacks import python_s_own, with_locals

from rerank_async import AsyncAPIClient, AsyncRerank
from rerank_async.errors import InvalidArgumentError, InvalidTypeError, RerankError
from rerank_async.values.credentials import FIELDS, Credentials, project_or_space, sealed
from rerank_async.values.secret import Secret
from rerank_async.values.urls import check_scheme, host_of, is_loopback, normal_url

URL = "https://us-south.ml.cloud.ibm.com"
KEY = "hunter2-the-key"
NAMES = [
    "WATSONX_URL",
    "WATSONX_APIKEY",
    "WATSONX_API_KEY",
    "WATSONX_TOKEN",
    "WATSONX_USERNAME",
    "WATSONX_PASSWORD",
    "WATSONX_INSTANCE_ID",
    "WATSONX_PROJECT_ID",
    "WATSONX_SPACE_ID",
]


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


# Fields


def test_the_fields_are_taken_and_the_secrets_are_wrapped():
    given = Credentials(url=URL, api_key=KEY, auth_url="https://iam.example/token/", verify=False)
    assert (given.url, given.api_key, given.token) == (URL, Secret(KEY), None)
    assert (given.auth_url, given.verify) == ("https://iam.example/token", False)


def test_ibm_s_order_is_url_api_key_token():
    assert Credentials(URL, "k", "t") == Credentials(url=URL, api_key="k", token="t")


def test_a_secret_may_be_given_wrapped_and_a_key_from_a_file_may_end_with_a_newline():
    assert Credentials(URL, Secret(KEY)).api_key == Secret(KEY) == Credentials(URL, f" {KEY}\r\n").api_key


@pytest.mark.parametrize("name", ["api_key", "token"])
@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [
        ("", InvalidArgumentError, "is empty"),
        (" \n", InvalidArgumentError, "is empty"),
        ("sch\u00fcssel", InvalidArgumentError, "cannot be sent in a header"),
        ("a\nb", InvalidArgumentError, "cannot be sent in a header"),
        ("a\0b", InvalidArgumentError, "cannot be sent in a header"),
        (True, InvalidTypeError, "must be a str, not bool"),
        (5, InvalidTypeError, "must be a str, not int"),
        (b"bytes", InvalidTypeError, "must be a str, not bytes"),
    ],
)
def test_a_secret_that_cannot_be_right_is_refused_by_name(name, value, kind, words):
    with pytest.raises(kind, match=words) as raised:
        Credentials(URL, **{name: value})
    assert f"credentials.{name}" in str(raised.value)


def test_the_repr_and_the_fields_show_no_secret():
    given = Credentials(URL, KEY, "hunter2-the-token")
    for shown in (repr(given), str(given), f"{given}", repr(attrs.asdict(given))):
        assert "hunter2" not in shown
    assert URL in repr(given)


def test_credentials_do_not_pickle():
    with pytest.raises(TypeError, match="does not pickle") as raised:
        pickle.dumps(Credentials(URL, KEY))
    assert "hunter2" not in str(raised.value)


def test_credentials_are_frozen():
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Credentials(URL, KEY).url = "https://elsewhere.example"


EVERYTHING = {
    "url": "https://cpd-zen.apps.example.com",
    "api_key": KEY,
    "token": "hunter2-the-token",
    "username": "ada",
    "password": "hunter2 pässword ",
    "auth_url": "https://iam.example/token",
    "trusted_profile_id": "Profile-1",
    "account_id": "account-1",
    "bedrock_url": "https://cp-console.example.com",
    "version": "5.1",
    "token_function": print,
    "atoken_function": print,
    "flow": "zen",
    "instance_id": "openshift",
    "iam_serviceid_crn": "crn:1",
    "proxies": {"https": "http://user:hunter2@proxy:3128", "http": None},
    "verify": False,
    "project_id": "project-1",
    "space_id": "space-1",
}
HIDDEN = ("api_key", "token", "password", "proxies")


def test_all_names_of_ibm_s_sdk_are_taken():
    given = Credentials(**EVERYTHING)
    assert set(EVERYTHING) == set(FIELDS)
    for name, value in EVERYTHING.items():
        if name not in HIDDEN:
            assert getattr(given, name) == value
    assert given.password == Secret("hunter2 pässword "), "spaces may belong to a password"
    assert given.proxies == {"https": Secret("http://user:hunter2@proxy:3128"), "http": None}
    assert Credentials.from_dict(EVERYTHING) == given
    assert hash(given) == hash(Credentials.from_dict(EVERYTHING))
    assert "hunter2" not in repr(given)
    assert all(f"{name}=" in repr(given) for name in FIELDS)


def test_names_of_ibm_s_other_services_are_passed_over():
    others = {
        "name": "n",
        "projects_token": "hunter2",
        "flight_url": "https://flight.example",
        "FLIGHT_SERVICE_PORT": 1,
    }
    assert Credentials.from_dict({"url": URL, "apikey": KEY, **others}) == Credentials(URL, KEY)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("password", "", "password is empty"),
        ("password", "\r\n", "password is empty"),
        ("password", "a\ud800b", "lone surrogate"),
        ("password", b"hunter2", "must be a str, not bytes"),
        ("username", "", "username is empty"),
        ("username", "a\nb", "not printable"),
        ("username", 5, "must be a str, not int"),
        ("trusted_profile_id", " ", "trusted_profile_id is empty"),
        ("account_id", b"a", "must be a str, not bytes"),
        ("bedrock_url", "cp-console.example.com", "did you mean 'https://cp-console.example.com'?"),
        ("version", "2024-10-18", "release of a Cloud Pak for Data such as '5.1'"),
        ("version", "5", "release of a Cloud Pak"),
        ("version", 5.1, "must be a str, not float"),
        ("flow", "IAM", "unknown 'IAM'"),
        ("flow", "cp4d-iam", "did you mean 'cp4d_iam'"),
        ("token_function", "hunter2", "token_function must be a function, not str"),
        ("atoken_function", 5, "atoken_function must be a function, not int"),
        ("proxies", "http://user:hunter2@proxy:3128", "proxies must be a dict such as"),
        ("proxies", {"https": 5}, r"proxies\['https'\] must be a str, not int"),
        ("proxies", {"https": b"hunter2"}, "not bytes"),
        ("proxies", {5: "hunter2"}, r"proxies\[5\]"),
        ("api_key", "Bearer hunter2", "begins with 'Bearer', as a token does; give it as token="),
        ("api_key", '"hunter2"', "is wrapped in quotes"),
        ("api_key", '{"apikey": "hunter2"}', "is JSON"),
        ("token", "Bearer", "token is empty"),
        ("token", "hunter2 hunter2", "holds a space"),
        ("token", "Bearer hunter2 hunter2", "holds a space"),
        ("token", '{"access_token": "hunter2"}', "is JSON"),
        ("token", "'hunter2'", "is wrapped in quotes"),
    ],
)
@pytest.mark.parametrize("as_dict", [False, True], ids=["object", "dict"])
def test_a_field_that_cannot_be_right_is_refused_by_name_and_shows_no_secret(field, value, words, as_dict):
    fields = {"url": URL, "api_key": "hunter2-key", "password": "hunter2-password"} | {field: value}
    with pytest.raises(InvalidArgumentError, match=words) as raised:
        Credentials.from_dict(fields) if as_dict else Credentials(**fields)
    assert raised.value.argument.removeprefix("credentials.") == field
    assert "hunter2" not in with_locals(raised.value)
    assert "InvalidArgumentError" in python_s_own(raised.value) or "InvalidTypeError" in python_s_own(raised.value)


def test_a_password_from_a_file_may_end_with_a_newline():
    assert Credentials(URL, username="ada", password=" p \r\n").password == Secret(" p ")


# from_dict


def test_a_dict_of_the_fields_and_ibm_s_other_spelling_of_the_key():
    assert Credentials.from_dict({"url": URL, "api_key": KEY}) == Credentials(URL, KEY)
    assert Credentials.from_dict({"url": URL, "apikey": KEY}) == Credentials(URL, KEY)
    assert Credentials.from_dict({"url": URL, "apikey": KEY, "api_key": None}) == Credentials(URL, KEY)
    assert Credentials.from_dict({"url": URL, "token": "t"}) == Credentials(URL, token="t")


@pytest.mark.parametrize(
    ("given_fields", "words"),
    [
        ({"api_key": KEY}, "'url' is missing"),
        ({"url": None, "api_key": KEY}, "'url' is missing"),
        ({"url": URL, "api_key": KEY, "apikey": KEY}, "both 'api_key' and 'apikey'"),
        ({"url": URL, "api_kee": KEY}, "unknown name 'api_kee'; did you mean 'api_key'"),
        ({"url": URL, "tokens": "t"}, "did you mean 'token'"),
        ({"url": URL, 5: KEY}, "unknown name 5"),
    ],
)
def test_a_dict_that_cannot_be_right_is_refused(given_fields, words):
    with pytest.raises(InvalidArgumentError, match=words) as raised:
        Credentials.from_dict(given_fields)
    assert raised.value.argument == "credentials"
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("value", [KEY, 5, [("url", URL)]])
def test_credentials_are_an_object_or_a_dict(value):
    with pytest.raises(InvalidTypeError, match="must be a Credentials or a dict") as raised:
        Credentials.from_dict(value)
    assert "hunter2" not in str(raised.value)


def test_sealed_wraps_the_secrets_of_a_dict_in_a_copy_and_passes_the_rest_on():
    given_fields = {"url": URL, "apikey": KEY, "api_key": None, "token": "t", "password": "p"}
    wrapped = sealed(given_fields)
    assert wrapped == {
        "url": Secret(URL),
        "apikey": Secret(KEY),
        "api_key": None,
        "token": Secret("t"),
        "password": Secret("p"),
    }
    assert given_fields["apikey"] == KEY
    given_object = Credentials(URL, KEY)
    assert sealed(given_object) is given_object
    assert sealed(None) is None
    assert sealed(5) == 5


# from_env


@pytest.mark.parametrize("name", ["WATSONX_APIKEY", "WATSONX_API_KEY"])
def test_url_and_key_from_the_environment(monkeypatch, name):
    monkeypatch.setenv("WATSONX_URL", URL + "/")
    monkeypatch.setenv(name, KEY)
    assert Credentials.from_env() == Credentials(URL, KEY)


def test_the_token_of_the_environment_serves_if_there_is_no_key(monkeypatch):
    monkeypatch.setenv("WATSONX_URL", URL)
    monkeypatch.setenv("WATSONX_TOKEN", "t")
    assert Credentials.from_env() == Credentials(URL, token="t")
    monkeypatch.setenv("WATSONX_APIKEY", "")
    assert Credentials.from_env() == Credentials(URL, token="t"), "an empty variable is none"
    monkeypatch.setenv("WATSONX_APIKEY", KEY)
    assert Credentials.from_env() == Credentials(URL, KEY), "the key can be renewed, so it wins"


@pytest.mark.parametrize(
    "set_names",
    [(), ("WATSONX_URL",), ("WATSONX_APIKEY",), ("WATSONX_TOKEN",), ("WATSONX_API_KEY", "WATSONX_TOKEN")],
    ids=lambda names: "+".join(names) or "none",
)
def test_what_is_missing_names_what_was_looked_for_and_found_but_no_value(monkeypatch, set_names):
    for name in set_names:
        monkeypatch.setenv(name, "hunter2" if name != "WATSONX_URL" else "https://hunter2.example")
    with pytest.raises(InvalidArgumentError) as raised:
        Credentials.from_env()
    wanted, found = str(raised.value).split("Found in the environment: ")
    for name in ("WATSONX_URL", "WATSONX_APIKEY", "WATSONX_API_KEY", "WATSONX_TOKEN"):
        assert name in wanted
    assert set(found.split(", ")) == (set(set_names) or {"none of them"})
    assert "hunter2" not in with_locals(raised.value)


PAK = "https://cpd.example.com"


def test_a_user_of_a_cloud_pak_from_the_environment(monkeypatch):
    for name, value in [("URL", PAK), ("USERNAME", "ada"), ("PASSWORD", "p"), ("INSTANCE_ID", "openshift")]:
        monkeypatch.setenv(f"WATSONX_{name}", value)
    given = Credentials.from_env()
    assert given == Credentials(PAK, username="ada", password="p", instance_id="openshift")
    monkeypatch.setenv("WATSONX_TOKEN", "t")
    assert Credentials.from_env() == given, "the password can get tokens, so it wins"
    monkeypatch.setenv("WATSONX_APIKEY", KEY)
    assert Credentials.from_env() == Credentials(PAK, KEY, username="ada", password="p", instance_id="openshift")
    monkeypatch.delenv("WATSONX_PASSWORD")
    assert Credentials.from_env() == Credentials(PAK, KEY, username="ada", instance_id="openshift")
    monkeypatch.delenv("WATSONX_APIKEY")
    assert Credentials.from_env() == Credentials(PAK, token="t", username="ada", instance_id="openshift")


@pytest.mark.parametrize("alone", ["WATSONX_USERNAME", "WATSONX_PASSWORD"])
def test_half_of_a_way_in_from_the_environment_is_none(monkeypatch, alone):
    monkeypatch.setenv("WATSONX_URL", PAK)
    monkeypatch.setenv(alone, "hunter2")
    with pytest.raises(InvalidArgumentError, match="WATSONX_USERNAME with WATSONX_PASSWORD") as raised:
        Credentials.from_env()
    assert f"Found in the environment: WATSONX_URL, {alone}" in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_the_address_may_be_given_beside_the_environment(monkeypatch):
    monkeypatch.setenv("WATSONX_URL", PAK)
    monkeypatch.setenv("WATSONX_APIKEY", KEY)
    assert Credentials.from_env(URL) == Credentials(URL, KEY)
    monkeypatch.delenv("WATSONX_URL")
    assert Credentials.from_env(URL) == Credentials(URL, KEY)
    monkeypatch.delenv("WATSONX_APIKEY")
    with pytest.raises(InvalidArgumentError, match="or set one of WATSONX_APIKEY"):
        Credentials.from_env(URL)


# Project and space


def test_one_of_project_and_space_holds():
    assert project_or_space("p", None) == ("p", None)
    assert project_or_space(None, "s") == (None, "s")


def test_both_or_neither_are_refused():
    with pytest.raises(InvalidArgumentError, match="Both project_id and space_id are given"):
        project_or_space("p", "s")
    with pytest.raises(InvalidArgumentError, match="WATSONX_PROJECT_ID or WATSONX_SPACE_ID"):
        project_or_space(None, None)


def test_the_environment_is_asked_only_if_neither_is_given(monkeypatch):
    monkeypatch.setenv("WATSONX_PROJECT_ID", "from-env")
    assert project_or_space(None, None) == ("from-env", None)
    assert project_or_space(None, "s") == (None, "s")
    monkeypatch.setenv("WATSONX_SPACE_ID", "also-from-env")
    assert project_or_space("p", None) == ("p", None)
    with pytest.raises(InvalidArgumentError, match="Both WATSONX_PROJECT_ID and WATSONX_SPACE_ID"):
        project_or_space(None, None)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("", InvalidArgumentError),
        (" ", InvalidArgumentError),
        (5, InvalidTypeError),
        (True, InvalidTypeError),
        (b"p", InvalidTypeError),
    ],
)
@pytest.mark.parametrize("name", ["project_id", "space_id"])
def test_an_id_is_a_str_that_says_something(name, value, kind):
    arguments = (value, None) if name == "project_id" else (None, value)
    with pytest.raises(kind, match=name) as raised:
        project_or_space(*arguments)
    assert raised.value.argument == name


# Addresses


@pytest.mark.parametrize(
    ("given_url", "normal"),
    [
        (URL, URL),
        (URL + "/", URL),
        (f"  {URL}//\n", URL),
        (URL + "/?version=1#top", URL),
        ("HTTPS://us-south.ml.cloud.ibm.com", URL),
        ("https://host.example:8443/base/", "https://host.example:8443/base"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
    ],
)
def test_addresses_are_normalised(given_url, normal):
    assert normal_url(given_url, "url") == normal
    assert normal_url(normal, "url") == normal, "and stay as they are the second time"


@pytest.mark.parametrize(
    ("given_url", "words"),
    [
        ("us-south.ml.cloud.ibm.com", "did you mean 'https://us-south.ml.cloud.ibm.com'?"),
        ("", "is not an address"),
        ("localhost:8080", "did you mean 'https://localhost:8080'?"),
        ("ftp://host.example", "is not an address"),
        ("file:///etc/passwd", "is not an address"),
        ("https://", "is not an address"),
        ("https:///path", "is not an address"),
        ("https://host.example:port", "is not an address"),
        ("https://host.example:70000", "is not an address"),
        ("https://[::1", "is not an address"),
        ("https://user:pw@host.example", "user name or password"),
        ("https://user@host.example", "user name or password"),
        ("https://two words.example", "characters that an address cannot have"),
        ("https://ho\nst.example", "characters that an address cannot have"),
        ("https://\ud800.example", "characters that an address cannot have"),
    ],
)
def test_what_is_no_address_is_refused(given_url, words):
    with pytest.raises(InvalidArgumentError, match=words.replace("?", r"\?")) as raised:
        normal_url(given_url, "credentials.url")
    assert "credentials.url" in str(raised.value)
    str(raised.value).encode()  # a message that can be printed


@pytest.mark.parametrize(
    "given_url",
    [
        "correct-horse",
        "correct horse",
        "correct-horse\n\0",
        "https://user:correct-horse@host.example",
        "https://user:correct-horse@[::1",
        "user:correct-horse@host.example",
    ],
)
def test_an_address_that_may_be_a_secret_is_not_shown(given_url):
    with pytest.raises(InvalidArgumentError, match="url") as raised:
        normal_url(given_url, "url")
    shown = str(raised.value) + repr(raised.value.__cause__) + repr(raised.value.__context__)
    assert "correct" not in shown
    assert "horse" not in shown


@pytest.mark.parametrize("value", [5, True, b"https://host.example", ["https://host.example"], None])
def test_an_address_is_a_str(value):
    with pytest.raises(InvalidTypeError, match=r"credentials\.url must be a str"):
        Credentials(value)


@pytest.mark.parametrize(
    "given_url",
    [
        "https://me:hunter2@host.example",
        "ftp://me:hunter2@host.example",
        "me:hunter2@host.example",
        "https://me:hunter2@host.example:port",
    ],
)
def test_a_password_inside_an_address_is_not_repeated_in_the_message(given_url):
    with pytest.raises(InvalidArgumentError) as raised:
        Credentials(given_url, KEY)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("host", ["localhost", "a.localhost", "127.0.0.1", "127.8.8.8", "::1"])
def test_loopback_hosts(host):
    assert is_loopback(host)
    assert host_of(f"http://[{host}]:1" if ":" in host else f"http://{host.upper()}:1") == host


@pytest.mark.parametrize(
    "host",
    ["localhost.example.com", "notlocalhost", "128.0.0.1", "0.0.0.0", "10.0.0.1", "::2", "127.0.0.1.example.com", ""],
)
def test_hosts_that_are_not_loopback(host):
    assert not is_loopback(host)


@pytest.mark.parametrize(
    "url",
    [
        "http://us-south.ml.cloud.ibm.com",
        "http://localhost.example.com",
        "http://127.0.0.1.example.com",
        "http://10.0.0.1:80",
    ],
)
def test_plain_http_to_a_remote_host_is_refused_with_both_ways_out(url):
    with pytest.raises(InvalidArgumentError, match="https://") as raised:
        check_scheme(url, "credentials.url", ())
    assert f"allow_http_hosts=({host_of(url)!r},)" in str(raised.value)


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("http://localhost:1", ()),
        ("http://127.0.0.1", ()),
        ("http://[::1]:9", ()),
        (URL, ()),
        ("http://inside.example:81", ("inside.example",)),
    ],
)
def test_https_loopback_and_named_hosts_are_accepted(url, allowed):
    check_scheme(url, "credentials.url", allowed)


def test_a_named_host_does_not_open_the_door_for_another():
    with pytest.raises(InvalidArgumentError):
        check_scheme("http://other.example", "credentials.url", ("inside.example",))


# No way of failing shows a secret


WAYS_TO_FAIL = {
    "bad url": lambda secret: Credentials("no-scheme", secret),
    "wrong type of url": lambda secret: Credentials(None, secret),
    "bad auth_url": lambda secret: Credentials(URL, secret, auth_url="nowhere"),
    "unprintable secret": lambda secret: Credentials(URL, secret + "\0"),
    "non-ASCII secret": lambda secret: Credentials(URL, secret + "ü"),
    "bytes": lambda secret: Credentials(URL, secret.encode()),
    "bytes in a dict": lambda secret: Credentials.from_dict({"url": URL, "api_key": secret.encode()}),
    "bad token beside a key": lambda secret: Credentials(URL, secret, 5),
    "no url": lambda secret: Credentials.from_dict({"apikey": secret}),
    "both spellings": lambda secret: Credentials.from_dict({"url": URL, "apikey": secret, "api_key": secret}),
    "unknown name": lambda secret: Credentials.from_dict({"url": URL, "apikey": secret, "nonsense": 1}),
    "misspelt apiKey": lambda secret: Credentials.from_dict({"url": URL, "apiKey": secret}),
    "misspelt API_KEY": lambda secret: Credentials.from_dict({"url": URL, "API_KEY": secret}),
    "misspelt api-key": lambda secret: Credentials.from_dict({"url": URL, "api-key": secret}),
}


@pytest.mark.parametrize("way", WAYS_TO_FAIL)
def test_a_failing_construction_shows_no_secret_even_with_its_locals(way):
    secret = "hunter2" + "-the-key"
    with pytest.raises(RerankError) as raised:
        WAYS_TO_FAIL[way](secret)
    assert "hunter2" not in with_locals(raised.value)


HALF_MADE = {
    "Credentials": lambda: Credentials("no-scheme"),
    "AsyncAPIClient": lambda: AsyncAPIClient(Credentials(URL, KEY)),
    "AsyncRerank": lambda: AsyncRerank(5),
    "AsyncRerank over a client that fails": lambda: AsyncRerank("some/model", credentials={"url": URL, "apikey": KEY}),
}


@pytest.mark.parametrize("way", HALF_MADE)
def test_python_can_show_the_locals_of_a_failing_construction(way):
    with pytest.raises(RerankError) as raised:
        HALF_MADE[way]()
    # The object is half made, and its repr is asked for all the same: it must not raise.
    assert type(raised.value).__name__ in python_s_own(raised.value)


CLIENTS_THAT_FAIL = {
    "neither project nor space": {},
    "both": {"project_id": "p", "space_id": "s"},
    "wrong project": {"project_id": 5},
    "wrong option": {"project_id": "p", "limits": 5},
    "verify without a file": {"project_id": "p", "verify": "/no/such/file"},
    "api_version": {"project_id": "p", "api_version": "soon"},
    "allow_http_hosts": {"project_id": "p", "allow_http_hosts": "host"},
}


@pytest.mark.parametrize("as_dict", [True, False])
@pytest.mark.parametrize("way", CLIENTS_THAT_FAIL)
def test_a_client_that_cannot_be_made_shows_no_secret_even_with_its_locals(way, as_dict):
    fields = {"url": URL, "apikey": "hunter2" + "-the-key"}
    credentials = fields if as_dict else Credentials.from_dict(fields)
    options = CLIENTS_THAT_FAIL[way]
    with pytest.raises(RerankError) as raised:
        AsyncAPIClient(credentials, **options)
    assert "hunter2" not in with_locals(raised.value)
    if "api_version" not in options:
        with pytest.raises(RerankError) as raised:
            AsyncRerank("some/model", None, credentials, **options)
        assert "hunter2" not in with_locals(raised.value)


@given(secret=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=12).map("k{}".format))
def test_whatever_the_secret_is_neither_repr_nor_failure_shows_it(secret):
    given_object = Credentials(URL, secret)
    assert secret not in repr(given_object).replace("Secret('***')", "")
    with pytest.raises(InvalidArgumentError) as raised:
        Credentials(URL, secret + "\0")
    assert secret not in str(raised.value)
