"""Parameters: every value that cannot be right is refused with its name, and nothing else is."""

import attrs
import pytest
from support.odd import ODD
from support.tracebacks import python_s_own

from rerank_async import errors
from rerank_async.errors import InvalidArgumentError, InvalidTypeError
from rerank_async.values.parameters import Crypto, RerankParameters, ReturnOptions, as_crypto, as_parameters

NAN = float("nan")
WRONG_TYPE = [True, False, 1.0, NAN, float("inf"), "1", b"1", [1], (1,), {}, ODD]
WRONG_VALUE = [0, -1, -(10**30)]


@pytest.mark.parametrize("value", WRONG_TYPE, ids=repr)
@pytest.mark.parametrize(("kind", "name"), [(RerankParameters, "truncate_input_tokens"), (ReturnOptions, "top_n")])
def test_only_an_int_is_a_count(kind, name, value):
    with pytest.raises(InvalidTypeError, match=f"{name} must be an int, not {type(value).__name__}") as raised:
        kind(**{name: value})
    assert raised.value.argument == name


@pytest.mark.parametrize("value", WRONG_VALUE, ids=repr)
@pytest.mark.parametrize(("kind", "name"), [(RerankParameters, "truncate_input_tokens"), (ReturnOptions, "top_n")])
def test_a_count_is_at_least_one(kind, name, value):
    with pytest.raises(InvalidArgumentError, match=f"{name} must be at least 1, not {value}") as raised:
        kind(**{name: value})
    assert not isinstance(raised.value, TypeError)


@pytest.mark.parametrize("value", [1, 2, 512, 10**30])
def test_a_count_of_one_or_more_is_taken_as_it_is(value):
    assert RerankParameters(truncate_input_tokens=value).truncate_input_tokens == value
    assert ReturnOptions(top_n=value).top_n == value


@pytest.mark.parametrize("value", [0, 1, "yes", "true", [], NAN], ids=repr)
@pytest.mark.parametrize("name", ["inputs", "query"])
def test_only_a_bool_is_a_flag(name, value):
    with pytest.raises(InvalidTypeError, match=f"{name} must be True or False"):
        ReturnOptions(**{name: value})


@pytest.mark.parametrize("value", [1, "x", [("top_n", 1)], RerankParameters()], ids=lambda value: type(value).__name__)
def test_return_options_is_an_object_or_a_dict(value):
    with pytest.raises(InvalidTypeError, match="return_options must be a ReturnOptions or a dict"):
        RerankParameters(return_options=value)


def test_a_dict_becomes_the_object_at_both_levels():
    given = as_parameters({"truncate_input_tokens": 5, "return_options": {"top_n": 2, "inputs": True, "query": False}})
    assert given == RerankParameters(
        truncate_input_tokens=5, return_options=ReturnOptions(top_n=2, inputs=True, query=False)
    )


def test_an_object_is_taken_as_it_is_and_none_is_no_wish():
    given = RerankParameters(truncate_input_tokens=5)
    assert as_parameters(given) is given
    assert as_parameters(None) == RerankParameters() == as_parameters({})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"truncate_input_token": 5},
            ["params: unknown name 'truncate_input_token'", "did you mean 'truncate_input_tokens'?"],
        ),
        (
            {"return_options": {"topn": 5}},
            ["params.return_options: unknown name 'topn'", "did you mean 'top_n'?", "extra_body="],
        ),
        ({"zzz": 5}, ["unknown name 'zzz'", "Known: return_options, truncate_input_tokens"]),
        ({1: 5}, ["unknown name 1"]),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_known_one(given, words):
    with pytest.raises(InvalidArgumentError) as raised:
        as_parameters(given)
    for each in words:
        assert each in str(raised.value)


def test_a_name_far_from_every_known_one_gets_no_suggestion():
    with pytest.raises(InvalidArgumentError) as raised:
        as_parameters({"zzz": 1})
    assert "did you mean" not in str(raised.value)


@pytest.mark.parametrize("given", [1, "x", [], [("top_n", 1)], ReturnOptions()], ids=lambda value: type(value).__name__)
def test_params_are_an_object_or_a_dict(given):
    with pytest.raises(InvalidTypeError, match="params must be a RerankParameters or a dict") as raised:
        as_parameters(given)
    assert raised.value.argument == "params"


@pytest.mark.parametrize(
    ("given", "kind", "words"),
    [
        ({}, InvalidArgumentError, "'key_ref' is missing"),
        ({"key": "crn"}, InvalidArgumentError, "'key_ref' is missing"),
        ({"key_ref": "crn", "keyref": 1}, InvalidArgumentError, "unknown name 'keyref'; did you mean 'key_ref'"),
        ({"key_ref": ""}, InvalidArgumentError, "empty"),
        ({"key_ref": None}, InvalidTypeError, "must be a str, not NoneType"),
        ({"key_ref": 7}, InvalidTypeError, "must be a str, not int"),
        ("crn", InvalidTypeError, "must be a Crypto or a dict, not str"),
        (True, InvalidTypeError, "must be a Crypto or a dict, not bool"),
    ],
)
def test_crypto_that_cannot_be_right_is_refused(given, kind, words):
    with pytest.raises(kind, match=words) as raised:
        as_crypto(given)
    assert raised.value.argument == "crypto"


def test_crypto_as_object_dict_and_none():
    assert as_crypto({"key_ref": "crn:v1"}) == Crypto("crn:v1") == as_crypto(Crypto(key_ref="crn:v1"))
    assert as_crypto(None) is None


@pytest.mark.parametrize(
    "value", [RerankParameters(), ReturnOptions(), Crypto("x")], ids=lambda value: type(value).__name__
)
def test_the_values_are_frozen_and_take_no_new_names(value):
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(value, attrs.fields(type(value))[0].name, 1)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        value.anything = 1


@pytest.mark.parametrize(
    "given",
    [
        {"return_options": {"topn": 5}},
        {"return_options": {"top_n": 0}},
        {"return_options": 3},
        {"truncate_input_tokens": 0},
    ],
    ids=str,
)
def test_a_failing_construction_can_be_shown_with_its_locals(given):
    with pytest.raises(errors.InvalidArgumentError) as raised:
        as_parameters(given)
    assert str(raised.value) in python_s_own(raised.value)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"top_n": 2}, '{"return_options": {"top_n": 2}}'),
        ({"inputs": True}, '{"return_options": {"inputs": True}}'),
        ({"query": "a made-up text"}, '{"return_options": {"query": ...}}'),
    ],
)
def test_an_option_of_the_answer_that_stands_too_high_is_shown_its_place(params, words):
    with pytest.raises(InvalidArgumentError) as caught:
        as_parameters(params)
    assert words in str(caught.value)
    assert "extra_body" not in str(caught.value)
    assert "made-up" not in str(caught.value)
