"""The bench of other clients finds what it is there to find: a wrong order, a wrong score, a missing or strange result."""

import math

import pytest
from interop.comparing import TOLERANCE, compare, ranked

SCORES = (0.25, 0.75, 0.25, 1.0)
GOOD = [(3, 1.0), (1, 0.75), (0, 0.25), (2, 0.25)]
ORDER = [3, 1, 0, 2]


def test_the_best_come_first_and_the_earlier_on_a_tie():
    assert ranked(SCORES) == GOOD
    assert ranked(SCORES, 2) == GOOD[:2]


def test_the_same_ranking_has_no_fault():
    found = compare(GOOD, ORDER, SCORES)
    assert (found.fault, found.largest) == (None, 0.0)


def test_a_difference_within_the_tolerance_passes_and_is_reported():
    close = [(index, score + TOLERANCE / 2) for index, score in GOOD]
    found = compare(close, ORDER, SCORES)
    assert found.fault is None
    assert found.largest == pytest.approx(TOLERANCE / 2)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ([GOOD[0], GOOD[1], GOOD[3], GOOD[2]], "place 3 is text 2 where AsyncRerank has text 0"),
        ([(3, 1.0), (1, 0.75 + 2 * TOLERANCE), (0, 0.25), (2, 0.25)], "differs from the scorer's own by 2e-06"),
        ([(3, 1.0), (1, math.nan), (0, 0.25), (2, 0.25)], "differs from the scorer's own"),
        (GOOD[:3], "3 results where AsyncRerank has 4"),
        ([], "0 results where AsyncRerank has 4"),
        ([(4, 1.0), *GOOD[1:]], "index 4 is none of the 4 texts"),
        ([(-1, 1.0), *GOOD[1:]], "index -1 is none of the 4 texts"),
    ],
    ids=["swapped", "score", "NaN", "one missing", "empty", "beyond", "negative"],
)
def test_what_differs_is_said(found, words):
    assert words in compare(found, ORDER, SCORES).fault
