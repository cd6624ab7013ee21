"""Whether a client's ranking is ours, and its scores the scorer's own; in words where they are not. Pure."""

import attrs

TOLERANCE = 1e-6
"""The most that a score may differ from the scorer's own."""


def ranked(scores, top_n=None):
    """Give pairs of index and score by score, descending, then by index, ascending; the first ``top_n``."""
    return sorted(enumerate(scores), key=lambda pair: (-pair[1], pair[0]))[:top_n]


@attrs.frozen
class Comparison:
    """What came of one ranking: what is wrong with it, None if nothing, and the largest difference of a score."""

    fault: str | None
    largest: float = 0.0


def compare(found, order, scores):
    """Compare a client's pairs, in the client's order, with the order of `AsyncRerank` and the scorer's scores.

    Args:
        found: Pairs of index and score.
        order: Indices, best first.
        scores: The scorer's score of every text, in the order of the texts.
    """
    strange = [index for index, _ in found if not 0 <= index < len(scores)]
    if strange:
        return Comparison(f"index {strange[0]} is none of the {len(scores)} texts")
    largest = max((abs(score - scores[index]) for index, score in found), default=0.0)
    theirs = [index for index, _ in found]
    if theirs != list(order):
        if len(theirs) != len(order):
            return Comparison(f"{len(theirs)} results where AsyncRerank has {len(order)}", largest)
        at = next(at for at, pair in enumerate(zip(theirs, order, strict=True)) if pair[0] != pair[1])
        return Comparison(f"place {at + 1} is text {theirs[at]} where AsyncRerank has text {order[at]}", largest)
    # Not the largest against the tolerance: a NaN has no place in an order.
    if not all(abs(score - scores[index]) <= TOLERANCE for index, score in found):
        return Comparison(f"a score differs from the scorer's own by {largest:.2g}", largest)
    return Comparison(None, largest)
