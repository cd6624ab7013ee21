"""The words of refusals: about a length, about a number, or about something else; and the limit that they name."""

import pytest
from support.bodies import as_bytes, exchange_of

from rerank_async.errors import BadRequestError, InputTooLongError, RequestTooLargeError, ServiceError
from rerank_async.policy.refusals import stated_count, stated_length
from rerank_async.policy.wire_errors import error_of
from rerank_async.values import contract

URL = "https://h.example:900/v1/600"
NAMED = "Invalid input argument for Model 'cross-encoder/ms-marco-minilm-l-12-v2': "
"""How the service's messages begin, with numbers that are none of the limit's."""
LIVE = "Token sequence length is longer than the specified maximum sequence length for this model (1336 > 512)."


def refusal(message, code=contract.INVALID_ARGUMENT, status=400):
    return error_of(status, {}, as_bytes({"errors": [{"code": code, "message": message}], "trace": "4096"}), URL)


@pytest.mark.parametrize(
    ("message", "most"),
    [
        (LIVE, 512),
        ("the sequence length is longer ( 700>256 )", 256),
        ("the number of input tokens 1336 cannot exceed the total tokens limit 512 for this model", 512),
        ("This model's maximum context length is 256 tokens. However, you requested 1336 tokens", 256),
        ("Input validation error: `inputs` must have less than 512 tokens. Given: 600", 511),
        ("Input text has 1336 tokens, limit is 512", 512),
        ("Number of tokens (1336) > 512", 512),
        ("too many tokens, at most 1,024", 1024),
        ("too many tokens: the input is too long", None),
        ("The SEQUENCE LENGTH is over", None),
        ("The input is longer than the 512 tokens that the model reads", 512),
        ("Number of tokens exceeds the limit of the model", None),
        ("Tokens of a text exceed what the model reads (731 > 512 ), and truncate_input_tokens was not given", 512),
        ("too many tokens: at most 10 texts of at most 512 tokens", None),
        ("sequence length (512 > 1336)", None),
        ("sequence length (5 > 0)", None),
        ("sequence length (99999999999999999999 > 512)", 512),
    ],
)
@pytest.mark.parametrize("beginning", ["", NAMED])
@pytest.mark.parametrize(
    ("status", "code"), [(400, contract.INVALID_ARGUMENT), (400, None), (413, None), (422, "other")]
)
def test_words_about_length_and_the_tokens_they_name(beginning, message, most, status, code):
    error = refusal(beginning + message, code, status)
    assert type(error) is InputTooLongError
    assert stated_length(error) == most


@pytest.mark.parametrize(
    "message",
    [
        "truncate_input_tokens must be positive",
        "truncate_input_tokens is longer than the maximum of 512 tokens",
        "parameter 'truncate_input_tokens' is greater than the maximum sequence length for this model (1000 > 512)",
        "Input sequence length must be greater than 0",
        "Number of tokens must not be less than 1",
        "Authorization token is too long",
        "stop token list: at most 4 tokens",
        "The maximum number of tokens per minute was exceeded",
        "The model is unknown",
        "",
        "A long query",
        "This token belongs to another region",
        "The field 'inputs[3].text' exceeds the maximum length of 10000 characters",
        "top_n is larger than the number of inputs",
        "top_n exceeds the maximum number of inputs",
        "The inputs are not valid UTF-8",
        "inputs must not be empty",
    ],
)
@pytest.mark.parametrize("beginning", ["", NAMED])
def test_other_words_about_an_argument_are_about_neither(beginning, message):
    assert type(refusal(beginning + message)) is BadRequestError


@pytest.mark.parametrize("code", [contract.INVALID_REQUEST, contract.JSON_TYPE, contract.JSON_VALIDATION])
def test_a_body_of_the_wrong_form_is_about_no_length_whatever_its_words(code):
    assert type(refusal(LIVE, code)) is BadRequestError


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500])
def test_words_about_length_with_another_status_are_not(status):
    assert not isinstance(refusal(LIVE, None, status), InputTooLongError)


@pytest.mark.parametrize(
    ("message", "most"),
    [
        ("The field 'inputs' holds 1000 inputs, more than the maximum of 500", 500),
        ("too many inputs: at most 250 inputs are allowed", 250),
        ("Too many inputs", None),
        ("too many inputs.", None),
        ("too many inputs (1200)", None),
        ("too many passages: got 999", None),
        ("too many items in the list", None),
        ("Too many input texts", None),
        ("too many documents", None),
        ("number of inputs (1000) exceeds 64.", 64),
        ("number of inputs exceeds the maximum of 5000", None),
        ("The number of inputs 1,000 exceeds maximum 500", 500),
        ("exceeds the maximum number of inputs", None),
        ("Exceeded maximum number of inputs allowed (500)", 500),
        ("batch size 1000 > maximum allowed batch size 32", 32),
        ("inputs must contain at most 500 items", 500),
        ("inputs must not contain more than 500 items", 500),
        ("A request takes up to 500 passages", 500),
        ("The number of inputs must be less than 500", 499),
        ("too many inputs for model v2 after 1.5 seconds", None),
        ("too many inputs for granite-3-2-8b-rerank, at most 100", 100),
    ],
)
@pytest.mark.parametrize("beginning", ["", NAMED])
@pytest.mark.parametrize("code", [contract.INVALID_ARGUMENT, contract.INVALID_REQUEST, "made_up_code"])
def test_words_about_the_number_of_inputs_and_the_number_they_name(beginning, message, most, code):
    error = refusal(beginning + message, code)
    assert type(error) is RequestTooLargeError
    assert stated_count(error, 1000) == most
    assert type(refusal(message, code, 500)) is ServiceError


def test_the_numbers_of_recorded_refusals():
    assert stated_length(error_of(*exchange_of("error_400_over_length"), URL)) == 512
    assert stated_count(error_of(*exchange_of("error_400_too_many_inputs"), URL), 1000) == 500


@pytest.mark.parametrize("echoed", ["token ", "tokens ", "1000 inputs ", "> ", "limit ", "a/"])
def test_a_refusal_that_repeats_what_was_sent_is_read_in_no_more_than_its_length(echoed):
    """Looked at as a whole, it would take longer than a test may."""
    error = refusal(echoed * 300_000)
    assert (stated_length(error), stated_count(error, 900)) == (None, None)
