"""The cut of a ranking by score."""

from __future__ import annotations

from bisect import bisect_right
from math import isfinite

from rerank_async.errors import InvalidArgumentError
from rerank_async.values.checks import number
from rerank_async.values.response import RerankResult


def score_threshold_of(value: object) -> float | None:
    """A call's ``score_threshold``: a finite number, or None for no cut.

    Raises:
        InvalidArgumentError: NaN or infinite.
        InvalidTypeError: Not a number.
    """
    if value is None:
        return None
    threshold = number(value, "score_threshold")
    try:
        finite = isfinite(threshold)
    except OverflowError:  # an int that no float can hold
        finite = False
    if not finite:
        raise InvalidArgumentError(
            f"score_threshold must be finite, not {value!r}; None is no cut", argument="score_threshold"
        )
    return threshold


def above_threshold(results: tuple[RerankResult, ...], threshold: float | None) -> tuple[RerankResult, ...]:
    """The results with a score of at least ``threshold``; None: all.

    The threshold is compared with the model's own scores, before any `RerankResponse.normalized`. Results come best
    first, so the threshold and ``top_n`` both cut the end off: which of the two cuts first makes no difference. It is
    applied to the merged ranking, so that no batch is cut by itself.

    Args:
        results: Merged, best first.
        threshold: From `score_threshold_of`.
    """
    if threshold is None:
        return results
    return results[: bisect_right(results, -threshold, key=lambda result: -result.raw_score)]
