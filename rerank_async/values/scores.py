"""Scores between 0 and 1 out of a model's own."""

from __future__ import annotations

from math import exp
from typing import get_args

from rerank_async.errors import InvalidArgumentError
from rerank_async.values.checks import chosen
from rerank_async.values.models import ScoreKind, known_model


def sigmoid(logit: float) -> float:
    """1 / (1 + e**-logit), for any finite number: never an overflow, and never 0 above -745."""
    if logit >= 0:
        return 1 / (1 + exp(-logit))
    grown = exp(logit)
    return grown / (1 + grown)


def score_kind_of(model_id: str, kind: object) -> ScoreKind:
    """What a model's scores are: as said, else as documented.

    Raises:
        InvalidArgumentError: Nothing is documented of the model and ``kind`` is None, or it is no such word.
        InvalidTypeError: ``kind`` is neither None nor a str.
    """
    if kind is not None:
        return chosen(kind, "kind", get_args(ScoreKind))  # type: ignore[return-value]  # one of its words
    known = known_model(model_id)
    if known is None:
        raise InvalidArgumentError(
            f"kind must be given for the model {model_id!r}, of which it is not known whether its scores are 'logits' "
            "(any number, as of a cross-encoder) or 'similarities' (as of an embedding model)",
            argument="kind",
        )
    return known.scores
