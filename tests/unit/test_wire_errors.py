"""Bad statuses to classes and messages: by code first, then by status, whatever the body is."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.bodies import as_bytes, exchange_of, wire, wire_files
from support.codecs import NAMES, use_codec

from rerank_async.errors import (
    AuthenticationError,
    BadRequestError,
    InputTooLongError,
    ModelNotSupportedError,
    PermissionDeniedError,
    QuotaExceededError,
    RateLimitError,
    RedirectError,
    RequestTooLargeError,
    ServiceError,
    StatusError,
)
from rerank_async.policy.wire_errors import error_of, retry_after_of, trace_of
from rerank_async.values import contract

URL = "https://us-south.ml.cloud.ibm.com/ml/v1/text/rerank"


@pytest.fixture(params=NAMES, autouse=True, scope="module")
def _codec(request):
    with use_codec(request.param):
        yield


def error(status, body=b"", headers=None):
    return error_of(status, headers or {}, as_bytes(body) if not isinstance(body, bytes) else body, URL)


def coded(code, message="Words of the service."):
    return {"errors": [{"code": code, "message": message}], "trace": "f00"}


# Recorded errors

RECORDED = {
    "error_400_code_message_description": (BadRequestError, "made_up_tool_code"),
    "error_400_invalid_request_entity": (BadRequestError, "invalid_request_entity"),
    "error_400_model_no_function": (ModelNotSupportedError, "model_no_support_for_function"),
    "error_400_over_length": (InputTooLongError, "invalid_input_argument"),
    "error_400_too_many_inputs": (RequestTooLargeError, "invalid_input_argument"),
    "error_400_without_trace": (BadRequestError, "json_type_error"),
    "error_401_token_expired": (AuthenticationError, "authentication_token_expired"),
    "error_401_token_not_valid": (AuthenticationError, "authentication_token_not_valid"),
    "error_403_authorization_rejected": (PermissionDeniedError, "authorization_rejected"),
    "error_403_no_instance": (PermissionDeniedError, "no_associated_service_instance"),
    "error_403_token_quota": (QuotaExceededError, "token_quota_reached"),
    "error_404_model_not_supported": (ModelNotSupportedError, "model_not_supported"),
    "error_413_too_large": (RequestTooLargeError, "request_entity_too_large"),
    "error_429_pool_full": (RateLimitError, "consumption_limit_reached"),
    "error_429_rate_2": (RateLimitError, "rate_limit_reached_requests"),
    "error_429_rate_8": (RateLimitError, "rate_limit_reached_requests"),
    "error_429_retry_after": (RateLimitError, "rate_limit_reached_requests"),
    "error_429_token_quota": (QuotaExceededError, "token_quota_reached"),
    "error_500_downstream": (ServiceError, "downstream_request_failed"),
    "error_500_gateway": (ServiceError, "made_up_gateway_code"),
    "error_502_html": (ServiceError, None),
    "error_503_empty": (ServiceError, None),
}


def test_every_recorded_error_is_in_the_table():
    assert set(RECORDED) == set(wire_files("error"))


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_error_has_the_class_and_says_what_the_body_said(name):
    kind, code = RECORDED[name]
    given_error = wire(name)
    found = error_of(*exchange_of(name), URL)
    assert type(found) is kind
    assert (found.status, found.code, found.url) == (given_error["status"], code, URL)
    body = given_error["body"] if isinstance(given_error["body"], dict) else {}
    assert found.trace == body.get("trace")
    assert str(found).startswith(f"{URL} answered {found.status}")
    for words in re.findall(r"'message': [\"'](.*?)[\"'][,}]", str(body)):
        assert words.rstrip(".") in str(found), "all of it but its full stop, so that what follows reads on"
    assert not re.search(r"\.\.|\.\s*\[|\.$", str(found)), "no stop is doubled, none hangs"
    assert (f"[trace {found.trace}]" in str(found)) == (found.trace is not None)
    assert found.retry_after == (2.0 if name == "error_429_retry_after" else None)


@pytest.mark.parametrize(
    ("name", "check"),
    [
        ("error_400_over_length", "truncate_input_tokens"),
        ("error_400_model_no_function", "model_specs()"),
        ("error_404_model_not_supported", "model_id"),
        ("error_401_token_expired", "API key or token"),
        ("error_403_authorization_rejected", "project_id / space_id"),
        ("error_403_no_instance", "Runtime"),
        ("error_403_token_quota", "another plan"),
    ],
)
def test_the_message_says_what_to_check(name, check):
    assert check in str(error_of(*exchange_of(name), URL))


# Code first, then status


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 429, 500, 503])
@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (contract.RATE_LIMITED, RateLimitError),
        (contract.POOL_FULL, RateLimitError),
        (contract.QUOTA_REACHED, QuotaExceededError),
        (contract.TOKEN_EXPIRED, AuthenticationError),
        (contract.TOKEN_NOT_VALID, AuthenticationError),
        (contract.NOT_AUTHORIZED, PermissionDeniedError),
        (contract.USER_NOT_AUTHORIZED, PermissionDeniedError),
        (contract.NO_INSTANCE, PermissionDeniedError),
        (contract.MODEL_NOT_SUPPORTED, ModelNotSupportedError),
        (contract.MODEL_NO_FUNCTION, ModelNotSupportedError),
        (contract.BACKEND_FAILED, ServiceError),
    ],
)
def test_a_known_code_decides_whatever_the_status(code, kind, status):
    found = error(status, coded(code))
    assert type(found) is kind
    assert (found.status, found.code, found.trace) == (status, code, "f00")


BY_STATUS = [
    (400, BadRequestError),
    (401, AuthenticationError),
    (402, BadRequestError),
    (403, PermissionDeniedError),
    (404, BadRequestError),
    (405, BadRequestError),
    (408, BadRequestError),
    (413, RequestTooLargeError),
    (422, BadRequestError),
    (425, BadRequestError),
    (429, RateLimitError),
    (500, ServiceError),
    (502, ServiceError),
    (503, ServiceError),
    (504, ServiceError),
    (520, ServiceError),
    (524, ServiceError),
    (599, ServiceError),
    (301, RedirectError),
    (302, RedirectError),
    (304, RedirectError),
    (307, RedirectError),
    (308, RedirectError),
    (201, StatusError),
    (204, StatusError),
    (999, StatusError),
]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>Oops</html>",
        b"{}",
        b"[]",
        b"null",
        b"5",
        b'"x"',
        b'{"errors":[]}',
        b'{"errors":"x"}',
        b'{"errors":[null]}',
        b"\xff\x00",
        as_bytes(coded("made_up_code")),
    ],
    ids=lambda body: repr(body[:16]),
)
@pytest.mark.parametrize(("status", "kind"), BY_STATUS)
def test_without_a_known_code_the_status_decides_whatever_the_body(status, kind, body):
    found = error(status, body)
    assert type(found) is kind
    assert found.status == status
    assert URL in str(found)
    assert str(status) in str(found)


def test_a_body_nested_deeper_than_any_parser_goes_is_described_like_any_other():
    assert type(error(502, b"[" * 100_000)) is ServiceError


# Other shapes of bodies


@pytest.mark.parametrize(
    ("body", "code", "words", "trace"),
    [
        (
            {"errorCode": "BXNIM0415E", "errorMessage": "No such key.", "context": {"requestId": "r1"}},
            "BXNIM0415E",
            f"{URL} answered 400 BXNIM0415E: No such key [trace r1]",
            "r1",
        ),
        ({"errorCode": "X", "context": "odd"}, "X", None, None),
        ({"code": "c", "message": "m", "description": "d"}, "c", "m", None),
        ({"code": "c", "description": "d"}, "c", "d", None),
        ({"code": 5, "message": "m"}, None, "m", None),
        ({"error": {"code": "c", "message": "m"}, "trace": "t"}, "c", "m", "t"),
        ({"error": "plain words"}, None, "plain words", None),
        ({"errors": [{"message": "m"}], "trace": 5}, None, "m", None),
        ({"errors": [{"code": "first"}, {"code": "second"}]}, "first", None, None),
    ],
)
def test_shapes_of_other_services(body, code, words, trace):
    found = error(400, body)
    assert (found.code, found.trace) == (code, trace)
    assert (words or "not the service's JSON") in str(found)


@pytest.mark.parametrize(
    ("body", "headers", "words"),
    [
        (b"", {}, "an empty body"),
        (
            b"<html>secret page</html>",
            {"content-type": "text/html; charset=utf-8"},
            "not the service's JSON (text/html, 24 bytes)",
        ),
        (b"oops", {}, "not the service's JSON (no content type, 4 bytes)"),
    ],
)
def test_a_body_without_words_is_described_and_not_shown(body, headers, words):
    found = error(502, body, headers)
    assert words in str(found)
    assert "secret page" not in str(found)


def test_a_redirect_names_its_target_and_says_that_it_is_not_followed():
    found = error(302, b"", {"location": "https://elsewhere.example/login"})
    assert "https://elsewhere.example/login" in str(found)
    assert "not followed" in str(found)
    assert "nowhere" in str(error(302))
    repeated = str(error(307, b"", {"location": "https://elsewhere.example/token?apikey=made-up"}))
    assert "https://elsewhere.example/token" in repeated
    assert "made-up" not in repeated


@pytest.mark.parametrize(
    ("headers", "data", "trace"),
    [
        ({}, None, None),
        ({}, {"trace": "b"}, "b"),
        ({"x-global-transaction-id": "g"}, {"trace": "b"}, "b"),
        ({"x-global-transaction-id": "g", "x-request-id": "r"}, {"trace": ""}, "g"),
        ({"x-global-transaction-id": "", "x-request-id": "r"}, None, "r"),
        ({"x-request-id": "r"}, {"trace": 5}, "r"),
    ],
)
def test_the_trace_comes_from_the_body_and_else_from_a_header(headers, data, trace):
    assert trace_of(headers, data) == trace


# Retry-After

DATE = "Fri, 01 Jan 2027 00:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": " 3 "}, 3.0),
        ({"retry-after": "86400"}, 86400.0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "-inf"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "1e999"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "2 seconds"}, None),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after-ms": "-5"}, None),
        # Nonsense in the rarer header does not hide what the standard one says.
        ({"retry-after-ms": "soon", "retry-after": "2"}, 2.0),
        ({"retry-after-ms": "", "retry-after": "2"}, 2.0),
        # Dates are compared with the answer's own Date.
        ({"retry-after": "Fri, 01 Jan 2027 00:00:05 GMT", "date": DATE}, 5.0),
        ({"retry-after": "Fri, 01 Jan 2027 01:00:05 +0100", "date": DATE}, 5.0),
        ({"retry-after": "Fri, 01 Jan 2027 00:00:05 -0000", "date": DATE}, 5.0),
        ({"retry-after": "Friday, 01-Jan-27 00:01:00 GMT", "date": DATE}, 60.0),
        ({"retry-after": "Thu, 31 Dec 2026 23:59:59 GMT", "date": DATE}, 0.0),
        ({"retry-after": DATE, "date": DATE}, 0.0),
        ({"retry-after": DATE}, None),
        ({"retry-after": DATE, "date": "today"}, None),
        ({"retry-after": "Fri, 99 Jan 2027 00:00:05 GMT", "date": DATE}, None),
        ({"retry-after": "Fri, 01 Jan 99999 00:00:05 GMT", "date": DATE}, None),
    ],
    ids=str,
)
def test_retry_after(headers, seconds):
    assert retry_after_of(headers) == seconds


@given(st.text(max_size=30), st.none() | st.text(max_size=30))
def test_no_header_is_an_exception_or_a_number_that_cannot_be_waited_for(value, date):
    for name in ("retry-after", "retry-after-ms"):
        seconds = retry_after_of({name: value} | ({} if date is None else {"date": date}))
        assert seconds is None or 0 <= seconds < float("inf")


@pytest.mark.parametrize("status", [429, 503, 500, 403])
def test_the_error_carries_retry_after_whatever_its_class(status):
    assert error(status, b"", {"retry-after": "2.5"}).retry_after == 2.5
    assert error(status).retry_after is None
