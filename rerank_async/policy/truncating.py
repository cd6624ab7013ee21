"""Sending a batch once more with its texts cut: to how many tokens, and the warning that says so."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from rerank_async.errors import InputTooLongError
from rerank_async.policy.refusals import stated_length
from rerank_async.values.models import known_model
from rerank_async.values.response import ServiceWarning

WARNING_ID: Final = "rerank_async_truncated"

_WORD = re.compile(r"\w\S*")  # from its first letter on: what precedes that would be tried at each of its places
_SPECIAL_TOKENS = 3  # [CLS] query [SEP] text [SEP]: the most that a pair has beside its words


def truncation_of(model_id: str, error: InputTooLongError, asked: int | None = None) -> int | None:
    """What to give as ``truncate_input_tokens``: the error's number, else the model's documented length.

    Args:
        model_id: The model.
        error: The refusal.
        asked: What the refused request gave as ``truncate_input_tokens``; None: nothing.

    Returns:
        Tokens; None: not known, or no less than what was asked for and refused.
    """
    known = known_model(model_id)
    most = stated_length(error) or (known.max_tokens if known is not None else None)
    return None if most is None or (asked is not None and most >= asked) else most


def cut_for_certain(texts: Sequence[str], query: str, tokens: int) -> tuple[int, ...]:
    """Which texts of a refused batch must have been longer than ``tokens``, as far as that can be told from here.

    Every word has a token at least, so more words than tokens are too many. Every token has a byte at least, so a
    text with its query in no more bytes than tokens was not cut; if that leaves one text, it is the one. A long text
    of few, rare words may be neither. A text that was refused alone is the one.
    """
    if len(texts) == 1:
        return (0,)
    certain = [place for place, text in enumerate(texts) if len(text) > tokens and len(_WORD.findall(text)) > tokens]
    if certain:
        return tuple(certain)
    room = tokens - _SPECIAL_TOKENS - len(query.encode())
    possible = [place for place, text in enumerate(texts) if len(text.encode()) > room]
    return tuple(possible) if len(possible) == 1 else ()


def truncated_warning(indices: Sequence[int], inputs: int, tokens: int) -> ServiceWarning:
    """The entry for ``system.warnings``.

    Args:
        indices: Positions in the caller's ``inputs`` that were longer for certain, ascending.
        inputs: How many texts the batches had that were sent again.
        tokens: What was given as ``truncate_input_tokens``.
    """
    known = f"inputs {', '.join(map(str, indices[:10]))}{', ...' if len(indices) > 10 else ''} were longer"
    unknown = "which of them were longer cannot be told"
    return ServiceWarning(
        f"A text was longer than the model reads, so a batch of {inputs} inputs was sent again with "
        f"truncate_input_tokens={tokens}: {known if indices else unknown}",
        id=WARNING_ID,
        additional_properties={"truncate_input_tokens": tokens, "inputs": inputs, "indices": list(indices)},
    )
