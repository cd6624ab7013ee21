"""The lexical scorer."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rerank_async.server import LexicalScorer, OverlengthError

# How fast a machine draws examples is no claim of ours.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def scores(query, *texts, truncate=None):
    return LexicalScorer().score_now(query, texts, truncate).scores


def test_a_score_is_the_found_share_of_the_query_by_letters():
    # "red" weighs 3 letters and "apples" 6, and both are found, the second by its stem.
    assert scores("red apples", "The RED apple.") == (1.0,)
    assert scores("red apples", "a red door") == (3 / 9,)
    # Of the trigrams app ppl ple les, "applet" has three: 6 * 0.5 * 3/4.
    assert scores("red apples", "applet") == (6 * 0.5 * 0.75 / 9,)
    assert scores("red apples", "blue") == (0.0,)


def test_a_long_word_counts_as_eight_letters():
    assert scores("internationalisation cat", "cat") == (3 / 11,)


@pytest.mark.parametrize(("query", "text"), [("", "a"), ("!?", "a"), ("a", "")])
def test_where_there_is_nothing_to_find_the_score_is_zero(query, text):
    assert scores(query, text) == (0.0,)


def test_truncation_hides_the_words_behind_it():
    assert scores("cat", "dog cat", truncate=1) == (0.0,)
    assert scores("cat", "dog cat", truncate=2) == (1.0,)


def test_tokens_are_counted_for_every_pair_after_truncation():
    scored = LexicalScorer().score_now("two words", ["one two three", "one"], truncate=2)
    assert scored.input_token_count == (2 + 2) + (2 + 1)


def test_a_text_or_query_above_the_maximum_is_refused_with_both_numbers():
    scorer = LexicalScorer(max_sequence_length=2)
    assert scorer.score_now("a b", ["a b"]).scores == (1.0,)
    for query, text, truncate in [("a", "a b c", None), ("a b c", "a", None), ("a", "a b c", 3)]:
        with pytest.raises(OverlengthError) as caught:
            scorer.score_now(query, [text], truncate)
        assert (caught.value.tokens, caught.value.maximum) == (3, 2)
    assert scorer.score_now("a", ["a b c"], truncate=2).scores == (1.0,)


words = st.text("abc é", max_size=12)


@patient
@given(query=words, texts=st.lists(words, min_size=1, max_size=40))
async def test_scores_are_pointwise_bounded_and_the_same_in_a_loop(query, texts):
    scorer = LexicalScorer()
    whole = scorer.score_now(query, texts)
    assert whole.scores == tuple(scorer.score_now(query, [text]).scores[0] for text in texts)
    assert all(0 <= score <= 1 for score in whole.scores)
    assert await scorer.score(query, texts, None) == whole
