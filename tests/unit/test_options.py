"""Options: one table of every number that cannot be right, for every field that is a number."""

import math

import attrs
import pytest
from support.odd import ODD

from rerank_async.errors import InvalidArgumentError, InvalidTypeError
from rerank_async.values.checks import header_fields, timeout_seconds
from rerank_async.values.options import DEFAULT, BatchOptions, HedgeOptions, LimitOptions, RetryOptions, Timeouts

NAN, INF = math.nan, math.inf
NO_NUMBER = [True, False, "1", b"1", [1], 1j, ODD]

# Field, the least value that is right, whether None is, whether infinity is.
INTEGERS = [
    (BatchOptions, "max_inputs", 1, False),
    (BatchOptions, "max_bytes", 1, False),
    (LimitOptions, "burst", 1, True),
    (LimitOptions, "max_concurrency", 1, False),
    (RetryOptions, "max_attempts", 1, False),
    (RetryOptions, "max_throttled", 0, False),
    (LimitOptions, "max_queued", 0, True),
]
FROM_ZERO = [(RetryOptions, "base_delay"), (RetryOptions, "max_delay"), (RetryOptions, "max_retry_after")]
ABOVE_ZERO = [
    (HedgeOptions, "delay", True),
    (HedgeOptions, "budget", False),
    (Timeouts, "connect", False),
    (Timeouts, "request", False),
    (Timeouts, "total", True),
    (RetryOptions, "max_elapsed", True),
]
# What makes room for a value that is right by itself.
BESIDE = {
    "base_delay": {"max_delay": 1e9, "max_elapsed": None},
    "max_delay": {"base_delay": 0},
    "max_elapsed": {"base_delay": 0},
}


def refused(kind, name, value, error):
    with pytest.raises(error) as raised:
        kind(**{name: value})
    assert raised.value.argument == name
    assert str(raised.value).startswith(name), "the message begins with the name"
    return str(raised.value)


@pytest.mark.parametrize(("kind", "name", "least", "optional"), INTEGERS)
def test_an_integer_field(kind, name, least, optional):
    for value in [*NO_NUMBER, 1.0, NAN, INF]:
        refused(kind, name, value, InvalidTypeError)
    for value in (least - 1, -1, -(10**30)):
        assert str(value) in refused(kind, name, value, InvalidArgumentError)
    assert getattr(kind(**{name: least}), name) == least
    if optional:
        assert getattr(kind(**{name: None}), name) is None
    else:
        refused(kind, name, None, InvalidTypeError)


@pytest.mark.parametrize(("kind", "name"), FROM_ZERO)
def test_a_delay_is_finite_and_from_zero(kind, name):
    for value in [*NO_NUMBER, None]:
        refused(kind, name, value, InvalidTypeError)
    for value in (-1, -0.001, -INF, INF, NAN):
        refused(kind, name, value, InvalidArgumentError)
    for value in (0, 0.0, 1, 0.001, 1e9):
        assert getattr(kind(**{name: value}, **BESIDE.get(name, {})), name) == value


@pytest.mark.parametrize(("kind", "name", "optional"), ABOVE_ZERO)
def test_a_timeout_is_finite_and_above_zero(kind, name, optional):
    for value in NO_NUMBER:
        refused(kind, name, value, InvalidTypeError)
    for value in (0, 0.0, -1, -INF, INF, NAN):
        refused(kind, name, value, InvalidArgumentError)
    assert getattr(kind(**{name: 0.001}, **BESIDE.get(name, {})), name) == 0.001
    if optional:
        assert getattr(kind(**{name: None}), name) is None
    else:
        refused(kind, name, None, InvalidTypeError)


@pytest.mark.parametrize(
    ("kind", "name"),
    [(RetryOptions, "base_delay"), (Timeouts, "total"), (LimitOptions, "requests_per_second")],
)
def test_an_int_beyond_every_float_is_an_error_of_ours(kind, name):
    refused(kind, name, 10**400, InvalidArgumentError)


def test_a_rate_is_above_zero_and_may_be_infinite():
    for value in NO_NUMBER:
        refused(LimitOptions, "requests_per_second", value, InvalidTypeError)
    for value in (0, -1, -INF, NAN):
        refused(LimitOptions, "requests_per_second", value, InvalidArgumentError)
    assert LimitOptions(requests_per_second=INF).requests_per_second == INF
    assert LimitOptions(requests_per_second=0.1).requests_per_second == 0.1
    assert LimitOptions(requests_per_second=None).requests_per_second is None


@pytest.mark.parametrize(
    ("kind", "name", "least"), [(LimitOptions, "share", None), (RetryOptions, "budget", 0)], ids=["share", "budget"]
)
def test_a_fraction_is_at_most_one(kind, name, least):
    for value in [*NO_NUMBER, None]:
        refused(kind, name, value, InvalidTypeError)
    for value in (-0.001, -1, 1.001, 2, 100, 10**400, INF, -INF, NAN):
        refused(kind, name, value, InvalidArgumentError)
    for value in (0.001, 0.5, 1, 1.0):
        assert getattr(kind(**{name: value}), name) == value
    if least is None:
        assert "above 0" in refused(kind, name, 0, InvalidArgumentError)
    else:
        assert getattr(kind(**{name: least}), name) == least


@pytest.mark.parametrize(
    ("kind", "given", "name", "words"),
    [
        (LimitOptions, {"requests_per_second": None, "burst": 8}, "burst", "requests_per_second=None"),
        (LimitOptions, {"requests_per_second": INF, "burst": 8}, "burst", "requests_per_second=math.inf"),
        (LimitOptions, {"requests_per_second": INF, "share": 0.5}, "share", "requests_per_second=math.inf"),
        (RetryOptions, {"max_delay": 0.2}, "max_delay", "at least base_delay, 0.25, not 0.2"),
        (RetryOptions, {"base_delay": 9}, "max_delay", "at least base_delay, 9, not 8.0"),
        (RetryOptions, {"max_elapsed": 0.2}, "max_elapsed", "at least base_delay, 0.25, not 0.2"),
        (RetryOptions, {"base_delay": 200, "max_delay": 300}, "max_elapsed", "at least base_delay, 200, not 120.0"),
    ],
)
def test_options_that_contradict_one_another(kind, given, name, words):
    with pytest.raises(InvalidArgumentError) as raised:
        kind(**given)
    assert raised.value.argument == name
    assert str(raised.value).startswith(name)
    assert words in str(raised.value)


@pytest.mark.parametrize(
    "given",
    [
        {"requests_per_second": None, "share": 0.25},
        {"requests_per_second": INF, "share": 1.0},
        {"requests_per_second": INF, "max_queued": 0},
        {"requests_per_second": 0.5, "burst": 1, "share": 0.5},
    ],
    ids=str,
)
def test_limits_that_only_look_like_a_contradiction(given):
    limits = LimitOptions(**given)
    assert {name: getattr(limits, name) for name in given} == given


def test_a_batch_holds_at_most_what_the_service_takes():
    assert BatchOptions(max_inputs=1000).max_inputs == 1000
    with pytest.raises(InvalidArgumentError, match="max_inputs must be at most 1000"):
        BatchOptions(max_inputs=1001)


@pytest.mark.parametrize("name", ["dedupe", "adaptive"])
@pytest.mark.parametrize("value", [0, 1, None, "yes"])
def test_a_switch_is_a_bool(name, value):
    refused(BatchOptions, name, value, InvalidTypeError)


@pytest.mark.parametrize("value", ["raise", "isolate", "truncate"])
def test_what_to_do_about_texts_that_are_too_long(value):
    assert BatchOptions(overlength=value).overlength == value


@pytest.mark.parametrize("value", ["", "Raise", "isolated", "cut"])
def test_another_word_about_them_is_refused_with_those_there_are(value):
    words = refused(BatchOptions, "overlength", value, InvalidArgumentError)
    assert words == f"overlength must be one of 'raise', 'isolate', 'truncate', not {value!r}"


@pytest.mark.parametrize("value", [None, True, 1, b"raise", ["raise"], ODD], ids=lambda value: type(value).__name__)
def test_what_is_no_word_about_them_is_refused(value):
    refused(BatchOptions, "overlength", value, InvalidTypeError)


def test_a_hedging_budget_is_a_share():
    assert HedgeOptions(budget=1).budget == 1
    for value in (1.0001, 5, 100):
        assert "at most 1" in refused(HedgeOptions, "budget", value, InvalidArgumentError)
    assert refused(HedgeOptions, "budget", 0, InvalidArgumentError) == "budget must be above 0, not 0"
    assert refused(HedgeOptions, "delay", 0, InvalidArgumentError) == "delay must be above 0, not 0"


@pytest.mark.parametrize("kind", [BatchOptions, HedgeOptions, LimitOptions, RetryOptions, Timeouts])
def test_options_are_frozen_keyword_only_and_equal_by_value(kind):
    first = attrs.fields(kind)[0].name
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(kind(), first, 1)
    with pytest.raises(TypeError):
        kind(1)
    with pytest.raises(TypeError, match="nonsense"):
        kind(nonsense=1)
    assert kind() == kind()
    assert hash(kind()) == hash(kind())


def test_the_documented_defaults():
    assert BatchOptions() == BatchOptions(
        max_inputs=1000, max_bytes=4194304, dedupe=True, adaptive=True, overlength="raise"
    )
    assert HedgeOptions() == HedgeOptions(delay=None, budget=0.05)
    assert LimitOptions() == LimitOptions(
        requests_per_second=8.0, burst=None, max_concurrency=128, share=1.0, max_queued=None
    )
    assert RetryOptions() == RetryOptions(
        max_attempts=6,
        base_delay=0.25,
        max_delay=8.0,
        max_retry_after=60.0,
        max_throttled=100,
        budget=0.3,
        max_elapsed=120.0,
    )
    assert Timeouts() == Timeouts(connect=10.0, request=120.0, total=None)


def test_default_is_one_object_that_names_itself():
    import copy
    import pickle

    assert repr(DEFAULT) == "DEFAULT"
    assert pickle.loads(pickle.dumps(DEFAULT)) is DEFAULT
    assert copy.deepcopy(DEFAULT) is DEFAULT


@pytest.mark.parametrize("value", [*NO_NUMBER, DEFAULT])
def test_a_call_s_timeout_is_a_number(value):
    with pytest.raises(InvalidTypeError, match="timeout must be a number") as raised:
        timeout_seconds(value)
    assert raised.value.argument == "timeout"


@pytest.mark.parametrize("value", [0, -1, 0.0, INF, -INF, NAN])
def test_a_call_s_timeout_is_finite_and_above_zero(value):
    with pytest.raises(InvalidArgumentError, match="timeout"):
        timeout_seconds(value)


def test_a_call_s_timeout_that_is_right():
    assert timeout_seconds(None) is None
    assert timeout_seconds(3) == 3
    assert timeout_seconds(0.5) == 0.5


@pytest.mark.parametrize(
    ("headers", "kind", "words"),
    [
        ("x: y", InvalidTypeError, "must be a dict, not str"),
        ([("x", "y")], InvalidTypeError, "must be a dict, not list"),
        ({"x": 1}, InvalidTypeError, "str to str"),
        ({1: "x"}, InvalidTypeError, "str to str"),
        ({"x": b"y"}, InvalidTypeError, "str to str"),
        ({"AUTHORIZATION": "Bearer x"}, InvalidArgumentError, "'AUTHORIZATION', which the client sets"),
        ({"Content-Type": "x"}, InvalidArgumentError, "which the client sets"),
        ({"content-length": "1"}, InvalidArgumentError, "which the client sets"),
        ({"Transfer-Encoding": "chunked"}, InvalidArgumentError, "which the client sets"),
        ({"Host": "x"}, InvalidArgumentError, "which the client sets"),
        ({"x": "a\r\nb: c"}, InvalidArgumentError, "cannot carry"),
        ({"x": "a\nb"}, InvalidArgumentError, "cannot carry"),
        ({"x": "a\0b"}, InvalidArgumentError, "cannot carry"),
        ({"x\n": "a"}, InvalidArgumentError, "cannot carry"),
        ({"": "a"}, InvalidArgumentError, "cannot carry"),
        ({"ü": "a"}, InvalidArgumentError, "cannot carry"),
        ({"a b": "c"}, InvalidArgumentError, "cannot carry"),
        ({"a:b": "c"}, InvalidArgumentError, "cannot carry"),
    ],
)
def test_headers_that_cannot_be_sent_are_refused_before_anything_is(headers, kind, words):
    with pytest.raises(kind, match=words) as raised:
        header_fields(headers)
    assert raised.value.argument == "extra_headers"


def test_headers_that_can_be_sent_pass():
    given = {"X-Request-Id": "abc", "X-Empty": "", "X-Latin": "café"}
    assert header_fields(given) == given
