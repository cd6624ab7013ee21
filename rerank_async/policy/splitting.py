"""What becomes of the texts of a batch that was refused as too large. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

Members = Sequence[int]
"""Positions in the list that is sent."""


def halves(members: Members, sizes: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """A batch that was refused as too large, as two of about the same size; None: it is one text, and cannot be split.

    Args:
        members: Positions in the list that is sent.
        sizes: For each of that whole list, its length.
    """
    if len(members) < 2:
        return None
    half = sum(sizes[index] for index in members) / 2
    total = 0
    for place, index in enumerate(members[:-1], 1):
        total += sizes[index]
        if total >= half:
            return tuple(members[:place]), tuple(members[place:])
    return tuple(members[:-1]), tuple(members[-1:])


def slices(members: Members, most: int) -> list[tuple[int, ...]]:
    """A batch that was refused for its number of texts, as batches of ``most`` and a last one with the rest."""
    return [tuple(members[start : start + most]) for start in range(0, len(members), most)]


class Split(NamedTuple):
    """What becomes of a batch that was refused.

    Attributes:
        parts: What is to be sent now.
        lost: What is given up; the batch itself, if it is.
    """

    parts: list[Members]
    lost: list[Members]


class Splitting:
    """Cuts what has too many bytes in two, until it goes or one text is left; for one call.

    It may be the query that is too long, and then no part goes, however small. So once in a call, where the texts are the
    smaller part of the body, or where a part is refused like the whole, the shortest text goes alone and the rest waits.
    If it is refused as well, it may be what is at fault, so the next one goes. After two, every text that is as long would
    be refused: those are given up, unless one of them was scored.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        """Takes the length of each text of the list that is sent, in bytes."""
        self._sizes = sizes
        self._parts: set[Members] = set()
        self._probe: Members | None = None
        self._probed = False
        self._held: list[list[int]] = []
        self._alone: list[int] = []  # the lengths of the two shortest texts that were refused alone
        self._scored = -1  # the length of the longest text that was scored
        self._looked_at = 0

    def split(self, members: Members, *, body_bytes: int, scored: Sequence[Members]) -> Split:
        """Hears of a batch that was refused.

        Args:
            members: What it held.
            body_bytes: The length of its body.
            scored: The batches of the call that were scored so far; a longer list each time.
        """
        for batch in scored[self._looked_at :]:
            self._scored = max(self._scored, *(self._sizes[at] for at in batch))
        self._looked_at = len(scored)
        if len(members) == 1:
            self._alone = sorted([*self._alone, self._least(members)])[:2]
        if members == self._probe and self._held and len(self._alone) < 2:
            return Split([self._next_probe()], [members])
        held = self._released(members)
        lost = [each for each in held if self._is_in_vain(each)]
        parts = [part for each in held if each not in lost for part in self._cut(each)]
        if len(members) == 1 or self._is_in_vain(members):
            return Split(parts, [members, *lost])
        may_be_the_query = not self._probed and not scored and self._may_be_the_query(members, body_bytes)
        if may_be_the_query or self._probe is not None:
            self._held.append(list(members))
            return Split([self._next_probe()] if may_be_the_query else [], [])
        return Split([*parts, *self._cut(members)], lost)

    def settled(self, members: Members) -> list[Members]:
        """A batch was scored, or failed of something else; returns what waited for that, to be sent now."""
        return [part for each in self._released(members) for part in self._cut(each)]

    def _next_probe(self) -> Members:
        """The shortest of the texts that wait."""
        shortest = min((at for each in self._held for at in each), key=self._sizes.__getitem__)
        self._held = [left for each in self._held if (left := [at for at in each if at != shortest])]
        self._probe, self._probed = (shortest,), True
        return self._probe

    def _released(self, members: Members) -> Sequence[Members]:
        if members != self._probe:
            return []
        self._probe = None
        held, self._held = self._held, []
        return held

    def _cut(self, members: Members) -> Sequence[Members]:
        parts = halves(members, self._sizes) or (tuple(members),)
        self._parts.update(parts)
        return parts

    def _is_in_vain(self, members: Members) -> bool:
        return len(self._alone) == 2 and self._scored < self._alone[1] <= self._least(members)

    def _may_be_the_query(self, members: Members, body_bytes: int) -> bool:
        return tuple(members) in self._parts or 2 * sum(self._sizes[at] for at in members) < body_bytes

    def _least(self, members: Members) -> int:
        return min(self._sizes[at] for at in members)
