"""Scoring by a model in a few threads: every text or pair is worked out once, after all lengths were checked."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import attrs

from rerank_async.server.lru import LRU
from rerank_async.server.options import count
from rerank_async.server.pool import FairPool
from rerank_async.server.scoring import ModelOutputError, OverlengthError, Scored

if TYPE_CHECKING:  # numpy belongs to the extra
    from rerank_async.server.network import Vector

_CHUNK: Final = 8  # texts tokenised in one turn: about 3 ms of passages of 160 tokens


@attrs.frozen
class Key:
    """What a model is run on.

    Attributes:
        query: The first text of a pair; None: the text alone.
        text: The text.
        truncate: Tokens that the text is cut to, from the right, the special ones not counted; None: whole.
    """

    query: str | None
    text: str
    truncate: int | None


class Tokens(NamedTuple):
    """A text or a pair as the model takes it, with its special tokens. Both have the same length."""

    ids: tuple[int, ...]
    type_ids: tuple[int, ...]


class Output(NamedTuple):
    """What the model gave for one key: a unit vector, or one score, of shape (1,); and how many tokens it read."""

    values: Vector
    tokens: int


class Engine(Protocol):
    """What a kind of model does; may be called from several threads at once."""

    def keys(self, query: str, texts: Sequence[str], truncate: int | None) -> list[Key]:
        """Give what has to be worked out, in the order that `merged` takes."""
        ...

    def read(self, keys: Sequence[Key], maximum: int | None) -> dict[Key, Tokens]:
        """Tokenise, cutting so that what is cut is no longer than `maximum` with the special tokens."""
        ...

    def embed(self, tokens: Tokens) -> Vector:
        """Run the model on one key, never on a padded batch, so that no neighbour and no padding moves a score."""
        ...

    def merged(self, outputs: Sequence[Output]) -> Scored:
        """Make scores of the outputs of all keys."""
        ...


class PooledScorer(ABC):
    """A scorer over an `Engine`: pool, memory, checks of length, cancellation.

    Args:
        threads: Threads that work, each on one text or pair at a time.
        cache: Outputs remembered.
        name: What the threads are called.
    """

    model_id: str
    max_sequence_length: int | None
    _encoder: Engine | None = None

    def __init__(self, *, threads: int, cache: int, name: str) -> None:
        self._pool = FairPool(count(threads, "threads"), name)
        self._cache: LRU[Key, Output] = LRU(cache)

    def score_now(self, query: str, texts: Sequence[str], truncate: int | None = None) -> Scored:
        """Score without a server or a loop, in this thread; the same numbers as over HTTP, to the last bit.

        Args:
            query: The query; never cut.
            texts: The texts, in the order of the scores.
            truncate: Tokens that each text is cut to, from the right; None or above `max_sequence_length`: as it is.
                Special tokens (and, for a cross-encoder, the query) are not counted, unless all together would be
                above `max_sequence_length`; then the text is cut to what is left.

        Raises:
            OverlengthError: The query, or a text that is not cut, has more tokens with the special ones than
                `max_sequence_length`; for a cross-encoder the query and the text together.
            ModelOutputError: The model gave a number that is not finite.
            ModelUnavailableError: The extra is not installed, or a file is not the expected one.
        """
        encoder = self._loaded()
        keys = self._keys(query, texts, truncate)
        known = self._cache.known(dict.fromkeys(keys))
        tokens = encoder.read(self._missing(keys, known), self.max_sequence_length)
        self._check(tokens)
        for key, ids in tokens.items():
            known[key] = self._embed(encoder, key, ids)
        return self._merged(encoder, keys, known)

    async def score(self, query: str, texts: Sequence[str], truncate: int | None) -> Scored:
        """Score as `score_now` does, in the pool's threads, in turn with other requests.

        All lengths are checked before the model is run on the first text.
        """
        encoder = self._encoder
        if encoder is None:
            # The scorer itself as the key: requests that arrive while the model is loaded share one load.
            encoder = (await self._pool.run({self: self._loaded}))[self]
        keys = self._keys(query, texts, truncate)
        known = self._cache.known(dict.fromkeys(keys))
        missing = iter(self._missing(keys, known))
        reading: dict[Hashable, Callable[[], dict[Key, Tokens]]] = {}
        while chunk := list(islice(missing, _CHUNK)):
            reading[object()] = partial(encoder.read, chunk, self.max_sequence_length)
        tokens = {key: ids for part in (await self._pool.run(reading)).values() for key, ids in part.items()}
        self._check(tokens)
        known |= await self._pool.run({key: partial(self._embed, encoder, key, ids) for key, ids in tokens.items()})
        merge = object()
        return (await self._pool.run({merge: partial(self._merged, encoder, keys, known)}))[merge]

    async def close(self) -> None:
        """End the threads; a request still waiting fails. Waits for the texts being worked on now."""
        await self._pool.close()

    @abstractmethod
    def _loaded(self) -> Engine:
        """Give the engine, loaded if it was not; blocks."""

    def _keys(self, query: str, texts: Sequence[str], truncate: int | None) -> list[Key]:
        longest = self.max_sequence_length
        whole = truncate is None or (longest is not None and truncate > longest)
        return self._loaded().keys(query, texts, None if whole else truncate)

    @staticmethod
    def _missing(keys: Iterable[Key], known: Mapping[Key, Output]) -> list[Key]:
        return [key for key in dict.fromkeys(keys) if key not in known]

    def _check(self, tokens: Mapping[Key, Tokens]) -> None:
        longest = max((len(each.ids) for each in tokens.values()), default=0)
        if self.max_sequence_length is not None and longest > self.max_sequence_length:
            raise OverlengthError(longest, self.max_sequence_length)

    def _embed(self, encoder: Engine, key: Key, tokens: Tokens) -> Output:
        # Another request may have had it worked out since this one looked.
        if key in (found := self._cache.known([key])):
            return found[key]
        output = Output(encoder.embed(tokens), len(tokens.ids))
        self._cache.put(key, output)
        return output

    def _merged(self, encoder: Engine, keys: Sequence[Key], known: Mapping[Key, Output]) -> Scored:
        scored = encoder.merged([known[key] for key in keys])
        for index, score in enumerate(scored.scores):
            if not math.isfinite(score):
                raise ModelOutputError(
                    f"The model {self.model_id} gave the score {score} for the text at index {index}: its weights or "
                    "its export are broken, or the numbers of that text are beyond its type"
                )
        return scored
