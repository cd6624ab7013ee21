"""The benchmarks' own parts: how their server counts and breaks, how they measure, and that their table hides nothing."""

import math
import random
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from door import FAULTS, Arrival, Bucket, FixedWindow, SlidingWindow, drawn, words_over
from harness import most_in, place_of, used
from report import Figure, number, rows, table


@pytest.mark.parametrize(
    ("counter", "passed"),
    [
        # Four a second, asked every 0.1 s for 1.2 s from 0.85 on: the first second's number, then what each kind gives.
        (Bucket, [0.85, 0.95, 1.05, 1.15, 1.25, 1.35, 1.65, 1.85]),
        (FixedWindow, [0.85, 0.95, 1.05, 1.15, 1.25, 1.35]),
        (SlidingWindow, [0.85, 0.95, 1.05, 1.15, 1.85, 1.95]),
    ],
    ids=["bucket", "fixed", "sliding"],
)
def test_each_kind_of_limit_lets_through_what_it_stands_for(counter, passed):
    limit = counter()
    times = [round(0.85 + 0.1 * step, 2) for step in range(12)]
    assert [at for at in times if limit.admit(at, 4) >= 0] == passed


@pytest.mark.parametrize("counter", [Bucket, FixedWindow, SlidingWindow], ids=["bucket", "fixed", "sliding"])
def test_a_limit_says_how_many_more_would_pass_and_takes_a_lower_rate_at_once(counter):
    limit = counter()
    assert [limit.admit(0.0, 8) for _ in range(4)] == [7, 6, 5, 4]
    assert sum(limit.admit(0.0, 4) >= 0 for _ in range(20)) == {Bucket: 4}.get(counter, 0)


def test_faults_come_in_their_shares():
    dice = random.Random(1)
    met = [drawn(FAULTS, dice) for _ in range(20_000)]
    assert {name: round(met.count(name) / len(met), 2) for name in FAULTS} == FAULTS
    assert drawn({}, dice) == "ok"


def test_a_text_is_too_long_by_its_words_unless_it_is_cut():
    body = {"inputs": [{"text": "one"}, {"text": "one two three"}]}
    assert words_over(body, 3) == 0
    assert words_over(body, 2) == 3
    assert words_over({**body, "parameters": {"truncate_input_tokens": 2}}, 2) == 0
    assert words_over({**body, "parameters": {"truncate_input_tokens": 9}}, 2) == 3


def test_use_of_a_limit_does_not_depend_on_how_requests_bunch():
    bunched = [
        Arrival(at=second + 0.001 * place, tag="", inputs=1, outcome="ok") for second in range(30) for place in range(8)
    ]
    even = [Arrival(at=place / 8, tag="", inputs=1, outcome="503") for place in range(240)]
    refused = [Arrival(at=place / 8, tag="", inputs=1, outcome="limited") for place in range(240)]
    assert used(bunched, 8, 2.0, 20.0) == pytest.approx(1, abs=0.01)
    assert used(even, 8, 2.0, 20.0) == pytest.approx(1, abs=0.01)
    assert used(even[::2] + refused, 8, 2.0, 20.0) == pytest.approx(0.5, abs=0.01)


def test_the_fullest_window_and_the_place_at_the_door():
    assert most_in([0.0, 0.5, 0.99, 1.0, 1.2, 3.0], 1.0) == 4
    assert most_in([], 1.0) == 0
    log = [Arrival(at, tag, 1, "ok") for at, tag in [(1, "small"), (2, "large"), (3, "large"), (4, "small")]]
    assert place_of(log, "small", since=1.5) == 3
    assert place_of(log, "other", since=0) > 1000


def test_the_table_says_plainly_what_is_missed():
    def figures(*values, **options):
        return [Figure(point="limits 1", what="x", value=value, **options) for value in values]

    assert rows(figures(1, 1, 3, bound=2))[0].met
    assert not rows(figures(1, 1, 3, bound=2, worst=True))[0].met
    assert not rows(figures(0.9, 0.96, 0.94, bound=0.95, at_least=True))[0].met
    assert rows(figures(5.0))[0].met is None
    assert not rows(figures(1, math.nan, bound=2))[0].met
    page = table(
        [*figures(1, math.nan, bound=2, context="Error: | why"), Figure(point="a", what="y", value=1, bound=1)]
    )
    assert "| limits 1 | x |  | not measured | ≤ 2 | **NO** | Error: / why |" in page
    assert page.endswith("1 of 2 bounds kept, **1 missed**.")


def test_counts_are_shown_whole_and_ratios_with_three_digits():
    assert (number(1), number(1.0), number(0.98765)) == ("1", "1.000", "0.988")
