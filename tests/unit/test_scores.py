"""Scores on request: between 0 and 1 with the raw ones kept, and the cut by a threshold."""

import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.odd import ODD

from rerank_async import NormalizedResult, RerankModels, RerankResponse, RerankResult
from rerank_async.errors import InvalidArgumentError, InvalidTypeError
from rerank_async.policy.merging import BatchResult, Envelope, rank
from rerank_async.policy.scores import above_threshold, score_threshold_of
from rerank_async.values.models import known_model
from rerank_async.values.response import BatchFailure
from rerank_async.values.scores import sigmoid

CROSS_ENCODER = RerankModels.MS_MARCO_MINILM_L_12_V2
FINITE = st.floats(allow_nan=False, allow_infinity=False)


def response(*scores, model_id=CROSS_ENCODER, **fields):
    order = sorted(range(len(scores)), key=lambda index: (-scores[index], index))
    results = tuple(RerankResult(index, scores[index], f"text {index}", {"x": index}) for index in order)
    return RerankResponse(model_id=model_id, results=results, **fields)


# Normalized


@pytest.mark.parametrize(
    ("logit", "score"),
    [
        (0.0, 0.5),
        (math.log(3), 0.75),
        (-math.log(3), 0.25),
        (2.9258, 0.9491),  # the logits of IBM's own examples
        (-0.9204, 0.2849),
        (-11.05, 0.0000158869),
        (40.0, 1.0),
        (1e308, 1.0),
        (-1e308, 0.0),
    ],
)
def test_the_sigmoid_by_hand(logit, score):
    assert sigmoid(logit) == pytest.approx(score, rel=1e-4)


def test_far_below_zero_it_is_still_exact_and_not_zero():
    assert sigmoid(-700) == pytest.approx(math.exp(-700), rel=1e-12)
    assert sigmoid(-745) > 0


@given(FINITE, FINITE)
def test_the_sigmoid_never_overflows_and_never_turns_an_order_round(one, other):
    assert 0 <= sigmoid(one) <= 1
    assert sigmoid(one) + sigmoid(-one) == pytest.approx(1)
    if one <= other:
        assert sigmoid(one) <= sigmoid(other)


def test_logits_go_through_the_sigmoid_and_the_raw_scores_stay():
    raw = response(-11.05, 2.9258, -0.9204, input_token_count=7, failures=(BatchFailure((3,), ValueError()),))
    normalized = raw.normalized()
    assert [each.index for each in normalized.results] == [1, 2, 0]
    assert [each.score for each in normalized.results] == [sigmoid(2.9258), sigmoid(-0.9204), sigmoid(-11.05)]
    assert [each.raw_score for each in normalized.results] == [2.9258, -0.9204, -11.05]
    assert all(type(each) is NormalizedResult for each in normalized.results)
    assert [(each.input, each.extra) for each in normalized.results] == [(e.input, e.extra) for e in raw.results]
    assert (normalized.input_token_count, normalized.failures) == (7, raw.failures)
    assert [each.score for each in raw.results] == [2.9258, -0.9204, -11.05], "the response itself is as it was"


def test_the_raw_score_of_a_result_as_it_came_is_its_score():
    assert RerankResult(0, -3.5).raw_score == -3.5


def test_similarities_pass_as_they_are():
    normalized = response(0.87, -0.05, model_id=RerankModels.ALL_MINILM_L6_V2).normalized()
    assert (
        [each.score for each in normalized.results] == [each.raw_score for each in normalized.results] == [0.87, -0.05]
    )


def test_a_normalized_score_does_not_depend_on_the_other_results():
    assert response(1.5).normalized().results[0].score == response(9.0, 1.5, -9.0).normalized().results[1].score


def test_normalizing_twice_is_normalizing_once():
    once = response(2.0, -2.0).normalized()
    assert once.normalized() == once
    assert once.normalized("similarities") == response(2.0, -2.0).normalized("similarities")


def test_the_kind_that_is_given_wins():
    assert response(2.0).normalized("similarities").results[0].score == 2.0
    assert response(2.0, model_id=RerankModels.ALL_MINILM_L6_V2).normalized("logits").results[0].score == sigmoid(2.0)


def test_a_model_of_which_nothing_is_known_needs_a_kind():
    unknown = response(2.0, model_id="acme/reranker")
    with pytest.raises(InvalidArgumentError, match="kind must be given for the model 'acme/reranker'") as raised:
        unknown.normalized()
    assert raised.value.argument == "kind"
    assert unknown.normalized(kind="logits").results[0].score == sigmoid(2.0)


@pytest.mark.parametrize("kind", ["logit", "", "LOGITS", "minmax"])
def test_a_kind_that_is_none_is_refused(kind):
    with pytest.raises(InvalidArgumentError, match="kind must be one of 'logits', 'similarities'"):
        response(2.0).normalized(kind)


@pytest.mark.parametrize("kind", [1, True, b"logits", ODD], ids=lambda kind: type(kind).__name__)
def test_a_kind_that_is_no_str_is_refused(kind):
    with pytest.raises(InvalidTypeError, match="kind must be a str"):
        response(2.0).normalized(kind)


def test_every_documented_model_has_a_kind_and_a_length():
    kinds = {model: known_model(model) for model in RerankModels}
    assert {model for model, known in kinds.items() if known.scores == "logits"} == {CROSS_ENCODER}
    assert {known.max_tokens for known in kinds.values()} == {128, 256, 512}
    assert known_model("Cross-Encoder/MS-MARCO-MiniLM-L-12-v2") == known_model(CROSS_ENCODER)
    assert known_model("ms-marco-minilm-l-12-v2") is None


def test_a_normalized_answer_is_written_as_the_rest_body_equal_by_value_and_pickles():
    normalized = response(2.0).normalized()
    assert normalized.results[0].to_dict() == {"index": 0, "score": sigmoid(2.0), "input": {"text": "text 0"}, "x": 0}
    assert pickle.loads(pickle.dumps(normalized)) == normalized
    assert normalized != response(2.0)
    assert response().normalized().results == ()


# The threshold


@pytest.mark.parametrize(
    ("threshold", "kept"),
    [(None, 4), (-100, 4), (-2.0, 4), (-1.9, 3), (1.0, 3), (1.0000001, 1), (3.0, 1), (3.1, 0), (10**300, 0)],
)
def test_what_is_at_the_threshold_or_above_stays(threshold, kept):
    results = response(1.0, 3.0, -2.0, 1.0).results
    assert above_threshold(results, threshold) == results[:kept]


def test_it_is_the_raw_score_that_counts():
    normalized = response(2.0, -2.0).normalized().results
    assert above_threshold(normalized, 1.5) == normalized[:1]
    assert above_threshold(normalized, 0.5) == normalized[:1]
    assert above_threshold(normalized, -2.0) == normalized


@given(st.lists(FINITE, max_size=50), FINITE, st.none() | st.integers(1, 60))
def test_the_threshold_and_top_n_may_cut_in_either_order(scores, threshold, top_n):
    envelope = Envelope(None, None, None, None, None, (), None)
    batches = [(range(len(scores)), BatchResult(range(len(scores)), scores, None, None, envelope))]
    after = above_threshold(rank(batches, None, top_n=top_n, texts=None), threshold)
    before = above_threshold(rank(batches, None, top_n=None, texts=None), threshold)[:top_n]
    assert after == before
    assert all(each.score >= threshold for each in after)


@pytest.mark.parametrize("value", [None, 0, -5, 0.5, -1e300])
def test_a_threshold_is_any_finite_number_or_none(value):
    assert score_threshold_of(value) == value


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10**400])
def test_a_threshold_that_is_not_finite_is_refused(value):
    with pytest.raises(InvalidArgumentError, match="score_threshold must be") as raised:
        score_threshold_of(value)
    assert raised.value.argument == "score_threshold"


@pytest.mark.parametrize("value", ["0.5", True, [0.5], ODD], ids=lambda value: type(value).__name__)
def test_a_threshold_that_is_no_number_is_refused(value):
    with pytest.raises(InvalidTypeError, match="score_threshold must be a number"):
        score_threshold_of(value)
