"""What a scorer is: a model of the local server, which anyone can write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import attrs


@attrs.frozen
class Scored:
    """The scores of one request.

    Attributes:
        scores: One finite number for each text, in the order of the texts; higher is more relevant.
        input_token_count: Tokens of the query and the text, summed over the pairs.
    """

    scores: tuple[float, ...]
    input_token_count: int


class OverlengthError(ValueError):
    """A text has more tokens than the model takes; the server answers with the service's 400.

    Attributes:
        tokens: Tokens of the longest text or of the query.
        maximum: Tokens that the model takes.
    """

    def __init__(self, tokens: int, maximum: int) -> None:
        super().__init__(tokens, maximum)
        self.tokens = tokens
        self.maximum = maximum

    def __str__(self) -> str:
        """Say the two numbers in the service's words."""
        return f"Token sequence length is longer than the maximum for this model ({self.tokens} > {self.maximum})"


class ModelUnavailableError(RuntimeError):
    """A model cannot be loaded here; the message says what to install or to repair."""


class ModelOutputError(RuntimeError):
    """A model gave what is no score; the server answers with a 500 that says so."""


class Scorer(Protocol):
    """A model that the server offers: implement these four and hand it to ``serve(scorers={model_id: scorer})``.

    Scores must be pointwise: the score of a pair may not depend on the other texts of the request, because
    clients split a list over requests and merge the answers.

    A scorer may also have ``functions``, a tuple of the words that the model specs list it under,
    such as ``("embedding", "rerank")``; without it, it is ``("rerank",)``. And it may have ``available``: where that is
    False, the model cannot be loaded here, and the model specs leave it out.
    """

    @property
    def model_id(self) -> str:
        """The id under which the model is known."""
        ...

    @property
    def max_sequence_length(self) -> int | None:
        """Tokens that the model takes, for the model specs; None if there is no limit."""
        ...

    async def score(self, query: str, texts: Sequence[str], truncate: int | None) -> Scored:
        """Score every text against the query.

        Cancelled when the client leaves. Must not hold up the event loop.

        Args:
            query: The query.
            texts: At least one text.
            truncate: Tokens that each text is cut to, from the right; None: as it is. At least 1.

        Raises:
            OverlengthError: A text, cut or not, is longer than the model takes.
            ModelOutputError: The model gave what is no score.
            ModelUnavailableError: The model cannot be loaded.
        """
        ...

    async def close(self) -> None:
        """Give back what the scorer holds; called by whoever made it."""
        ...
