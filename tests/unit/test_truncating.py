"""Cutting and sending again: the number of tokens, which texts were longer, and the warning."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_async import RerankModels
from rerank_async.errors import InputTooLongError
from rerank_async.policy.truncating import cut_for_certain, truncated_warning, truncation_of

LIVE = "Token sequence length is longer than the specified maximum sequence length for this model (1336 > 512)."


def too_long(message):
    return InputTooLongError(message, status=400, code="invalid_input_argument")


@pytest.mark.parametrize(
    ("model_id", "message", "asked", "tokens"),
    [
        ("any/model", LIVE, None, 512),
        ("any/model", LIVE, 600, 512),
        ("any/model", LIVE, 512, None),  # it was cut to that, and refused
        ("any/model", "too many tokens", None, None),
        (RerankModels.ALL_MINILM_L12_V2, "too many tokens", None, 128),
        ("Sentence-Transformers/all-MiniLM-L6-v2", "too many tokens", None, 256),
        (RerankModels.MS_MARCO_MINILM_L_12_V2, "too many tokens", None, 512),
        (RerankModels.ALL_MINILM_L12_V2, LIVE, None, 512),  # the service knows better
        (RerankModels.MS_MARCO_MINILM_L_12_V2, "too many tokens", 256, None),
    ],
)
def test_the_number_of_the_second_request(model_id, message, asked, tokens):
    assert truncation_of(model_id, too_long(message), asked) == tokens


def test_more_words_than_tokens_are_longer_for_certain():
    texts = ["word " * 20, "short", "word " * 10, "word " * 11, "x" * 400, "- " * 300]
    assert cut_for_certain(texts, "q", 10) == (0, 3)


def test_the_only_text_that_can_be_longer_is_the_one():
    assert cut_for_certain(["x" * 600, "short", "short"], "q", 512) == (0,)
    assert cut_for_certain(["x" * 600, "y" * 600, "short"], "q", 512) == ()
    # With a query of 300 bytes, both may be over 512.
    assert cut_for_certain(["x" * 600, "y" * 300], "q" * 300, 512) == ()
    assert cut_for_certain(["é" * 300, "y" * 300], "q", 512) == (0,)


def test_a_text_that_was_refused_alone_is_the_one():
    assert cut_for_certain(["short"], "q", 512) == (0,)


@given(st.lists(st.text(max_size=80), max_size=10), st.text(max_size=20), st.integers(1, 50))
def test_places_are_ascending_and_none_is_named_that_has_fewer_characters_than_tokens(texts, query, tokens):
    places = cut_for_certain(texts, query, tokens)
    assert list(places) == sorted(set(places))
    assert all(0 <= place < len(texts) for place in places)
    if len(places) > 1:
        assert all(len(texts[place]) > tokens for place in places)


def test_the_warning_names_what_is_known():
    warning = truncated_warning([3, 17], 1000, 512)
    assert warning.id == "rerank_async_truncated"
    assert "inputs 3, 17 were longer" in warning.message
    assert "truncate_input_tokens=512" in warning.message
    assert warning.additional_properties == {"truncate_input_tokens": 512, "inputs": 1000, "indices": [3, 17]}


def test_the_warning_says_so_where_nothing_is_known_and_stays_short():
    assert "cannot be told" in truncated_warning([], 1000, 512).message
    many = truncated_warning(range(500), 1000, 512)
    assert "8, 9, ... were longer" in many.message
    assert many.additional_properties["indices"] == list(range(500))


@pytest.mark.parametrize("letter", ["-", ".", "\u2500", "- "])
def test_a_text_without_words_is_read_once_only(letter):
    """Tried at each of its places, it would take longer than a test may."""
    assert cut_for_certain([letter * 300_000, "word " * 11], "q", 10) == (1,)
