"""One ranking from any cut: against an oracle that sorts the whole list at once."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_async.policy.merging import BatchResult, Envelope, merge_envelopes, rank, scored_pairs
from rerank_async.policy.planning import load, pushed_top_n, take
from rerank_async.values.options import BatchOptions
from rerank_async.values.response import RerankResult, ServiceWarning

NOTHING_SAID = Envelope(None, None, None, None, None, (), None)


def envelope(**said):
    return Envelope(
        **{
            "model_id": None,
            "model_version": None,
            "created_at": None,
            "input_token_count": None,
            "query": None,
            "warnings": (),
            "extra": None,
        }
        | said
    )


def answer(scores, *, echoes=None, extras=None, order=None):
    places = list(order) if order is not None else list(range(len(scores)))
    return BatchResult(
        places,
        [scores[place] for place in places],
        echoes,
        extras,
        NOTHING_SAID,
    )


def pairs(ranked):
    return [(result.index, result.score) for result in ranked]


def test_two_batches_by_hand():
    # The first batch is texts 0 to 2, the second 3 and 4; the best of all is in the second.
    batches = [(0, answer([0.5, -1.0, 0.5])), (3, answer([2.0, 0.5]))]
    assert pairs(rank(batches, None, top_n=None, texts=None)) == [(3, 2.0), (0, 0.5), (2, 0.5), (4, 0.5), (1, -1.0)]


def test_one_batch_alone_keeps_its_place_in_the_list():
    assert pairs(rank([(5, answer([0.5, 2.0]))], None, top_n=None, texts=None)) == [(6, 2.0), (5, 0.5)]


def test_the_cut_goes_through_a_tie_by_index():
    batches = [(2, answer([1.0, 1.0])), (0, answer([1.0, 1.0]))]
    assert pairs(rank(batches, None, top_n=3, texts=None)) == [(0, 1.0), (1, 1.0), (2, 1.0)]


@pytest.mark.parametrize(("top_n", "count"), [(None, 3), (1, 1), (2, 2), (3, 3), (4, 3), (10**9, 3)])
def test_top_n_is_an_upper_bound(top_n, count):
    assert len(rank([(0, answer([1.0, 2.0, 3.0]))], None, top_n=top_n, texts=None)) == count


def test_a_text_that_was_sent_once_is_ranked_at_every_place():
    # Sent: "x" for places 0 and 3, "y" for 1, "z" for 2.
    batches = [(1, answer([0.0, 5.0])), (0, answer([1.0]))]
    ranked = rank(batches, [[0, 3], [1], [2]], top_n=None, texts=None)
    assert pairs(ranked) == [(2, 5.0), (0, 1.0), (3, 1.0), (1, 0.0)]


def test_texts_come_from_the_caller_and_echoes_from_the_service():
    batches = [(0, answer([1.0, 2.0], echoes={0: "service a", 1: "service b"}))]
    assert [each.input for each in rank(batches, None, top_n=None, texts=["a", "b"])] == ["b", "a"]
    assert [each.input for each in rank(batches, None, top_n=None, texts=None)] == ["service b", "service a"]
    assert [each.input for each in rank([(0, answer([1.0]))], None, top_n=None, texts=None)] == [None]


def test_unknown_fields_stay_with_their_result_whatever_the_order():
    batches = [
        (0, answer([1.0, 2.0], extras={1: {"made_up": "b"}}, order=[1, 0])),
        (2, answer([3.0], extras={0: {"made_up": "c"}})),
    ]
    ranked = rank(batches, None, top_n=None, texts=None)
    assert [(each.index, dict(each.extra)) for each in ranked] == [
        (2, {"made_up": "c"}),
        (1, {"made_up": "b"}),
        (0, {}),
    ]


def test_zeros_of_both_signs_tie_and_keep_their_sign():
    ranked = rank([(0, answer([-0.0, 0.0, 1e-300]))], None, top_n=None, texts=None)
    assert [each.index for each in ranked] == [2, 0, 1]
    assert [math.copysign(1, each.score) for each in ranked] == [1, -1, 1]


def test_no_batches_are_no_ranking():
    assert rank([], None, top_n=None, texts=None) == ()
    assert scored_pairs([], None) == ()


def test_scored_pairs_are_by_index_at_the_caller_s_places():
    assert scored_pairs([(1, answer([9.0])), (0, answer([1.0]))], [[1, 2], [0]]) == ((0, 9.0), (1, 1.0), (2, 1.0))


FEW_SCORES = st.sampled_from([-2.5, -0.0, 0.0, 0.5, 0.5, 1.0])
SCORES = FEW_SCORES | st.floats(allow_nan=False, allow_infinity=False)


@given(
    data=st.data(),
    texts=st.lists(st.sampled_from([f"t{i}" for i in range(12)]), max_size=30),
    dedupe=st.booleans(),
    top_n=st.none() | st.integers(1, 40),
    with_texts=st.booleans(),
)
def test_any_cut_in_any_order_of_arrival_gives_the_ranking_of_one_request(data, texts, dedupe, top_n, with_texts):
    score_of = {text: data.draw(SCORES) for text in sorted(set(texts))}
    made = load(texts, BatchOptions(max_inputs=data.draw(st.integers(1, 8))), {"query": "q"}, dedupe=dedupe)
    arrived, start = [], 0
    while start < len(made.texts):
        stop = data.draw(st.integers(start + 1, take(made, start)))  # any cut, not only the fullest
        scores = [score_of[text] for text in made.texts[start:stop]]
        pushed = pushed_top_n(top_n, stop - start)
        # The service ranks and cuts to what it was asked for; ties it breaks as it likes best, here by index.
        places = sorted(range(len(scores)), key=lambda place: (-scores[place], place))[:pushed]
        arrived.append((start, answer(scores, order=data.draw(st.permutations(places)))))
        start = stop
    arrived = data.draw(st.permutations(arrived))
    ranked = rank(arrived, made.positions, top_n=top_n, texts=texts if with_texts else None)

    oracle = sorted(((score_of[text], index) for index, text in enumerate(texts)), key=lambda pair: (-pair[0], pair[1]))
    assert pairs(ranked) == [(index, score) for score, index in oracle][:top_n]
    assert all(each.input == (texts[each.index] if with_texts else None) for each in ranked)
    assert all(isinstance(each, RerankResult) for each in ranked)


@given(data=st.data(), texts=st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=20))
def test_scored_pairs_hold_every_place_of_what_was_scored_and_nothing_else(data, texts):
    made = load(texts, BatchOptions(max_inputs=1), {"query": "q"}, dedupe=True)
    scored = data.draw(st.sets(st.integers(0, len(made.texts) - 1)))
    found = scored_pairs([(start, answer([float(start)])) for start in scored], made.positions)
    wanted = {made.texts[start]: float(start) for start in scored}
    assert found == tuple((index, wanted[text]) for index, text in enumerate(texts) if text in wanted)


# What stands around the results


def test_one_envelope_is_taken_as_it_is():
    warning = ServiceWarning("w")
    only = envelope(
        model_id="m",
        model_version="1.0.0",
        created_at="2030-01-01T00:00:00Z",
        input_token_count=7,
        query="q",
        warnings=(warning,),
        extra={"x": 1},
    )
    assert merge_envelopes([only]) == only


@pytest.mark.parametrize("count", [1, 2])
def test_a_service_that_says_nothing(count):
    assert merge_envelopes([NOTHING_SAID] * count) == NOTHING_SAID


def test_tokens_are_summed_and_those_who_do_not_say_do_not_count():
    assert merge_envelopes([envelope(input_token_count=n) for n in (5, 0, 37)]).input_token_count == 42
    assert merge_envelopes([envelope(input_token_count=5), NOTHING_SAID]).input_token_count == 5
    assert merge_envelopes([envelope(input_token_count=0), NOTHING_SAID]).input_token_count == 0


def test_warnings_come_once_each_in_the_order_of_their_coming():
    one, two, again = ServiceWarning("one"), ServiceWarning("two", id="x"), ServiceWarning("one", None, None, None)
    merged = merge_envelopes(
        [
            envelope(warnings=(one, two)),
            envelope(warnings=(two, again)),
            envelope(warnings=(ServiceWarning("three", additional_properties={"a": [1]}),)),
        ]
    )
    assert [each.message for each in merged.warnings] == ["one", "two", "three"]


def test_created_at_is_that_of_the_last_answer_that_says_one_and_names_those_of_the_first():
    merged = merge_envelopes(
        [
            NOTHING_SAID,
            envelope(model_id="a", created_at="1", query="q1", extra={"x": 1}),
            envelope(model_id="b", created_at="2", query="q2", extra={"y": 2}),
            NOTHING_SAID,
        ]
    )
    assert (merged.model_id, merged.created_at, merged.query, merged.extra) == ("a", "2", "q1", {"x": 1})


def test_different_versions_of_the_model_are_a_warning_of_ours_that_names_them():
    merged = merge_envelopes(
        [envelope(model_version="1.0.0"), envelope(model_version="1.1.0"), envelope(model_version="1.0.0")]
    )
    assert merged.model_version == "1.0.0"
    (warning,) = merged.warnings
    assert warning.id == "rerank_async_mixed_model_versions"
    assert "1.0.0, 1.1.0" in warning.message


def test_the_same_version_or_none_is_no_warning():
    merged = merge_envelopes([envelope(model_version="1.0.0"), NOTHING_SAID, envelope(model_version="1.0.0")])
    assert (merged.model_version, merged.warnings) == ("1.0.0", ())
