"""A secret shows itself in no way but `reveal`."""

import copy
import pickle

import pytest

from rerank_async.values.secret import Sealed, Secret

WORD = "correct-horse"


@pytest.mark.parametrize(
    "show",
    [
        repr,
        str,
        "{}".format,
        "{!r}".format,
        "%s".__mod__,
        "%r".__mod__,
        lambda s: f"{s}",
        lambda s: f"{[s]} { ({'k': s}) }",
    ],
)
def test_no_way_of_printing_shows_it(show):
    shown = show(Secret(WORD))
    assert WORD not in shown
    assert "***" in shown


def test_neither_its_length_nor_its_emptiness_shows():
    assert repr(Secret("")) == repr(Secret("x" * 99)) == "Secret('***')"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_it_does_not_pickle_and_says_what_to_do(protocol):
    with pytest.raises(TypeError, match="environment") as raised:
        pickle.dumps(Secret(WORD), protocol)
    assert WORD not in str(raised.value)


def test_a_deep_copy_does_not_get_around_that():
    with pytest.raises(TypeError, match="does not pickle"):
        copy.deepcopy(Secret(WORD))


def test_reveal_is_the_value_and_equality_goes_by_it():
    assert Secret(WORD).reveal() == WORD
    assert Secret(WORD) == Secret(WORD)
    assert Secret(WORD) != Secret("other")
    assert Secret(WORD) != WORD
    assert hash(Secret(WORD)) == hash(Secret(WORD))
    assert hash(Secret(WORD)) != hash(WORD)


def test_a_secret_is_true_if_it_holds_anything():
    assert Secret("x")
    assert not Secret("")


@pytest.mark.parametrize("value", [None, 1, 1.5, True, ["x"]])
def test_of_wraps_a_str_and_passes_the_rest_on(value):
    assert Secret.of(value) is value
    wrapped = Secret.of(WORD)
    assert isinstance(wrapped, Secret)
    assert Secret.of(wrapped) is wrapped


@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_bytes_are_not_kept_at_all(kind):
    sealed = Secret.of(kind(WORD.encode()))
    assert type(sealed) is Sealed
    assert sealed.kind == "bytes"
    assert not hasattr(sealed, "__dict__"), "there is nothing in it that could show"
    assert WORD not in repr(sealed)
    assert Secret.of(sealed) is sealed


def test_it_has_no_dict_in_which_a_debugger_finds_it():
    assert not hasattr(Secret(WORD), "__dict__")
