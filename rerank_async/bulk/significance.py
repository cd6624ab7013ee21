"""A paired randomisation test: how often chance alone makes a difference as large as the one seen."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

PERMUTATIONS = 10_000
"""Random ones, where there are too many to try them all."""
_SEED = 20_140_428  # any number; a fixed one, so that the same runs give the same p
_GROUP = 8  # signs looked up at once: the bits of a byte
_SLACK = 1e-12  # sums of the same numbers in another order may differ by their last bits


def randomisation_test(differences: Sequence[float], permutations: int = PERMUTATIONS) -> float:
    """The two-sided p of the mean of paired differences not being zero.

    Under the null hypothesis the two systems are one, so each difference may as well have had the other sign. p is the
    share of all ways to set the signs whose sum is at least as far from zero as the one seen. If there are more than
    ``permutations`` ways, so many random ones are drawn, the one seen is counted as one of them, and
    p = (1 + hits) / (1 + permutations). Queries that do not differ have no sign and change nothing. Worked out: the
    differences 1, 1, 1 can be signed in 8 ways, of which 2 are as extreme, so p = 0.25.

    Source: Fisher's test as Smucker, Allan and Carterette (CIKM 2007, "A comparison of statistical significance tests
    for information retrieval evaluation") recommend it for measures of retrieval.

    Args:
        differences: One for each query.
        permutations: At least 1.
    """
    signed = [difference for difference in differences if difference]
    if not signed:
        return 1.0
    bound = abs(sum(signed)) - _SLACK * sum(map(abs, signed))
    tables = [_sums(signed[start : start + _GROUP]) for start in range(0, len(signed), _GROUP)]
    if len(signed) < permutations.bit_length():
        ways = 1 << len(signed)
        hits = sum(abs(_sum(tables, number.to_bytes(len(tables), "little"))) >= bound for number in range(ways))
        return hits / ways
    draw = Random(_SEED).randbytes  # noqa: S311 - statistics, not secrets
    hits = sum(abs(_sum(tables, draw(len(tables)))) >= bound for _ in range(permutations))
    return (1 + hits) / (1 + permutations)


def _sums(numbers: Sequence[float]) -> list[float]:
    """The sum of the numbers for each byte, whose bits say which of them are negative; bits without a number: none."""
    sums = [0.0]
    for number in numbers:
        sums = [total + number for total in sums] + [total - number for total in sums]
    return sums * ((1 << _GROUP) // len(sums))


def _sum(tables: Sequence[Sequence[float]], signs: bytes) -> float:
    return sum([table[byte] for table, byte in zip(tables, signs, strict=True)])
