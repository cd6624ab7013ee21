"""Pages of model specs: the recorded ones, and malformed ones with the path of what is wrong."""

import pytest
from attrs import asdict
from support.bodies import as_bytes, exchange_of, wire
from support.codecs import NAMES, use_codec

from rerank_async.errors import DecodeError, RateLimitError, ServiceError
from rerank_async.policy.specs import decode_specs
from rerank_async.values.response import ModelSpec

URL = "https://us-south.ml.cloud.ibm.com/ml/v1/foundation_model_specs"
GOOD = {"model_id": "a/b"}


@pytest.fixture(params=NAMES, autouse=True, scope="module")
def _codec(request):
    with use_codec(request.param):
        yield


def decode(body, status=200, headers=None):
    return decode_specs(status, headers or {}, body if isinstance(body, bytes) else as_bytes(body), URL)


def test_the_first_page_names_the_next():
    (spec,), start = decode_specs(*exchange_of("specs_first_page"), URL)
    assert start == "made-up-start"
    assert asdict(spec) == asdict(
        ModelSpec(
            model_id="cross-encoder/ms-marco-minilm-l-12-v2",
            label="ms-marco-minilm-l-12-v2",
            provider="cross-encoder",
            functions=("rerank",),
            max_sequence_length=None,
            lifecycle=("available",),
            raw=wire("specs_first_page")["body"]["resources"][0],
        )
    )


def test_the_last_page_names_none():
    (spec,), start = decode_specs(*exchange_of("specs_last_page"), URL)
    assert start is None
    assert (spec.max_sequence_length, spec.functions) == (256, ("embedding", "rerank", "similarity"))
    assert spec.raw["input_tier"] == "class_c1"


@pytest.mark.parametrize(
    "resource",
    [
        GOOD,
        GOOD | {"label": None, "provider": None, "model_limits": None},
        GOOD | {"made_up": [1]},
        GOOD | {"model_limits": {}},
        GOOD | {"functions": [], "lifecycle": []},
    ],
)
def test_a_resource_that_says_little_is_fine(resource):
    (spec,), start = decode({"resources": [resource]})
    assert (spec.model_id, spec.label, spec.functions, spec.max_sequence_length, start) == ("a/b", None, (), None, None)
    assert spec.raw == resource


def test_an_empty_page_is_fine():
    assert decode({"resources": []}) == ((), None)


@pytest.mark.parametrize(
    ("href", "start"),
    [
        ("https://h.example/specs?start=abc&limit=5", "abc"),
        ("/specs?limit=5&start=a%2Bb%3D", "a+b="),
        ("https://h.example/specs?limit=5", None),
        ("", None),
    ],
)
def test_the_start_of_the_next_page(href, start):
    assert decode({"resources": [], "next": {"href": href}})[1] == start


@pytest.mark.parametrize(
    ("page", "path"),
    [
        ({}, "$.resources"),
        ({"resources": None}, "$.resources"),
        ({"resources": 5}, "$.resources"),
        ({"resources": [GOOD, 5]}, "$.resources[1]"),
        ({"resources": [GOOD, None]}, "$.resources[1]"),
        ({"resources": [GOOD, {}]}, "$.resources[1].model_id"),
        ({"resources": [{"label": "x"}]}, "$.resources[0].model_id"),
        ({"resources": [GOOD, GOOD | {"functions": None}]}, "$.resources[1].functions"),
        ({"resources": [GOOD, GOOD | {"functions": [{"id": "rerank"}, {}]}]}, "$.resources[1].functions[1].id"),
        (
            {"resources": [GOOD | {"model_limits": {"max_sequence_length": "many"}}]},
            "$.resources[0].model_limits.max_sequence_length",
        ),
        ({"resources": [], "next": {}}, "$.next.href"),
    ],
    ids=str,
)
def test_a_malformed_page_is_an_error_with_the_path(page, path):
    with pytest.raises(DecodeError) as raised:
        decode(page)
    assert f"@ {path}" in str(raised.value)
    assert URL in str(raised.value)
    assert raised.value.url == URL


@pytest.mark.parametrize(
    "resource",
    [
        {"model_id": None},
        {"model_id": 5},
        {"model_id": {"a": 1}},
        {"model_id": ["a"]},
        GOOD | {"functions": [{"id": None}]},
        GOOD | {"model_limits": {"max_sequence_length": 1.5}},
    ],
    ids=str,
)
def test_a_value_of_another_type_is_not_turned_into_the_right_one(resource):
    with pytest.raises(DecodeError, match="another shape"):
        decode({"resources": [resource]})


@pytest.mark.parametrize(
    "body",
    [b"", b"<html></html>", b"null", b"5", b'"x"', b"[]", b"\xff", b"[" * 100_000],
    ids=lambda body: repr(body[:8]),
)
def test_what_is_no_page_at_all(body):
    with pytest.raises(DecodeError, match="model specs") as raised:
        decode(body)
    assert raised.value.url == URL


def test_a_bad_status_is_its_error():
    with pytest.raises(ServiceError):
        decode(b"", 503)
    with pytest.raises(RateLimitError) as raised:
        decode(b"", 429, {"retry-after": "2"})
    assert raised.value.retry_after == 2.0
