"""The model specs: filters and pages."""

from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rerank_async.server.bodies import Refusal
from rerank_async.server.specs import parse_filter, spec_of, specs_page

# How fast a machine draws examples is no claim of ours.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Model:
    def __init__(self, functions=("rerank",), max_sequence_length=None):
        self.functions = functions
        self.max_sequence_length = max_sequence_length


CROSS = spec_of("cross-encoder/one", Model())
EMBED = spec_of("ibm/two", Model(("embedding", "rerank"), 512))
GONE = spec_of("ibm/three", Model(("generation",))) | {"lifecycle": [{"id": "withdrawn", "start_date": "2024-01-01"}]}


@pytest.mark.parametrize(
    ("words", "passing"),
    [
        ("", [CROSS, EMBED, GONE]),
        ("function_rerank", [CROSS, EMBED]),
        ("!function_rerank", [GONE]),
        ("function_rerank,!function_embedding:and", [CROSS]),
        ("function_rerank,!lifecycle_withdrawn:and", [CROSS, EMBED]),
        ("function_embedding,lifecycle_withdrawn", [EMBED, GONE]),
        ("function_embedding,lifecycle_withdrawn:or", [EMBED, GONE]),
        ("function_embedding,lifecycle_withdrawn:and", []),
        ("modelid_cross-encoder/one", [CROSS]),
        ("provider_ibm,source_ibm:and", [EMBED, GONE]),
        ("input_tier_class_c1", [CROSS, EMBED, GONE]),
        ("tier_class_none", []),
        ("function_rerank:xor", []),  # no joint, so it is part of the value
    ],
)
def test_a_filter_lets_pass_what_its_grammar_says(words, passing):
    wanted = parse_filter(words)
    assert [spec for spec in (CROSS, EMBED, GONE) if wanted.matches(spec)] == passing


@pytest.mark.parametrize("words", ["colour_red", "function_", "rerank", "!!function_rerank"])
def test_a_filter_outside_the_grammar_is_a_400(words):
    with pytest.raises(Refusal) as caught:
        parse_filter(words)
    assert (caught.value.status, caught.value.target) == (400, ("parameter", "filters"))


def test_a_model_without_a_known_limit_has_no_model_limits():
    assert "model_limits" not in CROSS
    assert EMBED["model_limits"] == {"max_sequence_length": 512}


@patient
@given(count=st.integers(0, 12), limit=st.integers(1, 5))
def test_following_next_gives_every_model_once_and_in_order(count, limit):
    specs = [spec_of(f"a/{number}", Model()) for number in range(count)]
    query, seen = {"limit": str(limit), "filters": "function_rerank", "version": "2024-10-18"}, []
    while True:
        page = specs_page(specs, query, "http://x/specs")
        assert (page["total_count"], page["limit"]) == (count, limit)
        assert len(page["resources"]) <= limit
        seen += page["resources"]
        if "next" not in page:
            break
        query = {name: values[0] for name, values in parse_qs(urlsplit(page["next"]["href"]).query).items()}
        assert (query["filters"], query["version"]) == ("function_rerank", "2024-10-18")
    assert seen == specs


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limit", "0"),
        ("limit", "201"),
        ("limit", "-1"),
        ("limit", "x"),
        ("limit", "²"),
        ("start", "?"),
        ("start", "YXQ6"),
    ],
)
def test_a_page_that_makes_no_sense_is_a_400(name, value):
    with pytest.raises(Refusal) as caught:
        specs_page([CROSS], {name: value}, "/")
    assert (caught.value.status, caught.value.target) == (400, ("parameter", name))
