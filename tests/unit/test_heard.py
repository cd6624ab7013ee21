"""What an answer says about the limit: headers, the words of a 429, and nonsense in both."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_async.policy.heard import LONGEST_WINDOW, MOST_PER_SECOND, Heard, Limit, heard_of

RATE, LEFT = "x-requests-limit-rate", "x-requests-limit-remaining"


def words(rest):
    return f"Rate limit of {rest} was reached for instance id 1 (user 2, plan v2-standard)"


def test_an_answer_that_says_nothing():
    assert heard_of({}) is None
    assert heard_of({"content-type": "application/json"}, None) is None
    assert heard_of({}, "Too many requests") is None


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("8", 8),
        (" 12 ", 12),
        ("1", 1),
        ("0120", 120),
        (str(int(MOST_PER_SECOND)), int(MOST_PER_SECOND)),
        ("banana", None),
        ("", None),
        ("0", None),
        ("-8", None),
        ("+8", None),
        ("8.5", None),
        ("1e1", None),
        ("1_0", None),
        ("nan", None),
        ("inf", None),
        ("1000000000", None),
        ("10001", None),
        ("9" * 5000, None),
        ("\u0668", None),
        ("\uff18", None),
        ("8, 8", None),
    ],
    ids=[
        "8",
        "spaces",
        "1",
        "leading zero",
        "most",
        "banana",
        "empty",
        "0",
        "negative",
        "plus",
        "fraction",
        "exponent",
        "underscore",
        "nan",
        "inf",
        "1e9",
        "above most",
        "5000 digits",
        "arabic digit",
        "wide digit",
        "two values",
    ],
)
def test_the_header_of_the_rate(text, limit):
    expected = None if limit is None else Heard(Limit(limit, 1.0, "header"), None)
    assert heard_of({RATE: text}) == expected


@pytest.mark.parametrize(
    ("text", "left"),
    [("0", 0), ("7", 7), ("999999999", 999_999_999), ("-1", None), ("banana", None), ("1" * 4000, None)],
    ids=["0", "7", "many", "negative", "banana", "4000 digits"],
)
def test_the_header_of_what_is_left(text, left):
    assert heard_of({RATE: "8", LEFT: text}) == Heard(Limit(8, 1.0, "header"), left)
    assert heard_of({LEFT: text}) == (None if left is None else Heard(None, left))


@pytest.mark.parametrize(
    ("rest", "requests", "seconds"),
    [
        ("8 requests per 1s", 8, 1.0),
        ("2 requests per 1s", 2, 1.0),
        ("1 request per 1 s", 1, 1.0),
        ("120 requests per 1m", 120, 60.0),
        ("120 requests per minute", 120, 60.0),
        ("120 requests per 1 min", 120, 60.0),
        ("20 requests per second", 20, 1.0),
        ("20 requests per 10 seconds", 20, 10.0),
        ("3 requests per 0.5s", 3, 0.5),
        ("5 requests per 500ms", 5, 0.5),
    ],
    ids=str,
)
def test_the_words_of_a_429(rest, requests, seconds):
    assert heard_of({}, words(rest)) == Heard(Limit(requests, seconds, "429"), None)


@pytest.mark.parametrize(
    "rest",
    [
        "8 requests per 1d",
        "8 requests per parsec",
        "8 requests per 1",
        "8 requests per 0s",
        "0 requests per 1s",
        "-8 requests per 1s",
        "1000000000 requests per 1s",
        "1 requests per 61s",
        "8 requests per 2 minutes",
        "99999999999999999999 requests per 1s",
        "8 requests per 99999999999s",
        "\u0668 requests per 1s",
        "8 requests per 1\u017f",
        "banana requests per 1s",
        "8 tokens per 1s",
    ],
    ids=range(15),
)
def test_words_that_say_nothing_that_can_be_believed(rest):
    assert heard_of({}, words(rest)) is None


def test_a_header_wins_over_the_words_and_the_words_say_for_how_long_the_same_number_holds():
    assert heard_of({RATE: "8"}, words("5 requests per 1s")) == Heard(Limit(8, 1.0, "header"), None)
    assert heard_of({RATE: "120", LEFT: "0"}, words("120 requests per 1m")) == Heard(Limit(120, 60.0, "header"), 0)
    assert heard_of({RATE: "0", LEFT: "0"}, words("5 requests per 1s")) == Heard(Limit(5, 1.0, "429"), 0)


@given(rate=st.none() | st.text(), left=st.none() | st.text(), message=st.none() | st.text())
def test_whatever_it_says_what_is_believed_is_possible(rate, left, message):
    headers = {name: text for name, text in ((RATE, rate), (LEFT, left)) if text is not None}
    check(heard_of(headers, message))


@given(
    requests=st.integers(-10, 10**12) | st.text(max_size=4),
    number=st.floats(-1, 1e6) | st.integers(0, 10**7) | st.just(""),
    unit=st.sampled_from(["s", "m", "ms", "h", "d", " minutes", " second", ""]),
)
def test_whatever_the_words_name_what_is_believed_is_possible(requests, number, unit):
    check(heard_of({}, words(f"{requests} requests per {number}{unit}")))


def check(heard):
    if heard is None:
        return
    assert heard.limit is not None or heard.remaining is not None
    if heard.limit is not None:
        assert heard.limit.requests >= 1
        assert 0 < heard.limit.seconds <= LONGEST_WINDOW
        assert heard.limit.requests / heard.limit.seconds <= MOST_PER_SECOND
    assert heard.remaining is None or heard.remaining >= 0
