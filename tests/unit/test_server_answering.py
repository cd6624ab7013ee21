"""The body of an answer, from scores."""

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rerank_async.server.answering import rerank_body
from rerank_async.server.bodies import Refusal, error_body
from rerank_async.server.reading import RerankRequest
from rerank_async.server.scoring import Scored

# How fast a machine draws examples is no claim of ours.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

WIRE = Path(__file__).parents[1] / "wire"
WHEN = datetime(2025, 6, 15, 14, 15, 9, 622999, tzinfo=UTC)
ASKED = RerankRequest(
    model_id="m",
    query="q",
    texts=("a", "b", "c"),
    project_id="p",
    space_id=None,
    truncate=None,
    top_n=None,
    echo_inputs=False,
    echo_query=False,
)


def test_results_go_by_score_and_then_by_index():
    body = rerank_body(ASKED, Scored((0.5, 0.75, 0.5), 12), WHEN)
    assert body["results"] == [{"index": 1, "score": 0.75}, {"index": 0, "score": 0.5}, {"index": 2, "score": 0.5}]
    assert body["input_token_count"] == 12
    assert not {"query", "system"} & set(body)


@pytest.mark.parametrize(("top_n", "kept"), [(1, [1]), (2, [1, 0]), (9, [1, 0, 2])])
def test_top_n_cuts_the_ranking_with_ties_cut_by_index(top_n, kept):
    body = rerank_body(attrs.evolve(ASKED, top_n=top_n), Scored((0.5, 0.75, 0.5), 0), WHEN)
    assert [result["index"] for result in body["results"]] == kept


def test_echoes_come_when_asked_for():
    body = rerank_body(attrs.evolve(ASKED, echo_inputs=True, echo_query=True), Scored((1.0, 2.0, 3.0), 0), WHEN)
    assert body["query"] == "q"
    assert [(result["index"], result["input"]) for result in body["results"]] == [
        (2, {"text": "c"}),
        (1, {"text": "b"}),
        (0, {"text": "a"}),
    ]


@pytest.mark.parametrize("when", [WHEN, WHEN.astimezone(timezone(timedelta(hours=2)))])
def test_the_time_is_utc_with_milliseconds(when):
    assert rerank_body(ASKED, Scored((1.0, 2.0, 3.0), 0), when)["created_at"] == "2025-06-15T14:15:09.622Z"


def test_a_scorer_that_loses_a_text_is_an_error():
    with pytest.raises(ValueError, match="2 scores for 3 texts"):
        rerank_body(ASKED, Scored((1.0, 2.0), 0), WHEN)


def test_the_answer_has_the_fields_of_the_documented_one():
    documented = json.loads((WIRE / "answer_sorted_echo.json").read_text())["body"]
    asked = attrs.evolve(ASKED, echo_inputs=True, echo_query=True)
    body = rerank_body(asked, Scored((1.0, 2.0, 3.0), 5), WHEN)
    assert set(documented) - set(body) == set()
    assert set(body["results"][0]) == set(documented["results"][0])


def test_an_error_has_the_fields_of_the_documented_one():
    documented = json.loads((WIRE / "error_400_over_length.json").read_text())["body"]
    body = error_body(Refusal(400, "invalid_input_argument", "no"), "0" * 32)
    assert set(body) == set(documented)
    assert set(body["errors"][0]) == set(documented["errors"][0])
    targeted = error_body(Refusal(400, "invalid_input_argument", "no", ("field", "query")), "0" * 32)
    assert targeted["errors"][0]["target"] == {"type": "field", "name": "query"}


@patient
@given(st.lists(st.sampled_from([-1.0, 0.0, 0.5, 2.0]), min_size=1, max_size=9), st.integers(1, 10))
def test_top_n_is_the_head_of_the_whole_ranking(scores, top_n):
    asked = attrs.evolve(ASKED, texts=("t",) * len(scores))
    whole = rerank_body(asked, Scored(tuple(scores), 0), WHEN)["results"]
    cut = rerank_body(attrs.evolve(asked, top_n=top_n), Scored(tuple(scores), 0), WHEN)["results"]
    assert cut == whole[:top_n]
    assert sorted(result["index"] for result in whole) == list(range(len(scores)))
