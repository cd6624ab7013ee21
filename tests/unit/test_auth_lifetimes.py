"""How long a token lives: by the answer, by the token, by a stated default; and clocks that are wrong."""

from datetime import UTC, datetime, timedelta
from email.utils import formatdate

import pytest
from support.exchanges import NOON, answer, drive, jwt

from rerank_async import Credentials
from rerank_async.auth import choose_flow
from rerank_async.auth.function import GivenFunction, NotAToken, sealed_result
from rerank_async.auth.iam import IamApiKey
from rerank_async.auth.jwt import claims_of, is_jwt
from rerank_async.errors import AuthenticationError, DecodeError
from rerank_async.values.secret import Secret

FLOW = IamApiKey("https://iam.example/identity/token", Secret("made-up"))


def lifetime(body, at=NOON, date=None):
    headers = {} if date is None else {"date": formatdate(date, usegmt=True)}
    return drive(FLOW, answer(200, headers, {"access_token": "opaque"} | body, at))[1].lifetime


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        ({"expires_in": 3600}, 3600.0),
        ({"expires_in": 1}, 1.0),
        ({"expires_in": 0.5}, 0.5),
        ({"expires_in": 86400}, 86400.0),
        # expires_in wins: it needs no clock of the same time
        ({"expires_in": 60, "expiration": NOON + 7200}, 60.0),
        ({"expires_in": 60, "access_token": jwt(exp=NOON + 7200)}, 60.0),
        # then the answer's expiration
        ({"expiration": NOON + 7200}, 7200.0),
        ({"expiration": NOON + 7200, "access_token": jwt(exp=NOON + 60)}, 7200.0),
        ({"expires_in": "soon", "expiration": NOON + 7200}, 7200.0),
        # then the token's own exp
        ({"access_token": jwt(exp=NOON + 900)}, 900.0),
        ({"access_token": jwt(exp=NOON + 900.5)}, 900.5),
        ({"expires_in": None, "expiration": "later", "access_token": jwt(exp=NOON + 900)}, 900.0),
        # then the documented hour
        ({}, 3600.0),
        ({"access_token": jwt(sub="somebody")}, 3600.0),
        ({"access_token": jwt(exp="soon")}, 3600.0),
        ({"access_token": "a.b.c"}, 3600.0),
        ({"expires_in": "3600"}, 3600.0),
        ({"expires_in": True}, 3600.0),
        ({"expires_in": []}, 3600.0),
    ],
    ids=lambda value: str(value)[:60],
)
def test_the_order_in_which_a_life_is_said(body, seconds):
    assert lifetime(body) == seconds


HOUR = 3600.0


@pytest.mark.parametrize("off", [-HOUR, 0.0, HOUR], ids=["behind", "right", "ahead"])
@pytest.mark.parametrize(
    "body",
    [{"expires_in": 1800}, {"expiration": NOON + 1800}, {"access_token": jwt(exp=NOON + 1800)}],
    ids=["expires_in", "expiration", "exp"],
)
def test_a_clock_that_is_an_hour_off_does_no_harm_where_the_answer_has_a_date(body, off):
    # A Date has no parts of a second, so a clock that is ahead of it costs the rest of that second.
    expected = 1799.0 if off > 0 and "expires_in" not in body else 1800.0
    assert lifetime(body, at=NOON + off, date=NOON) == expected


def test_a_clock_that_is_right_gives_the_parts_of_the_second():
    assert lifetime({"expiration": NOON + 2}, at=NOON + 0.75, date=NOON) == 1.25


def test_without_a_date_a_clock_that_is_behind_does_not_lengthen_the_life_of_a_jwt():
    assert lifetime({"access_token": jwt(iat=NOON, exp=NOON + 1800)}, at=NOON - HOUR) == 1800.0


@pytest.mark.parametrize(
    "body", [{"expiration": NOON - 60}, {"access_token": jwt(exp=NOON - 60)}], ids=["answer", "token"]
)
def test_a_token_that_has_already_expired_is_refused_with_both_times(body):
    with pytest.raises(DecodeError) as raised:
        lifetime(body, at=NOON)
    assert "already expired: it ends at 2027-01-15 07:59:00 UTC" in str(raised.value)
    assert "by this machine's clock it is 2027-01-15 08:00:00 UTC" in str(raised.value)
    with pytest.raises(DecodeError, match="by the server's clock it is 2027-01-15 08:00:01 UTC"):
        lifetime(body, at=NOON + 12345, date=NOON)


@pytest.mark.parametrize("date", ["", "yesterday", "Fri, 99 Jan 2027 08:00:00 GMT"])
def test_a_date_that_is_none_leaves_this_machine_s_clock(date):
    _, grant = drive(FLOW, answer(200, {"date": date}, {"access_token": "t", "expiration": NOON + 60}))
    assert grant.lifetime == 60.0


@pytest.mark.parametrize("end", [1e300, 1e18, -1e18])
def test_an_end_beyond_every_calendar_is_no_crash(end):
    if end > 0:
        assert lifetime({"expiration": end}) == end - NOON
    else:
        with pytest.raises(DecodeError, match="Unix time"):
            lifetime({"expiration": end})


# JWTs


@pytest.mark.parametrize("token", ["", "opaque", "a.b", "a.b.c", "a.e30.c", "a.W10.c", "a.!.c", "a.b.c.d", "a..c"])
def test_what_is_no_jwt_says_nothing(token):
    assert claims_of(Secret(token)) == (None, None, None)
    assert is_jwt(Secret(token)) is (token == "a.e30.c")


def test_a_payload_may_have_either_alphabet_of_base64():
    assert claims_of(Secret("a." + "eyJzdWJfdHlwZSI6Iv7__yJ9".replace("_", "/") + ".c")) == claims_of(
        Secret("a.eyJzdWJfdHlwZSI6Iv7__yJ9.c")
    )
    assert claims_of(Secret(jwt(sub_type="Profile", exp=5))).kind == "Profile"


# Functions


def parsed(result, at=NOON):
    flow = choose_flow(Credentials("https://us-south.ml.cloud.ibm.com", token_function=lambda: result))
    assert isinstance(flow, GivenFunction)
    return flow.parse(sealed_result(result), at)


class Info:
    """As IBM's SDK takes it."""

    def __init__(self, token, expiration_datetime=None):
        self.token = token
        self.expiration_datetime = expiration_datetime


@pytest.mark.parametrize(
    ("result", "seconds"),
    [
        ("opaque", 3600.0),
        (" Bearer opaque\n", 3600.0),
        (jwt(exp=NOON + 900), 900.0),
        (("opaque", None), 3600.0),
        (["opaque", NOON + 60], 60.0),
        (("opaque", int(NOON) + 60), 60.0),
        (("opaque", timedelta(minutes=2)), 120.0),
        (("opaque", datetime.fromtimestamp(NOON + 60, UTC)), 60.0),
        (("opaque", datetime.fromtimestamp(NOON + 60)), 60.0),  # noqa: DTZ006 - local time, as IBM's SDK has it
        ((jwt(exp=NOON + 900), NOON + 60), 60.0),
        (Info("opaque"), 3600.0),
        (Info("opaque", datetime.fromtimestamp(NOON + 60, UTC)), 60.0),
    ],
    ids=range(12),
)
def test_what_a_function_may_return(result, seconds):
    grant = parsed(result)
    assert grant.lifetime == seconds
    assert grant.flow == "function"
    assert grant.authorization.reveal().startswith("Bearer ")
    assert not grant.authorization.reveal().startswith("Bearer Bearer")


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (None, "returned NoneType, not a token"),
        (5, "returned int, not a token"),
        (b"token", "returned bytes, not a token"),
        ("", "returned an empty str, not a token"),
        ("Bearer ", "returned an empty str"),
        ((), "returned tuple"),
        (("a", "b", "c"), "returned tuple"),
        ((5, None), "returned int"),
        ({"access_token": "hunter2"}, "returned dict"),
        ("hunter2\nhunter2", "no header can carry"),
        ("hunter2 hunter2", "no header can carry"),
        ("hünter2", "no header can carry"),
        (("hunter2", 3600), "a number and no Unix time"),
        (("hunter2", float("nan")), "a number and no Unix time"),
        (("hunter2", True), "expiry of type bool"),
        (("hunter2", "hunter2-refresh"), "expiry of type str"),
        (("hunter2", NOON - 1), "has already expired"),
        (("hunter2", timedelta(0)), "has already expired"),
        (("hunter2", datetime.min), "expir"),  # noqa: DTZ901 - what a careless function returns
        (jwt(exp=NOON - 1), "by this machine's clock"),
    ],
    ids=range(20),
)
def test_what_a_function_must_not_return(result, words):
    with pytest.raises(AuthenticationError, match=words) as raised:
        parsed(result)
    assert "credentials.token_function" in str(raised.value)
    assert "hunter2" not in str(raised.value)
    assert "hunter2" not in repr(sealed_result(result))


def test_what_is_not_a_token_is_not_kept():
    assert repr(sealed_result({"access_token": "hunter2"})) == "NotAToken('dict')"
    assert isinstance(sealed_result(("hunter2",)), NotAToken)
