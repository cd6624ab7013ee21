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
    PermissionDeniedError,
    ProxyError,
    QuotaExceededError,
    RateLimitError,
    RedirectError,
    RequestTimeoutError,
    ServiceError,
    StatusError,
)
from rerank_async.policy.retrying import Again, GiveUp, NewToken, Pause, backoff_delay, decide
from rerank_async.values import contract
from rerank_async.values.options import RetryOptions


def longest(seconds):
    return seconds


def half(seconds):
    return seconds / 2


def decided(error, *, attempts=1, throttled=0, renewed=False, jitter=longest, **options):
    return decide(
        error, attempts=attempts, throttled=throttled, renewed=renewed, options=RetryOptions(**options), jitter=jitter
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
    decision = decided(RateLimitError("x", status=429), throttled=throttled, max_throttled=most)
    if paused:
        assert decision == Pause(None)
    else:
        assert isinstance(decision, GiveUp)
        assert f"met {throttled} of them" in decision.reason
        assert "max_throttled" in decision.reason


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
        (1.0, 0.5, [0.5, 0.5]),
        (0.0, 8.0, [0.0, 0.0, 0.0]),
        (1.0, 0.0, [0.0, 0.0]),
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
