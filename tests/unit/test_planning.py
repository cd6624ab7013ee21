"""What is sent, and how much of it in one request: against the exact bytes of the encoded body, under both codecs."""

import math
from collections import UserDict
from enum import StrEnum

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.codecs import NAMES, use_codec

from rerank_async.errors import InvalidArgumentError, InvalidTypeError
from rerank_async.policy.json_codec import codec, json_size
from rerank_async.policy.planning import (
    batches,
    check_encodable,
    check_query,
    load,
    pushed_top_n,
    requests_needed,
    take,
    texts_of,
)
from rerank_async.policy.wire import encode_body, request_head
from rerank_async.values.options import BatchOptions
from rerank_async.values.parameters import Crypto, RerankParameters, ReturnOptions


@pytest.fixture(params=NAMES, autouse=True, scope="module")
def _codec(request):
    with use_codec(request.param):
        yield


# Characters by what they cost: 1 byte, escapes of 2, escapes of 6, and 2 to 4 bytes of UTF-8; 0x7f and the line
# separators, which some encoders escape.
TRICKY = 'aZ "\\/\n\r\t\b\f\0\x01\x1f\x7f\u00e9\u00df\u4e2d\u2028\u2029\ufeff\U0001f952\U0001f469\u200d'
TEXTS = st.text(st.sampled_from(TRICKY), max_size=40) | st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def head_of(query="q", parameters=None, crypto=None, extra_body=None, model_id="cross-encoder/ms-marco-minilm-l-12-v2"):
    return request_head(
        model_id=model_id,
        query=query,
        project_id="00000000-0000-0000-0000-000000000000",
        space_id=None,
        parameters=parameters or RerankParameters(),
        crypto=crypto,
        extra_body=extra_body,
    )


# The caller's texts


def test_texts_are_taken_from_strings_and_dicts_also_mixed_and_in_order():
    assert texts_of(["a", {"text": "b"}, UserDict(text="c"), ""]) == ["a", "b", "c", ""]


def test_any_iterable_will_do():
    assert texts_of(("a", "b")) == texts_of(iter(["a", "b"])) == texts_of(text for text in "ab") == ["a", "b"]
    assert texts_of([]) == []


def test_a_subclass_of_str_becomes_a_plain_one():
    class Name(StrEnum):
        ONE = "one"

    class Loud(str):
        __slots__ = ()

        def __str__(self):
            return "LOUD"

    for taken in texts_of([Name.ONE, Loud("quiet"), {"text": Loud("quiet")}]):
        assert type(taken) is str
        assert taken in {"one", "quiet"}


@pytest.mark.parametrize(
    "inputs",
    ["one text", b"bytes", bytearray(b"x"), {"text": "x"}, UserDict(text="x")],
    ids=lambda value: type(value).__name__,
)
def test_a_single_text_is_no_list(inputs):
    with pytest.raises(InvalidTypeError, match=r"put it in a list: inputs=\[\.\.\.\]") as raised:
        texts_of(inputs)
    assert (raised.value.argument, raised.value.index) == ("inputs", None)


@pytest.mark.parametrize("inputs", [None, 5, True, object()], ids=lambda value: type(value).__name__)
def test_what_does_not_iterate_is_no_list(inputs):
    with pytest.raises(InvalidTypeError, match="inputs must be an iterable"):
        texts_of(inputs)


@pytest.mark.parametrize(
    "item", [None, 5, True, b"x", ["x"], ("text", "x"), 1.5], ids=lambda value: type(value).__name__
)
@pytest.mark.parametrize("place", [0, 2])
def test_an_item_that_is_no_text_is_named_by_its_index(item, place):
    inputs = ["a", "b", "c"]
    inputs[place] = item
    with pytest.raises(
        InvalidTypeError, match=rf"inputs\[{place}\] must be a str or .*not {type(item).__name__}"
    ) as raised:
        texts_of(inputs)
    assert (raised.value.argument, raised.value.index) == ("inputs", place)


@pytest.mark.parametrize("item", [{}, {"text": None}, {"text": 5}, {"text": b"x"}, {"text": ["x"]}], ids=str)
def test_a_dict_without_a_text_is_named_by_its_index(item):
    with pytest.raises(InvalidTypeError, match=r"inputs\[1\]\['text'\] must be a str") as raised:
        texts_of(["a", item])
    assert raised.value.index == 1


@pytest.mark.parametrize("item", [{"text": "x", "id": 1}, {"Text": "x"}, {"page_content": "x"}], ids=str)
def test_a_dict_with_another_key_is_refused_as_that_key_would_be_lost(item):
    with pytest.raises(InvalidArgumentError, match=r"inputs\[1\] has the key") as raised:
        texts_of(["a", item])
    assert raised.value.index == 1


@pytest.mark.parametrize("surrogate", [chr(0xD800), chr(0xDFFF), chr(0xD83D), chr(0xDC80)], ids=ascii)
def test_a_lone_surrogate_is_named_by_index_and_place_and_no_text_is_shown(surrogate):
    with pytest.raises(InvalidArgumentError, match=r"inputs\[1\] holds a lone surrogate at character 7") as raised:
        texts_of(["fine", "private" + surrogate])
    assert raised.value.index == 1
    assert "private" not in str(raised.value)
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None, "the UnicodeEncodeError would carry the text along"


def test_pairs_of_surrogates_that_python_joined_are_fine():
    check_encodable("\U0001f952", "query", None)
    assert texts_of(["\U0001f952"]) == ["\U0001f952"]


def test_a_good_query_is_taken_as_it_is():
    assert check_query(" what? ") == " what? "
    assert type(check_query(type("S", (str,), {})("x"))) is str


@pytest.mark.parametrize(
    ("query", "kind", "words"),
    [
        ("", InvalidArgumentError, "empty"),
        (" \n\t\u2003", InvalidArgumentError, "empty"),
        ("a\ud800", InvalidArgumentError, "lone surrogate at character 1"),
        (None, InvalidTypeError, "not NoneType"),
        (5, InvalidTypeError, "not int"),
        (b"x", InvalidTypeError, "not bytes"),
        (["x"], InvalidTypeError, "not list"),
    ],
)
def test_a_query_that_cannot_be_sent_is_refused(query, kind, words):
    with pytest.raises(kind, match=f"query.*{words}") as raised:
        check_query(query)
    assert raised.value.argument == "query"


# Bytes


@given(TEXTS)
def test_the_size_of_a_text_is_that_of_the_encoded_string(text):
    assert json_size(text) == len(codec().dumps(text))


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("", 2),
        ("abc", 5),
        ('"', 4),
        ("\\", 4),
        ("\n", 4),
        ("/", 3),
        ("\0", 8),
        ("\x1f", 8),
        ("\x7f", 3),
        ("é", 4),
        ("中", 5),
        ("\u2028", 5),
        ("🥒", 6),
    ],
)
def test_the_size_by_hand(text, size):
    assert json_size(text) == size == len(codec().dumps(text))


@pytest.mark.parametrize("codec_name", NAMES)
def test_both_codecs_write_the_same_bytes(codec_name):
    body = {"query": TRICKY, "inputs": [{"text": TRICKY}], "top_n": 3, "flag": True, "nothing": None, "half": 0.5}
    with use_codec("stdlib"):
        plain = codec().dumps(body)
    with use_codec(codec_name):
        assert codec().dumps(body) == plain
        assert codec().loads(plain) == body


# Repetitions


def test_identical_texts_are_sent_once_in_the_order_of_their_first_place():
    made = load(["b", "a", "b", "c", "a", "b"], BatchOptions(), head_of(), dedupe=True)
    assert list(made.texts) == ["b", "a", "c"]
    assert [list(places) for places in made.positions] == [[0, 2, 5], [1, 4], [3]]
    assert made.inputs == 6


def test_texts_that_differ_in_anything_are_not_identical():
    texts = ["a", "A", "a ", "á", "a\u0301", ""]
    made = load(texts, BatchOptions(), head_of(), dedupe=True)
    assert list(made.texts) == texts
    assert made.positions is None


def test_without_dedupe_everything_is_sent():
    made = load(["a", "a"], BatchOptions(), head_of(), dedupe=False)
    assert list(made.texts) == ["a", "a"]
    assert made.positions is None


@given(st.lists(st.sampled_from("abcde"), max_size=30))
def test_the_positions_are_a_partition_of_the_caller_s_list(texts):
    made = load(texts, BatchOptions(), head_of(), dedupe=True)
    places = made.positions or [[index] for index in range(len(texts))]
    assert sorted(index for group in places for index in group) == list(range(len(texts)))
    assert all(texts[index] == text for text, group in zip(made.texts, places, strict=True) for index in group)
    assert all(group == sorted(group) for group in places)


# Batches


@pytest.mark.parametrize(
    ("count", "most", "expected"),
    [
        (0, 3, []),
        (1, 3, [(0, 1)]),
        (3, 3, [(0, 3)]),
        (4, 3, [(0, 3), (3, 4)]),
        (7, 3, [(0, 3), (3, 6), (6, 7)]),
        (3, 1, [(0, 1), (1, 2), (2, 3)]),
        (1001, 1000, [(0, 1000), (1000, 1001)]),
    ],
)
def test_batches_by_count(count, most, expected):
    made = load([f"t{i}" for i in range(count)], BatchOptions(max_inputs=most), head_of(), dedupe=True)
    assert list(batches(made)) == expected
    assert requests_needed(made) == len(expected)


def test_batches_by_bytes_by_hand():
    head = head_of("q" * 100)
    # A text of 88 letters is {"text":"..."} and a comma: 100 bytes. The tail keeps 120 bytes in reserve.
    texts = [f"{i:088d}" for i in range(7)]
    room_for_three = len(codec().dumps(head)) + 120 + 300
    made = load(texts, BatchOptions(max_bytes=room_for_three), head, dedupe=True)
    assert list(batches(made)) == [(0, 3), (3, 6), (6, 7)]
    assert requests_needed(made) == 3
    one_less = load(texts, BatchOptions(max_bytes=room_for_three - 1), head, dedupe=True)
    assert list(batches(one_less)) == [(0, 2), (2, 4), (4, 6), (6, 7)]


OPTIONS = st.builds(BatchOptions, max_inputs=st.integers(1, 12), max_bytes=st.integers(1, 4000))
PARAMETERS = st.builds(
    RerankParameters,
    truncate_input_tokens=st.none() | st.integers(1, 10**6),
    return_options=st.none()
    | st.builds(ReturnOptions, top_n=st.none() | st.integers(1, 10**6), inputs=st.booleans(), query=st.booleans()),
)


@given(
    texts=st.lists(TEXTS, max_size=25),
    options=OPTIONS,
    query=TEXTS.filter(lambda text: text.strip()),
    parameters=PARAMETERS,
    crypto=st.none() | st.just(Crypto("crn:v1:wdek")),
    extra_body=st.none() | st.just({"made_up": ["é", 1]}),
    dedupe=st.booleans(),
)
@example(["a"], BatchOptions(max_bytes=100), "q", RerankParameters(), None, None, True)
def test_no_body_is_over_the_bounds_and_nothing_is_lost(texts, options, query, parameters, crypto, extra_body, dedupe):
    head = head_of(query, parameters, crypto, extra_body)
    try:
        made = load(texts, options, head, dedupe=dedupe)
    except InvalidArgumentError as exc:
        refused = exc
    else:
        refused = None
    top_n = parameters.return_options.top_n if parameters.return_options else None
    if refused is not None:
        # Rightly refused: what it names does not fit by itself, give or take the tail's reserve of 120 bytes.
        alone = [texts[refused.index]] if refused.index is not None else []
        assert len(encode_body(head, alone, 1000)) + 120 > options.max_bytes
        assert "max_bytes" in str(refused)
        return
    cut = list(batches(made))
    assert [index for start, stop in cut for index in range(start, stop)] == list(range(len(made.texts)))
    assert all(start < stop for start, stop in cut)
    assert requests_needed(made) == len(cut)
    for start, stop in cut:
        assert stop - start <= options.max_inputs
        body = encode_body(head, made.texts[start:stop], pushed_top_n(top_n, stop - start))
        assert len(body) <= options.max_bytes


@given(texts=st.lists(TEXTS, min_size=1, max_size=25), options=OPTIONS, start=st.integers(0, 24))
def test_taking_from_anywhere_takes_something_and_as_much_as_fits(texts, options, start):
    try:
        made = load(texts, options, head_of(), dedupe=False)
    except InvalidArgumentError:
        return
    start = min(start, len(texts) - 1)
    stop = take(made, start)
    assert start < stop <= len(texts)
    if stop < len(texts) and stop - start < options.max_inputs:
        assert len(encode_body(head_of(), texts[start : stop + 1], 1000)) + 120 > options.max_bytes, (
            "one more would have fitted"
        )


def test_nothing_left_is_taken_as_nothing():
    made = load(["a"], BatchOptions(), head_of(), dedupe=True)
    assert take(made, 1) == 1


@pytest.mark.parametrize("dedupe", [True, False])
def test_a_text_that_is_too_big_alone_is_named_by_its_place_in_the_caller_s_list(dedupe):
    head = head_of()
    most = len(codec().dumps(head)) + 120 + 112
    load(["a", "a", "b" * 100], BatchOptions(max_bytes=most), head, dedupe=dedupe)
    with pytest.raises(InvalidArgumentError, match=rf"inputs\[2\] needs a request of up to {most + 1} bytes") as raised:
        load(["a", "a", "b" * 101, "c" * 500], BatchOptions(max_bytes=most), head, dedupe=dedupe)
    assert (raised.value.argument, raised.value.index) == ("inputs", 2)
    assert f"max_bytes = {most}" in str(raised.value)
    assert "bbb" not in str(raised.value)


def test_a_query_that_leaves_no_room_is_named():
    with pytest.raises(InvalidArgumentError, match="query") as raised:
        load(["a"], BatchOptions(max_bytes=1000), head_of("q" * 1000), dedupe=True)
    assert raised.value.argument == "query"


def test_a_head_that_leaves_no_room_is_refused_however_short_the_query():
    # The head alone is 140 bytes here, so no body can be 100.
    with pytest.raises(InvalidArgumentError, match="max_bytes"):
        load(["a"], BatchOptions(max_bytes=100), head_of("q"), dedupe=True)


def test_a_long_model_id_counts_too():
    head = head_of(model_id="m" * 5000)
    with pytest.raises(InvalidArgumentError, match="max_bytes"):
        load(["a"], BatchOptions(max_bytes=4096), head, dedupe=True)


def test_sizes_are_measured_only_where_bytes_can_bound():
    assert load(["short"], BatchOptions(), head_of(), dedupe=True).sizes is None
    # {"text":"..."} and a comma are 12 bytes, é is two.
    assert list(load(["short" * 20, "é"], BatchOptions(max_bytes=600), head_of(), dedupe=True).sizes) == [112, 14]


# top_n


@pytest.mark.parametrize(
    ("top_n", "batch_size", "pushed"),
    [
        (None, 10, None),
        (1, 1, None),
        (1, 2, None),  # 1 is asked for as 2, and 2 of 2 cuts nothing off
        (1, 3, 2),
        (2, 2, None),
        (2, 3, 2),
        (5, 10, 5),
        (9, 10, 9),
        (10, 10, None),
        (11, 10, None),
        (10**9, 1000, None),
        (999, 1000, 999),
    ],
)
def test_the_top_n_that_a_batch_carries(top_n, batch_size, pushed):
    assert pushed_top_n(top_n, batch_size) == pushed


@given(st.integers(1, 50), st.integers(1, 50))
def test_a_pushed_top_n_cuts_something_off_and_never_too_much(top_n, batch_size):
    pushed = pushed_top_n(top_n, batch_size)
    assert (pushed or math.inf) >= min(top_n, batch_size)
    assert pushed is None or 1 < pushed < batch_size


def test_a_long_list_is_not_measured_if_no_request_of_it_can_be_over_the_bound():
    texts = [f"{number:0100d}" for number in range(50)]
    room = len(codec().dumps(head_of())) + 4096
    assert load(texts, BatchOptions(max_bytes=room, max_inputs=2), head_of(), dedupe=True).sizes is None
    # Two such texts are within the bound whatever they hold, three of 1,000 characters may not be.
    longer = [*texts, "x" * 1000]
    assert load(longer, BatchOptions(max_bytes=room, max_inputs=2), head_of(), dedupe=True).sizes is not None


@pytest.mark.parametrize(
    "extra", [{f"f{number}": "" for number in range(1000)}, {"n" * 5000: ""}, {"made_up": "v" * 5000}]
)
def test_unknown_fields_count(extra):
    head = head_of(extra_body=extra)
    assert len(codec().dumps(head)) > 4096
    with pytest.raises(InvalidArgumentError, match="max_bytes"):
        load(["a"], BatchOptions(max_bytes=4096), head, dedupe=True)


@pytest.mark.parametrize(
    "said", [b"", b" ", b"{} {}", b"[1] x", b"\xef\xbb\xbf{}", b"{", b"nul", b"\xff", b"[" * 100_000]
)
def test_what_is_not_one_json_value_is_refused(said):
    with pytest.raises(ValueError):  # noqa: PT011 - of either library
        codec().loads(said)


def test_white_space_around_a_value_is_none_of_it():
    assert codec().loads(b" \t\r\n[1] \t\r\n") == [1]


def test_a_body_without_texts_is_json_too():
    assert codec().loads(codec().body({"query": "q"}, [])) == {"query": "q", "inputs": []}
