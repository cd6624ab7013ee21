"""A scorer of word overlap from the standard library alone: for tests and wiring, with no claim to quality."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import ClassVar, Final

import attrs

from rerank_async.server.options import count
from rerank_async.server.scoring import OverlengthError, Scored

_WORD: Final = re.compile(r"\w+")
_SUFFIX: Final = re.compile(r"(?:ies|ing|ed|es|ly|e|s|y)$")
_STEM_LENGTH: Final = 3  # a stem shorter than this says nothing: "sing" stays, "singing" becomes "sing"
_LONG_WORD: Final = 8  # letters from which a longer word counts no more
_PARTIAL: Final = 0.5  # what a word of which only pieces are found is worth beside a word that is found


def _stem(word: str) -> str:
    short = _SUFFIX.sub("", word)
    return short if len(short) >= _STEM_LENGTH else word


def _trigrams(word: str) -> tuple[str, ...]:
    return tuple(word[i : i + 3] for i in range(len(word) - 2))


@attrs.frozen
class _Term:
    stem: str
    trigrams: tuple[str, ...]
    weight: float


@attrs.frozen
class _Query:
    words: int
    terms: tuple[_Term, ...]
    weight: float

    @classmethod
    def of(cls, query: str) -> _Query:
        words = dict.fromkeys(_WORD.findall(query.lower()))
        terms = tuple(_Term(_stem(word), _trigrams(word), float(min(len(word), _LONG_WORD))) for word in words)
        return cls(len(query.split()), terms, sum(term.weight for term in terms))

    def against(self, text: str) -> float:
        """Give the found share of the query's weight, 0 to 1."""
        lower = text.lower()
        stems = {_stem(word) for word in _WORD.findall(lower)}
        found = 0.0
        for term in self.terms:
            if term.stem in stems:
                found += term.weight
            elif term.trigrams:
                pieces = sum(trigram in lower for trigram in term.trigrams)
                found += term.weight * _PARTIAL * pieces / len(term.trigrams)
        return found / self.weight if self.weight else 0.0


class LexicalScorer:
    """Scores by the weighted share of the query's words that a text holds.

    A word of the query counts by its length, 8 letters at most; a word that is not there counts half of the share of
    its letter trigrams that are. Scores are in [0, 1], deterministic and pointwise, and ties happen.
    Tokens are words between white space.

    Args:
        max_sequence_length: Words that a text or the query may have; more is the service's 400.
    """

    model_id: ClassVar[str] = "lexical"
    functions: ClassVar[tuple[str, ...]] = ("rerank",)

    # Texts between two turns of the event loop: about 1 ms of passages of a thousand letters.
    _STRIDE: Final = 16

    def __init__(self, max_sequence_length: int = 512) -> None:
        self.max_sequence_length = count(max_sequence_length, "max_sequence_length")

    def score_now(self, query: str, texts: Sequence[str], truncate: int | None = None) -> Scored:
        """Score without a server or a loop; the same numbers as over HTTP.

        Args:
            query: The query.
            texts: The texts, in the order of the scores.
            truncate: Words that each text is cut to, from the right; None: as it is.

        Raises:
            OverlengthError: A text, cut or not, or the query has more words than `max_sequence_length`.
        """
        parsed = self._query(query)
        return self._gathered(self._one(parsed, text, truncate) for text in texts)

    async def score(self, query: str, texts: Sequence[str], truncate: int | None) -> Scored:
        """Score as `score_now` does, giving way to the event loop every few texts."""
        parsed = self._query(query)
        pairs: list[tuple[float, int]] = []
        rest = iter(texts)
        while chunk := list(islice(rest, self._STRIDE)):
            pairs += [self._one(parsed, text, truncate) for text in chunk]
            await asyncio.sleep(0)
        return self._gathered(pairs)

    async def close(self) -> None:
        """Do nothing: there is nothing to give back."""

    def _query(self, query: str) -> _Query:
        parsed = _Query.of(query)
        self._check(parsed.words)
        return parsed

    def _one(self, query: _Query, text: str, truncate: int | None) -> tuple[float, int]:
        words = text.split()
        if truncate is not None and truncate < len(words):
            words = words[:truncate]
            text = " ".join(words)
        self._check(len(words))
        return query.against(text), query.words + len(words)

    def _check(self, words: int) -> None:
        if words > self.max_sequence_length:
            raise OverlengthError(words, self.max_sequence_length)

    @staticmethod
    def _gathered(pairs: Iterable[tuple[float, int]]) -> Scored:
        done = list(pairs)
        return Scored(tuple(score for score, _ in done), sum(tokens for _, tokens in done))
