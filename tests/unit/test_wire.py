"""The wire from the client's end: documented bodies out and in, and every answer that makes no sense refused."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.bodies import as_bytes, exchange_of, wire, wire_files
from support.codecs import NAMES, use_codec

from rerank_async.errors import BadAnswerError, DecodeError, IntegrityError, InvalidArgumentError, InvalidTypeError
from rerank_async.policy.wire import decode_answer, encode_body, request_head
from rerank_async.values.parameters import Crypto, RerankParameters, ReturnOptions
from rerank_async.values.response import ServiceWarning

URL = "https://us-south.ml.cloud.ibm.com/ml/v1/text/rerank"
MODEL = "cross-encoder/ms-marco-minilm-l-12-v2"
NIL = "00000000-0000-0000-0000-000000000000"


@pytest.fixture(params=NAMES, autouse=True, scope="module")
def codec_name(request):
    with use_codec(request.param):
        yield request.param


def head(**changes):
    return request_head(
        **{
            "model_id": "m",
            "query": "q",
            "project_id": "p",
            "space_id": None,
            "parameters": RerankParameters(),
            "crypto": None,
            "extra_body": None,
        }
        | changes
    )


def decode(results, *, count=None, status=200, headers=None, around=None, **options):
    body = as_bytes({"results": results} | (around or {}))
    return decode_answer(
        status, headers or {}, body, url=URL, count=len(results) if count is None else count, **options
    )


# Requests


@pytest.mark.parametrize("name", wire_files("request"))
def test_the_documented_requests_are_built_to_the_letter(name):
    body = wire(name)["body"]
    parameters = body.get("parameters", {})
    wanted = parameters.get("return_options", {})
    built = request_head(
        model_id=body["model_id"],
        query=body["query"],
        project_id=body.get("project_id"),
        space_id=body.get("space_id"),
        parameters=RerankParameters(
            truncate_input_tokens=parameters.get("truncate_input_tokens"), return_options=ReturnOptions(**wanted)
        ),
        crypto=Crypto(**body["crypto"]) if "crypto" in body else None,
        extra_body=None,
    )
    sent = json.loads(encode_body(built, [each["text"] for each in body["inputs"]], wanted.get("top_n")))
    # Echoes are answered from the caller's own list, so they are not asked for (docs/decisions.md, 3).
    for flag in ("inputs", "query"):
        if wanted.pop(flag, None):
            assert "crypto" not in body
    assert sent == body


def test_a_minimal_request_byte_by_byte():
    assert (
        encode_body(head(), ["é\n", ""], None)
        == '{"model_id":"m","query":"q","project_id":"p","inputs":[{"text":"é\\n"},{"text":""}]}'.encode()
    )


def test_the_bytes_are_utf8_and_not_escapes():
    assert "🥒".encode() in encode_body(head(), ["🥒"], None)
    assert b"\\u" not in encode_body(head(query="中"), ["é"], None)


def as_json_writes(texts):
    body = head() | {"inputs": [{"text": text} for text in texts]}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


@pytest.mark.parametrize("beside", ["plain", 'with "quotes"'])
def test_each_character_is_written_as_json_wants_it(beside):
    for code in [*range(0x500), 0x2028, 0xFFFF, 0x1F952]:
        texts = [beside, f"a{chr(code)}b", ""]
        assert encode_body(head(), texts, None) == as_json_writes(texts), hex(code)


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=6) | st.text(" abc", max_size=6), max_size=5))
def test_any_batch_is_written_as_json_writes_it(texts):
    assert encode_body(head(), texts, None) == as_json_writes(texts)


@pytest.mark.parametrize(
    ("parameters", "crypto", "top_n", "expected"),
    [
        (RerankParameters(), None, None, None),
        (RerankParameters(return_options=ReturnOptions()), None, None, None),
        (RerankParameters(return_options=ReturnOptions(top_n=3)), None, None, None),  # the batch decides on top_n
        (RerankParameters(truncate_input_tokens=5), None, None, {"truncate_input_tokens": 5}),
        (
            RerankParameters(truncate_input_tokens=5),
            None,
            2,
            {"truncate_input_tokens": 5, "return_options": {"top_n": 2}},
        ),
        (RerankParameters(), None, 2, {"return_options": {"top_n": 2}}),
        (RerankParameters(return_options=ReturnOptions(inputs=True, query=True)), None, None, None),
        (
            RerankParameters(return_options=ReturnOptions(inputs=True, query=True)),
            Crypto("k"),
            None,
            {"return_options": {"inputs": True, "query": True}},
        ),
        (
            RerankParameters(return_options=ReturnOptions(inputs=True, query=False)),
            Crypto("k"),
            2,
            {"return_options": {"inputs": True, "top_n": 2}},
        ),
        (RerankParameters(return_options=ReturnOptions(inputs=False, query=None)), Crypto("k"), None, None),
    ],
)
def test_parameters_hold_what_is_asked_for_and_no_null(parameters, crypto, top_n, expected):
    sent = json.loads(encode_body(head(parameters=parameters, crypto=crypto), ["t"], top_n))
    assert sent.get("parameters") == expected
    assert sent.get("crypto") == (None if crypto is None else {"key_ref": "k"})
    assert None not in sent.values()


def test_encoding_a_batch_leaves_the_head_as_it_was():
    shared = head(parameters=RerankParameters(truncate_input_tokens=5), extra_body={"parameters": {"made_up": [1]}})
    before = json.dumps(shared)
    encode_body(shared, ["a"], 2)
    assert json.dumps(shared) == before
    assert "return_options" not in json.loads(encode_body(shared, ["a"], None))["parameters"]


def test_extra_body_adds_fields_and_parameters():
    sent = json.loads(
        encode_body(
            head(
                parameters=RerankParameters(truncate_input_tokens=5),
                extra_body={"made_up": {"a": [1, None]}, "parameters": {"other": True}},
            ),
            ["t"],
            2,
        )
    )
    assert sent["made_up"] == {"a": [1, None]}
    assert sent["parameters"] == {"truncate_input_tokens": 5, "other": True, "return_options": {"top_n": 2}}


@pytest.mark.parametrize("name", ["inputs", "query", "model_id", "project_id", "space_id", "crypto"])
def test_extra_body_does_not_replace_what_an_argument_sets(name):
    with pytest.raises(InvalidArgumentError, match=f"extra_body sets '{name}'"):
        head(extra_body={name: "x"})


@pytest.mark.parametrize("name", ["truncate_input_tokens", "return_options"])
def test_extra_body_does_not_replace_a_parameter(name):
    with pytest.raises(InvalidArgumentError, match=f"sets '{name}', which params= sets"):
        head(extra_body={"parameters": {name: 1}})


@pytest.mark.parametrize("value", ["x", 5, [("a", 1)], True])
def test_extra_body_is_a_dict_and_so_are_its_parameters(value):
    with pytest.raises(InvalidTypeError, match="extra_body must be a dict"):
        head(extra_body=value)
    with pytest.raises(InvalidTypeError, match=r"extra_body\['parameters'\] must be a dict"):
        head(extra_body={"parameters": value})


@pytest.mark.parametrize("value", [{1, 2}, object(), b"bytes", 1j, "\ud800"], ids=lambda value: type(value).__name__)
def test_extra_body_that_json_cannot_carry_is_an_error_of_ours(value):
    with pytest.raises(InvalidArgumentError, match="extra_body") as raised:
        encode_body(head(extra_body={"made_up": value}), ["t"], None)
    assert raised.value.argument == "extra_body"


# Answers that are documented


def test_the_minimal_answer():
    result = decode_answer(*exchange_of("answer_minimal_unsorted"), url=URL, count=3)
    assert (list(result.indices), list(result.scores)) == ([1, 2, 0], [0.3125, 0.0625, 0.8125])
    assert (result.echoes, result.extras) == (None, None)
    said = result.envelope
    assert (said.model_id, said.created_at, said.input_token_count) == (MODEL, "2030-01-02T03:04:05Z", 42)
    assert (said.model_version, said.query, said.warnings, said.extra) == (None, None, (), None)


def test_results_and_no_other_field():
    result = decode_answer(*exchange_of("answer_results_only"), url=URL, count=2, echo=True)
    assert (list(result.indices), list(result.scores)) == ([1, 0], [0.9375, 0.125])
    assert result.echoes == {0: "The museum opens at nine.", 1: "The ferry leaves at ten."}
    said = result.envelope
    assert (said.model_id, said.created_at, said.input_token_count, said.extra) == (None, None, None, None)


def test_echoes_and_the_query_of_the_service_with_top_n():
    given_body = wire("answer_sorted_echo")["body"]
    result = decode_answer(*exchange_of("answer_sorted_echo"), url=URL, count=3, top_n=2, echo=True)
    assert list(result.indices) == [1, 2]
    assert list(result.scores) == [4.687500286102295, -3.1406248807907104]
    assert result.echoes == {each["index"]: each["input"]["text"] for each in given_body["results"]}
    assert (result.envelope.query, result.envelope.input_token_count) == ("Which soup needs no cooking?", 83)


def test_an_echo_that_nobody_asked_for_is_let_pass():
    assert decode_answer(*exchange_of("answer_sorted_echo"), url=URL, count=3, top_n=2).echoes is None


def test_an_echo_as_a_bare_string():
    result = decode_answer(*exchange_of("answer_input_bare_string"), url=URL, count=2, echo=True)
    assert result.echoes == {0: "Snow fell in the night.", 1: "The bus runs on time."}


@pytest.mark.parametrize("echo", [None, 5, [], {}, {"text": None}, {"text": 5}])
def test_an_echo_in_no_known_form_is_left_out(echo):
    assert decode([{"index": 0, "score": 1.0, "input": echo}], echo=True).echoes == {}


def test_unknown_fields_are_kept_at_both_levels_and_an_integer_score_is_a_float():
    result = decode_answer(*exchange_of("answer_unknown_fields"), url=URL, count=2)
    assert result.extras == {0: {"made_up_rank": {"of": [1, 2]}}}
    assert result.envelope.extra == {"made_up_region": "nowhere", "made_up_nothing": None}
    assert list(result.scores) == [2.5, -2.0]
    assert [type(score) for score in result.scores] == [float, float]


def test_version_and_warnings():
    said = decode_answer(*exchange_of("answer_version_warnings"), url=URL, count=1).envelope
    assert said.model_version == "1.2.0"
    assert said.warnings == (
        ServiceWarning(
            "This model is going to be replaced.", "made_up_warning", "https://example.com/replaced", {"made_up": True}
        ),
        ServiceWarning("A warning may be a message alone."),
    )


@pytest.mark.parametrize("name", wire_files("answer"))
def test_every_recorded_answer_is_covered_and_decodes(name):
    body = wire(name)["body"]
    top_n, count = (2, 3) if name == "answer_sorted_echo" else (None, len(body["results"]))
    result = decode_answer(*exchange_of(name), url=URL, count=count, top_n=top_n)
    assert dict(zip(result.indices, result.scores, strict=True)) == {
        each["index"]: each["score"] for each in body["results"]
    }


@pytest.mark.parametrize(
    "around",
    [
        {"model_id": 5, "model_version": 1.2, "created_at": 0, "query": ["q"], "input_token_count": "42"},
        {"input_token_count": 4.2, "system": "fine"},
        {"input_token_count": True, "system": {"warnings": "none"}},
        {"system": {"warnings": [None, "w", {}, {"message": 5}]}},
        {"system": None},
        {"system": {}},
    ],
)
def test_fields_of_another_type_count_as_not_said(around):
    said = decode([{"index": 0, "score": 1.0}], around=around).envelope
    assert (said.model_id, said.model_version, said.created_at, said.query, said.input_token_count) == (None,) * 5
    assert (said.warnings, said.extra) == ((), None)


def test_a_warning_whose_parts_have_another_type_keeps_its_message():
    warning = {"message": "w", "id": 5, "more_info": None, "additional_properties": "x"}
    said = decode([{"index": 0, "score": 1.0}], around={"system": {"warnings": [warning]}}).envelope
    assert said.warnings == (ServiceWarning("w", None, None, None),)


# Answers that make no sense


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b'{"results":[{"index":0,"score":1.0}',
        b"<html></html>",
        b"\xff\xfe\x00",
        b'{"results":[]}x',
        b"nul",
    ],
    ids=lambda body: repr(body[:12]),
)
def test_a_body_that_is_not_json(body):
    with pytest.raises(DecodeError, match="not JSON") as raised:
        decode_answer(200, {"x-global-transaction-id": "f00"}, body, url=URL, count=1)
    assert URL in str(raised.value)
    assert (raised.value.url, raised.value.trace) == (URL, "f00")


@pytest.mark.parametrize("begin", [b"", b'{"results":'])
def test_a_body_nested_deeper_than_any_parser_goes(begin):
    with pytest.raises(DecodeError, match="not JSON"):
        decode_answer(200, {}, begin + b"[" * 100_000, url=URL, count=1)


@pytest.mark.parametrize(
    "body",
    [
        b"null",
        b"[]",
        b'"results"',
        b"5",
        b"true",
        b"{}",
        b'{"results":null}',
        b'{"results":{}}',
        b'{"results":"x"}',
        b'{"Results":[]}',
    ],
)
def test_json_of_another_shape(body):
    with pytest.raises(DecodeError, match="without a list of 'results'") as raised:
        decode_answer(200, {}, body, url=URL, count=1)
    assert (raised.value.url, raised.value.trace) == (URL, None)


GOOD = [{"index": 0, "score": 1.0}, {"index": 1, "score": 2.0}, {"index": 2, "score": 3.0}]


@pytest.mark.parametrize(
    ("results", "words"),
    [
        (GOOD[:2], "2 results where 3 were asked for"),
        ([], "0 results where 3 were asked for"),
        ([*GOOD[:2], GOOD[1]], "the same index twice"),
        ([*GOOD, GOOD[0]], "the same index twice"),
        ([*GOOD, {"index": 3, "score": 1.0}], "an index that is not"),
        ([*GOOD[:2], {"index": 3, "score": 1.0}], "an index that is not"),
        ([*GOOD[:2], {"index": -1, "score": 1.0}], "an index that is not"),
        ([*GOOD[:2], {"index": True, "score": 1.0}], "an index that is not"),
        ([*GOOD[:2], {"index": 2.0, "score": 1.0}], "an index that is not"),
        ([*GOOD[:2], {"index": "2", "score": 1.0}], "an index that is not"),
        ([*GOOD[:2], {"index": None, "score": 1.0}], "an index that is not"),
        ([*GOOD[:2], {"index": [2], "score": 1.0}], "an index that is not"),
        ([*GOOD[:2], {"index": 2**70, "score": 1.0}], "an index that is not"),
        ([*GOOD[:2], {"score": 1.0}], "not an object with 'index' and 'score'"),
        ([*GOOD[:2], {"index": 2}], "not an object with 'index' and 'score'"),
        ([*GOOD[:2], None], "not an object with 'index' and 'score'"),
        ([*GOOD[:2], [2, 3.0]], "not an object with 'index' and 'score'"),
        ([*GOOD[:2], "index score"], "not an object with 'index' and 'score'"),
        ([*GOOD[:2], 5], "not an object with 'index' and 'score'"),
        ([*GOOD[:2], {"index": 2, "score": "3.0"}], "a score that is not a finite number"),
        ([*GOOD[:2], {"index": 2, "score": None}], "a score that is not a finite number"),
        ([*GOOD[:2], {"index": 2, "score": True}], "a score that is not a finite number"),
        ([*GOOD[:2], {"index": 2, "score": [3.0]}], "a score that is not a finite number"),
        ([*GOOD[:2], {"index": 2, "score": {}}], "a score that is not a finite number"),
    ],
    ids=lambda value: str(value)[-40:],
)
def test_indices_and_scores_that_cannot_be_right(results, words):
    with pytest.raises(IntegrityError, match=words) as raised:
        decode(results, count=3, around={"trace": "f00"})
    assert URL in str(raised.value)
    assert (raised.value.url, raised.value.trace) == (URL, "f00")


@pytest.mark.parametrize("score", ["NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1" + "0" * 400])
def test_scores_that_are_not_finite(score, codec_name):
    body = b'{"results":[{"index":0,"score":' + score.encode() + b"}]}"
    # The standard library reads them, orjson refuses the whole body: either way no such score gets in.
    with pytest.raises(BadAnswerError, match=r"score that is not a finite number|not JSON") as raised:
        decode_answer(200, {}, body, url=URL, count=1)
    assert type(raised.value) is (IntegrityError if codec_name == "stdlib" else DecodeError)


@pytest.mark.parametrize("score", ["0", "-0.0", "1e308", "5e-324", "-11.05", "123456789012345678901234567890"])
def test_any_finite_number_is_a_score(score):
    body = b'{"results":[{"index":0,"score":' + score.encode() + b"}]}"
    assert decode_answer(200, {}, body, url=URL, count=1).scores == [float(score)]


@pytest.mark.parametrize(
    ("count", "top_n", "returned", "fine"),
    [
        (5, None, 5, True),
        (5, None, 4, False),
        (5, 3, 3, True),
        (5, 3, 5, True),  # a service that does not cut is as good
        (5, 3, 4, False),  # neither what was asked for nor everything
        (5, 3, 2, False),
        (2, 3, 2, True),
        (2, 3, 1, False),
        (1, None, 0, False),
        (0, None, 0, True),
    ],
)
def test_how_many_results_there_must_be(count, top_n, returned, fine):
    results = [{"index": index, "score": 0.5} for index in range(returned)]
    if fine:
        assert list(decode(results, count=count, top_n=top_n).indices) == list(range(returned))
    else:
        with pytest.raises(
            IntegrityError, match=f"{returned} results where {min(top_n or count, count)} were asked for"
        ):
            decode(results, count=count, top_n=top_n)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["results", "index", "score", "input", "text", "system", "warnings", "message", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
RESULT = st.fixed_dictionaries(
    {"index": st.integers(-1, 4) | JSON, "score": st.floats(allow_nan=False, allow_infinity=False) | JSON},
    optional={"input": JSON, "x": JSON},
)


@given(
    body=JSON
    | st.fixed_dictionaries(
        {"results": st.lists(RESULT | JSON, max_size=4)}, optional={"system": JSON, "model_id": JSON}
    ),
    count=st.integers(1, 4),
    top_n=st.none() | st.integers(1, 4),
    echo=st.booleans(),
)
def test_whatever_comes_it_is_a_checked_answer_or_an_error_of_ours(body, count, top_n, echo):
    try:
        result = decode_answer(
            200,
            {},
            as_bytes(body) if not isinstance(body, str) else json.dumps(body).encode(),
            url=URL,
            count=count,
            top_n=top_n,
            echo=echo,
        )
    except BadAnswerError as exc:
        refused = exc
    else:
        refused = None
    if refused is not None:
        assert refused.url == URL
        return
    assert len(set(result.indices)) == len(result.indices) in {count, min(top_n or count, count)}
    assert set(result.indices) <= set(range(count))
    assert all(type(score) is float and math.isfinite(score) for score in result.scores)
    assert (result.echoes is not None) == echo


def test_a_bad_status_is_an_error_even_with_a_good_body():
    from rerank_async.errors import ServiceError

    with pytest.raises(ServiceError):
        decode(GOOD, status=500)
