"""The body of a rerank request: what is taken, and which documented error each mistake gets."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rerank_async.server.bodies import Refusal
from rerank_async.server.reading import check_version, read_rerank

# How fast a machine draws examples is no claim of ours.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

GOOD = {"model_id": "lexical", "query": "q", "inputs": [{"text": "a"}], "project_id": "p"}
WIRE = Path(__file__).parents[1] / "wire"


def read(value, max_inputs=3):
    return read_rerank(json.dumps(value).encode(), max_inputs)


def refusal(value, **options):
    with pytest.raises(Refusal) as caught:
        read(value, **options)
    return caught.value


@pytest.mark.parametrize("path", sorted(WIRE.glob("request_*.json")), ids=lambda path: path.stem)
def test_the_documented_requests_are_taken(path):
    body = json.loads(path.read_text())["body"]
    asked = read(body)
    assert [{"text": text} for text in asked.texts] == body["inputs"]
    assert (asked.model_id, asked.query) == (body["model_id"], body["query"])
    parameters = body.get("parameters", {})
    options = parameters.get("return_options", {})
    assert asked.truncate == parameters.get("truncate_input_tokens")
    assert asked.top_n == options.get("top_n")
    assert (asked.echo_inputs, asked.echo_query) == (options.get("inputs", False), options.get("query", False))


def test_null_is_missing_and_unknown_fields_pass():
    asked = read(GOOD | {"parameters": None, "space_id": None, "crypto": None, "later": {"field": 1}})
    assert (asked.truncate, asked.top_n, asked.space_id) == (None, None, None)


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"model_id": None}, "json_validation_error", "model_id"),
        ({"model_id": 3}, "json_type_error", "model_id"),
        ({"query": None}, "json_validation_error", "query"),
        ({"query": ["q"]}, "json_type_error", "query"),
        ({"inputs": None}, "json_validation_error", "inputs"),
        ({"inputs": []}, "json_validation_error", "inputs"),
        ({"inputs": "a"}, "json_type_error", "inputs"),
        ({"inputs": [{"text": "a"}, "b"]}, "json_type_error", "inputs[1]"),
        ({"inputs": [{"text": 1}]}, "json_type_error", "inputs[0].text"),
        ({"inputs": [{}]}, "json_validation_error", "inputs[0].text"),
        ({"inputs": [{"text": "a"}] * 4}, "invalid_input_argument", "inputs"),
        ({"project_id": None}, "json_validation_error", "project_id"),
        ({"project_id": 1}, "json_type_error", "project_id"),
        ({"parameters": []}, "json_type_error", "parameters"),
        ({"parameters": {"truncate_input_tokens": 0}}, "invalid_input_argument", "parameters.truncate_input_tokens"),
        ({"parameters": {"truncate_input_tokens": -1}}, "invalid_input_argument", "parameters.truncate_input_tokens"),
        ({"parameters": {"truncate_input_tokens": 1.5}}, "json_type_error", "parameters.truncate_input_tokens"),
        ({"parameters": {"truncate_input_tokens": True}}, "json_type_error", "parameters.truncate_input_tokens"),
        ({"parameters": {"return_options": 1}}, "json_type_error", "parameters.return_options"),
        ({"parameters": {"return_options": {"top_n": 0}}}, "invalid_input_argument", "parameters.return_options.top_n"),
        ({"parameters": {"return_options": {"top_n": "3"}}}, "json_type_error", "parameters.return_options.top_n"),
        ({"parameters": {"return_options": {"query": 1}}}, "json_type_error", "parameters.return_options.query"),
        ({"crypto": {}}, "json_validation_error", "crypto.key_ref"),
    ],
    ids=str,
)
def test_a_mistake_gets_its_code_and_names_the_field(change, code, field):
    found = refusal(GOOD | change)
    assert (found.status, found.code, found.target) == (400, code, ("field", field))


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_request_entity"),
        (b"{", "invalid_request_entity"),
        (b"\xff\xfe", "invalid_request_entity"),
        (b"[" * 100_000, "invalid_request_entity"),
        (b"[]", "json_type_error"),
        (b"null", "json_type_error"),
        (json.dumps(GOOD | {"query": "\ud800"}).encode(), "invalid_request_entity"),
        (json.dumps(GOOD | {"inputs": [{"text": "\udfff"}]}).encode(), "invalid_request_entity"),
    ],
    ids=["empty", "half", "not text", "deep", "list", "null", "query of half a pair", "text of half a pair"],
)
def test_bytes_that_are_no_request_are_a_400(body, code):
    with pytest.raises(Refusal) as caught:
        read_rerank(body, 3)
    assert (caught.value.status, caught.value.code) == (400, code)


@pytest.mark.parametrize("version", ["2024-10-18", "2023-10-25", "2024-02-29"])
def test_a_date_is_a_version_however_old(version):
    check_version(version)


@pytest.mark.parametrize("version", [None, "", "20241018", "2024-W42-5", "2024-02-30", "2024-1-1", "2024-10-18 "])
def test_a_version_that_is_no_date_is_a_400_that_names_the_parameter(version):
    with pytest.raises(Refusal) as caught:
        check_version(version)
    assert (caught.value.status, caught.value.target) == (400, ("parameter", "version"))


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
objects = st.dictionaries(st.sampled_from(["text", "return_options", "top_n", "inputs", "key_ref"]), leaves, max_size=2)
values = leaves | objects | st.lists(leaves | objects, max_size=2)


@patient
@given(changes=st.dictionaries(st.sampled_from([*GOOD, "space_id", "parameters", "crypto"]), values, max_size=3))
def test_whatever_json_comes_it_is_read_or_refused_with_a_documented_code(changes):
    try:
        code = None
        asked = read(GOOD | changes)
    except Refusal as refused:
        code = refused.code
    documented = {"json_type_error", "json_validation_error", "invalid_input_argument", "invalid_request_entity"}
    assert code in documented or len(asked.texts) in {1, 2}
