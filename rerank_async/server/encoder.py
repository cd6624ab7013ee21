"""A sentence encoder: texts to tokens, tokens to a unit vector. Imports the libraries of the ``local`` extra."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from tokenizers import Tokenizer

from rerank_async.server.network import Network, Vector
from rerank_async.server.pooled import Key, Output, Tokens
from rerank_async.server.scoring import ModelUnavailableError, Scored

Pooling = Literal["mean", "cls", "none"]


class TextTokenizer:
    """A ``tokenizer.json``, whose own truncation and padding are switched off; its special tokens are kept.

    Calls may come from several threads at once.

    Args:
        content: The file.
        name: What messages call it.

    Attributes:
        truncation: Tokens that the file itself would have cut texts to; None: it would not.

    Raises:
        ModelUnavailableError: It is not such a file.
    """

    def __init__(self, content: bytes, name: str) -> None:
        try:
            self._tokenizer = Tokenizer.from_str(content.decode())
        except Exception as exc:  # the library raises a bare Exception
            raise ModelUnavailableError(f"{name} is not a tokenizer.json of the tokenizers library: {exc}") from exc
        cut = self._tokenizer.truncation
        self.truncation: int | None = cut["max_length"] if cut else None
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def read(self, keys: Sequence[Key], maximum: int | None) -> dict[Key, Tokens]:
        """Tokenise texts and pairs; only the text of a key is cut, never its query."""
        texts = [key.text if key.query is None else (key.query, key.text) for key in keys]
        pairs = any(key.query is not None for key in keys)
        # The batch forms, since they alone let other threads run meanwhile. The fast one leaves all type ids at 0
        # where no template sets them (tokenizers 0.23), which is wrong for pairs.
        found = (self._tokenizer.encode_batch if pairs else self._tokenizer.encode_batch_fast)(texts)
        return {key: _cut(encoding, key, maximum) for key, encoding in zip(keys, found, strict=True)}


def _cut(encoding: Any, key: Key, maximum: int | None) -> Tokens:
    ids, type_ids = encoding.ids, encoding.type_ids
    if key.truncate is not None and len(ids) > key.truncate:
        place = 0 if key.query is None else 1
        own = [at for at, sequence in enumerate(encoding.sequence_ids) if sequence == place]
        left = key.truncate
        if maximum is not None:
            # At least one: a query that leaves no room for its text is too long, and the check of lengths says so.
            left = min(left, max(1, maximum - (len(ids) - len(own))))
        if left < len(own):
            first, last = own[left], own[-1] + 1
            ids, type_ids = ids[:first] + ids[last:], type_ids[:first] + type_ids[last:]
    return Tokens(tuple(ids), tuple(type_ids))


class Encoder:
    """A bi-encoder: the score of a pair is the cosine of the vectors of its query and its text.

    Calls may come from several threads at once.

    Args:
        network: The model.
        tokenizer: The tokenizer that belongs to it.
        output: The output that is read; None: the first.
        pooling: How a vector is made of the last hidden state, of shape (1, length, size): the mean over the tokens,
            or the first token's. ``none``: the output is a vector already, of shape (1, size).
    """

    def __init__(
        self, network: Network, tokenizer: TextTokenizer, output: str | None = None, pooling: Pooling = "mean"
    ) -> None:
        self._network = network
        self._tokenizer = tokenizer
        self._output = next(iter(network.outputs)) if output is None else output
        self._pooling = pooling

    def tokens(self, text: str) -> Tokens:
        """Give a text's tokens, with the special ones."""
        key = Key(None, text, None)
        return self.read([key], None)[key]

    def keys(self, query: str, texts: Sequence[str], truncate: int | None) -> list[Key]:
        """Give the query, whole, and then the texts."""
        return [Key(None, query, None), *(Key(None, text, truncate) for text in texts)]

    def read(self, keys: Sequence[Key], maximum: int | None) -> dict[Key, Tokens]:
        """Tokenise; see `TextTokenizer.read`."""
        return self._tokenizer.read(keys, maximum)

    def embed(self, tokens: Tokens) -> Vector:
        """Give the unit vector of one text, of shape (384,) for all-MiniLM-L6-v2.

        One text a call, never a padded batch: int8 weights have scales taken from the whole batch at run time,
        so that in a batch a text's vector would depend on its neighbours.
        """
        found = self._network.run(tokens, self._output)[0].astype(np.float32, copy=False)
        # Nothing is padded, so the mean over the attention mask is the mean.
        vector = found.mean(axis=0) if self._pooling == "mean" else found[0] if self._pooling == "cls" else found
        unit: Vector = vector / np.maximum(np.linalg.norm(vector), np.float32(1e-12))
        return unit

    def merged(self, outputs: Sequence[Output]) -> Scored:
        """Give the cosines with the first output, which is the query's."""
        query, *texts = outputs
        tokens = sum(query.tokens + text.tokens for text in texts)
        return Scored(cosines(query.values, [text.values for text in texts]), tokens)


def cosines(query: Vector, vectors: Sequence[Vector]) -> tuple[float, ...]:
    """Give the cosine of each unit vector with the query's, in order, in [-1, 1]; NaN of a NaN.

    Pair by pair: a matrix product picks its order of additions by the shape, and the last bits with it.
    """
    # Rounding makes 1.0000001 of a text with itself.
    return tuple(float(np.clip(np.multiply(query, vector).sum(), -1, 1)) for vector in vectors)
