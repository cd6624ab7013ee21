"""A cross-encoder: query and text go through the model together, and one logit comes out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rerank_async.server.encoder import TextTokenizer
from rerank_async.server.network import Network, Vector
from rerank_async.server.pooled import Key, Output, Tokens
from rerank_async.server.scoring import Scored


class CrossEncoder:
    """Scores a pair by the model's logit as it is, without an activation.

    Calls may come from several threads at once.

    Args:
        network: The model.
        tokenizer: The tokenizer that belongs to it; its own template makes a pair of query and text.
        output: The output that is read, of one element.
    """

    def __init__(self, network: Network, tokenizer: TextTokenizer, output: str) -> None:
        self._network = network
        self._tokenizer = tokenizer
        self._output = output

    def keys(self, query: str, texts: Sequence[str], truncate: int | None) -> list[Key]:
        """Give the pairs."""
        return [Key(query, text, truncate) for text in texts]

    def read(self, keys: Sequence[Key], maximum: int | None) -> dict[Key, Tokens]:
        """Tokenise; see `TextTokenizer.read`."""
        return self._tokenizer.read(keys, maximum)

    def embed(self, tokens: Tokens) -> Vector:
        """Give the logit of one pair, of shape (1,)."""
        return self._network.run(tokens, self._output).reshape(1).astype(np.float32, copy=False)

    def merged(self, outputs: Sequence[Output]) -> Scored:
        """Give the logits."""
        return Scored(tuple(float(each.values[0]) for each in outputs), sum(each.tokens for each in outputs))
