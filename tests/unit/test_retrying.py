"""What to do about a failure: one table for every class of error."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_async import errors
from rerank_async.errors import (
    AnswerTooLargeError,
    AuthenticationError,
    BadRequestError,
    CertificateError,
    ClientClosedError,
    ConnectionFailedError,
    DeadlineExceededError,
    DecodeError,
    InputTooLongError,
    IntegrityError,
    InvalidArgumentError,
    ModelNotSupportedError,
    OverloadedError,
    PermissionDeniedError,
    ProxyError,
    QuotaExceededError,
    RateLimitError,
    RedirectError,
    RequestTimeoutError,
    RequestTooLargeError,
    ServiceError,
    StatusError,
)
from rerank_async.policy.retrying import (
    Again,
    GiveUp,
    MakeRoom,
    NewToken,
    Pause,
    backoff_delay,
    crowds,
    decide,
    throttles,
)
from rerank_async.values import contract
from rerank_async.values.options import RetryOptions


def longest(seconds):
    return seconds


def half(seconds):
    return seconds / 2


def decided(
    error,
    *,
    attempts=1,
    throttled=0,
    renewed=False,
    refused=0,
    elapsed=None,
    throttled_for=0.0,
    jitter=longest,
    **options,
):
    return decide(
        error,
        attempts=attempts,
        throttled=throttled,
        renewed=renewed,
        options=RetryOptions(**options),
        refused=refused,
        elapsed=elapsed,
        throttled_for=throttled_for,
        jitter=jitter,
    )


RETRIED = [
    ServiceError("x", status=500),
    ServiceError("x", status=503),
    ServiceError("x", status=200, code=contract.BACKEND_FAILED),
    ConnectionFailedError("x"),
    RequestTimeoutError("x"),
    DecodeError("x"),
    IntegrityError("x"),
    BadRequestError("x", status=408),
    BadRequestError("x", status=425),
]
FINAL = [
    BadRequestError("x", status=400),
    BadRequestError("x", status=404),
    BadRequestError("x", status=413),
    RequestTooLargeError("x", status=413),
    InputTooLongError("x", status=400),
    ModelNotSupportedError("x", status=404),
    PermissionDeniedError("x", status=403),
    QuotaExceededError("x", status=403),
    QuotaExceededError("x", status=429),
    RedirectError("x", status=307),
    StatusError("x", status=204),
    AuthenticationError("x", status=400),
    AnswerTooLargeError("x"),
    CertificateError("x"),
    ProxyError("x"),
    DeadlineExceededError("x"),
    ClientClosedError("x"),
    OverloadedError("x"),
    InvalidArgumentError("x"),
]


def name_of(error):
    return f"{type(error).__name__}-{getattr(error, 'status', '')}"


def test_every_class_that_is_raised_stands_in_the_tables():
    abstract = {"RerankError", "NoAnswerError", "BadAnswerError", "ClientStateError"}
    elsewhere = {"RateLimitError", "EventLoopError", "InvalidTypeError"}
    assert {type(error).__name__ for error in RETRIED + FINAL} == set(errors.__all__) - abstract - elsewhere


@pytest.mark.parametrize("error", RETRIED, ids=name_of)
def test_what_another_request_may_mend_is_sent_again(error):
    assert decided(error) == Again(0.25)
    assert decided(error, attempts=5) == Again(4.0)
    assert decided(error, attempts=6) == GiveUp("gave up after 6 attempts")
    assert decided(error, attempts=7) == GiveUp("gave up after 7 attempts")


@pytest.mark.parametrize("error", FINAL, ids=name_of)
@pytest.mark.parametrize("attempts", [1, 3])
def test_what_no_request_mends_is_raised_at_once_and_says_enough(error, attempts):
    assert decided(error, attempts=attempts) == GiveUp(None)


@pytest.mark.parametrize("error", RETRIED, ids=name_of)
def test_with_one_attempt_nothing_is_sent_again_and_there_is_nothing_to_add(error):
    assert decided(error, max_attempts=1) == GiveUp(None)


# Tokens


def test_a_401_is_answered_with_a_new_token_once():
    error = AuthenticationError("x", status=401, code=contract.TOKEN_EXPIRED)
    assert decided(error) == NewToken()
    assert decided(error, attempts=6) == NewToken(), "it is no attempt in the sense of max_attempts"
    assert decided(error, renewed=True) == GiveUp(None)


def test_a_401_without_a_code_is_one_too():
    assert decided(AuthenticationError("x", status=401)) == NewToken()


@pytest.mark.parametrize("code", [contract.TOKEN_EXPIRED, contract.TOKEN_NOT_VALID])
@pytest.mark.parametrize("status", [400, 403])
def test_the_code_speaks_before_the_status(code, status):
    assert decided(AuthenticationError("x", status=status, code=code)) == NewToken()


def test_a_key_that_iam_refused_is_final():
    assert decided(AuthenticationError("x", status=400, code="BXNIM0415E")) == GiveUp(None)


# 429


@pytest.mark.parametrize("retry_after", [None, 0.0, 2.0, 60.0])
@pytest.mark.parametrize("attempts", [0, 1, 6, 99])
def test_a_429_pauses_and_costs_no_attempt(retry_after, attempts):
    error = RateLimitError("x", status=429, retry_after=retry_after)
    assert decided(error, attempts=attempts, throttled=1) == Pause(retry_after)


@pytest.mark.parametrize(
    ("throttled", "most", "paused"), [(1, 0, False), (1, 1, True), (2, 1, False), (100, 100, True), (101, 100, False)]
)
def test_a_batch_meets_at_most_max_throttled_of_them(throttled, most, paused):
    decision = decided(RateLimitError("x", status=429), throttled=throttled, throttled_for=3.25, max_throttled=most)
    if paused:
        assert decision == Pause(None)
    else:
        assert isinstance(decision, GiveUp)
        assert f"met {throttled} of them in 3.2 s" in decision.reason, "how often, and how long"
        assert f"max_throttled = {most}" in decision.reason


@pytest.mark.parametrize(
    "error",
    [RateLimitError("x", status=429, retry_after=61.0), ServiceError("x", status=503, retry_after=61.0)],
    ids=name_of,
)
def test_a_retry_after_that_is_too_long_gives_up_and_names_both_numbers(error):
    decision = decided(error, throttled=1)
    assert isinstance(decision, GiveUp)
    assert "61 s" in decision.reason
    assert "max_retry_after = 60" in decision.reason


@pytest.mark.parametrize("seconds", [86_400.0, 31_536_000.0])
@pytest.mark.parametrize("code", [contract.RATE_LIMITED, contract.POOL_FULL])
def test_a_retry_after_of_a_day_fails_at_once_and_is_named_in_full(seconds, code):
    decision = decided(RateLimitError("x", status=429, code=code, retry_after=seconds), throttled=1)
    assert isinstance(decision, GiveUp)
    assert f"wait for {seconds:.0f} s" in decision.reason


def test_no_time_bounds_the_429s_of_a_batch_but_its_deadline():
    error = RateLimitError("x", status=429)
    assert decided(error, throttled=99, throttled_for=1e6, elapsed=1e6, max_elapsed=1) == Pause(None)


def test_a_retry_after_as_long_as_allowed_is_waited_for():
    assert decided(RateLimitError("x", status=429, retry_after=5.0), throttled=1, max_retry_after=5.0) == Pause(5.0)
    assert decided(ServiceError("x", status=503, retry_after=5.0), max_retry_after=5.0) == Again(5.0)


# Waits


@pytest.mark.parametrize(
    ("attempt", "seconds"), [(1, 0.25), (2, 0.5), (3, 1.0), (4, 2.0), (5, 4.0), (6, 8.0), (7, 8.0), (50, 8.0)]
)
def test_the_longest_wait_doubles_up_to_max_delay(attempt, seconds):
    assert backoff_delay(attempt, RetryOptions(), longest) == seconds
    assert backoff_delay(attempt, RetryOptions(), half) == seconds / 2


@pytest.mark.parametrize(
    ("base", "most", "waits"),
    [
        (1.0, 3.0, [1.0, 2.0, 3.0, 3.0]),
        (0.5, 0.5, [0.5, 0.5]),
        (0.0, 8.0, [0.0, 0.0, 0.0]),
        (3, 100, [3, 6, 12, 24, 48, 96, 100]),
    ],
)
def test_base_and_bound_are_those_of_the_options(base, most, waits):
    options = RetryOptions(base_delay=base, max_delay=most)
    assert [backoff_delay(attempt, options, longest) for attempt in range(1, len(waits) + 1)] == waits


@pytest.mark.parametrize("base", [0.0, 0.25])
def test_the_two_thousandth_wait_is_as_good_as_any(base):
    assert backoff_delay(2000, RetryOptions(base_delay=base), longest) == min(8.0, base * math.inf if base else 0.0)


@given(st.integers(1, 12))
def test_without_a_jitter_of_one_s_own_the_wait_is_anything_up_to_the_longest(attempt):
    waits = [backoff_delay(attempt, RetryOptions()) for _ in range(20)]
    assert all(0 <= wait <= min(8.0, 0.25 * 2 ** (attempt - 1)) for wait in waits)
    assert len(set(waits)) > 1, "twenty equal draws are no jitter"


@pytest.mark.parametrize(
    ("retry_after", "delay"),
    [(None, 0.125), (0.0, 0.125), (0.1, 0.125), (3.0, 3.0)],
)
def test_retry_after_is_a_floor_and_is_not_jittered(retry_after, delay):
    error = ServiceError("x", status=503, retry_after=retry_after)
    assert decided(error, jitter=half) == Again(delay)


def test_the_attempts_are_bounded_before_retry_after_is_looked_at():
    error = ServiceError("x", status=503, retry_after=1000.0)
    assert decided(error, attempts=6) == GiveUp("gave up after 6 attempts")


# A full pool


@pytest.mark.parametrize(("throttled", "seconds"), [(1, 0.25), (2, 0.5), (6, 8.0), (100, 8.0)])
@pytest.mark.parametrize("status", [429, 403, 503])
def test_a_full_pool_makes_room_and_costs_no_attempt(throttled, seconds, status):
    error = RateLimitError("x", status=status, code=contract.POOL_FULL)
    assert decided(error, attempts=99, throttled=throttled) == MakeRoom(seconds)


@pytest.mark.parametrize("drawn", [0.0, 0.4, 1.0])
def test_it_waits_at_least_half_of_the_longest_wait(drawn):
    error = RateLimitError("x", status=429, code=contract.POOL_FULL)
    decision = decided(error, throttled=4, jitter=lambda most: most * drawn)
    assert decision == MakeRoom(max(drawn, 0.5) * 2.0)


def test_its_retry_after_is_a_floor():
    error = RateLimitError("x", status=429, code=contract.POOL_FULL, retry_after=5.0)
    assert decided(error, throttled=1) == MakeRoom(5.0)


def test_it_is_bounded_as_the_other_429s_are():
    error = RateLimitError("x", status=429, code=contract.POOL_FULL)
    decision = decided(error, throttled=4, throttled_for=7.0, max_throttled=3)
    assert isinstance(decision, GiveUp)
    assert "met 4 of them in 7.0 s" in decision.reason


# A refused connection


REFUSED = ConnectionFailedError("x", refused=True)


@pytest.mark.parametrize(("refused", "delay"), [(1, 0.25), (3, 1.0), (50, 8.0)])
@pytest.mark.parametrize("attempts", [0, 5])
def test_a_refused_connection_is_free_whatever_was_sent_before(refused, delay, attempts):
    expected = Again(backoff_delay(attempts + refused, RetryOptions(), longest), free=True)
    assert decided(REFUSED, attempts=attempts, refused=refused, elapsed=50.0) == expected
    assert attempts or expected.delay == delay


def test_it_is_bounded_by_max_elapsed():
    decision = decided(REFUSED, attempts=0, refused=40, elapsed=114.0)
    assert isinstance(decision, GiveUp)
    assert "gave up after 40 refused connections in 114.0 s" in decision.reason
    assert "due in 8.0 s" in decision.reason
    assert "max_elapsed = 120" in decision.reason
    assert decided(REFUSED, attempts=0, refused=40, elapsed=112.0) == Again(8.0, free=True)
    assert decided(REFUSED, attempts=0, refused=40, elapsed=1e6, max_elapsed=None) == Again(8.0, free=True)


def test_without_a_clock_it_costs_an_attempt_because_nothing_else_would_bound_it():
    assert decided(REFUSED, attempts=1) == Again(0.25)
    assert decided(REFUSED, attempts=6) == GiveUp("gave up after 6 attempts")


def test_who_wants_one_attempt_gets_no_free_one():
    assert decided(REFUSED, attempts=0, refused=1, elapsed=0.0, max_attempts=1) == GiveUp(None)


@pytest.mark.parametrize("refused", [False, True])
def test_a_certificate_is_never_tried_again(refused):
    assert decided(CertificateError("x", refused=refused), elapsed=0.0) == GiveUp(None)


# Time


@pytest.mark.parametrize("error", RETRIED, ids=name_of)
def test_max_elapsed_bounds_every_retry(error):
    assert decided(error, attempts=2, elapsed=9.5, max_elapsed=10) == Again(0.5)
    decision = decided(error, attempts=2, elapsed=9.6, max_elapsed=10)
    assert isinstance(decision, GiveUp)
    assert "gave up after 2 attempts in 9.6 s" in decision.reason
    assert decided(error, attempts=2, elapsed=9.6, max_elapsed=None) == Again(0.5)


def test_a_retry_after_that_ends_too_late_gives_up_at_once():
    error = ServiceError("x", status=503, retry_after=30.0)
    assert isinstance(decided(error, elapsed=0.0, max_elapsed=29), GiveUp)
    assert decided(error, elapsed=0.0, max_elapsed=30) == Again(30.0)


# Crowding

CROWDING = [
    RateLimitError("x", status=429, code=contract.POOL_FULL),
    ServiceError("x", status=503),
    ServiceError("x", status=504),
    RequestTimeoutError("x"),
]
NOT_CROWDING = [
    RateLimitError("x", status=429),
    RateLimitError("x", status=503, code=contract.RATE_LIMITED),
    ServiceError("x", status=500),
    ServiceError("x", status=502),
    ConnectionFailedError("x"),
    REFUSED,
    DecodeError("x"),
    QuotaExceededError("x", status=503, code=contract.QUOTA_REACHED),
    DeadlineExceededError("x"),
    BadRequestError("x", status=408),
]


@pytest.mark.parametrize("error", CROWDING, ids=name_of)
def test_what_says_that_the_service_is_full(error):
    assert crowds(error)


@pytest.mark.parametrize("error", NOT_CROWDING, ids=name_of)
def test_what_says_nothing_of_that_kind(error):
    assert not crowds(error)


# Anything


@given(
    st.sampled_from([*RETRIED, *FINAL, REFUSED, *CROWDING, *NOT_CROWDING, AuthenticationError("x", status=401)]),
    st.integers(0, 10),
    st.integers(1, 150),
    st.integers(0, 50),
    st.one_of(st.none(), st.floats(0, 200)),
    st.booleans(),
)
def test_no_decision_is_over_its_bounds(error, attempts, throttled, refused, elapsed, renewed):
    options = RetryOptions()
    decision = decided(
        error, attempts=attempts, throttled=throttled, refused=refused, elapsed=elapsed, renewed=renewed, jitter=half
    )
    if isinstance(decision, Again):
        assert 0 <= decision.delay <= options.max_delay
        assert decision.free or attempts < options.max_attempts
        assert elapsed is None or elapsed + decision.delay <= options.max_elapsed
        assert not decision.free or elapsed is not None
    elif isinstance(decision, Pause | MakeRoom):
        assert throttled <= options.max_throttled
    elif isinstance(decision, NewToken):
        assert not renewed


@pytest.mark.parametrize(
    ("error", "holds"),
    [
        (RateLimitError("x", status=429), True),
        (RateLimitError("x", status=429, retry_after=0.0), True),
        (RateLimitError("x", status=429, retry_after=60.0), True),
        (RateLimitError("x", status=429, retry_after=60.1), False),
        (RateLimitError("x", status=429, retry_after=86_400.0), False),
        (RateLimitError("x", status=429, code=contract.POOL_FULL), False),
        (QuotaExceededError("x", status=429), False),
        (ServiceError("x", status=503, retry_after=1.0), False),
        (ConnectionFailedError("x"), False),
    ],
    ids=["no time", "none", "the most", "over the most", "a day", "pool", "quota", "503", "reset"],
)
def test_what_holds_every_request_of_the_client(error, holds):
    assert throttles(error, RetryOptions(max_retry_after=60.0)) is holds
