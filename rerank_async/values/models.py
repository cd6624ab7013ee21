"""The documented rerank models: their ids as an enum, how long a text they read, and what their scores are."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, Literal, NamedTuple

ScoreKind = Literal["logits", "similarities"]


class RerankModels(StrEnum):
    """Models that rerank, by the name that IBM's SDK gives them: the last part of the id, in capitals.

    This list is static; ``AsyncRerank.model_specs()`` asks the service what it has now. Cross-encoders score with
    unbounded logits, embedding models with cosine similarities.

    Source: the model specs in the tests of IBM's Java SDK (eu-de, ``function_rerank``).
    """

    ALL_MINILM_L12_V2 = "sentence-transformers/all-minilm-l12-v2"
    ALL_MINILM_L6_V2 = "sentence-transformers/all-minilm-l6-v2"
    MS_MARCO_MINILM_L_12_V2 = "cross-encoder/ms-marco-minilm-l-12-v2"
    MULTILINGUAL_E5_LARGE = "intfloat/multilingual-e5-large"
    SLATE_125M_ENGLISH_RTRVR = "ibm/slate-125m-english-rtrvr"
    SLATE_125M_ENGLISH_RTRVR_V2 = "ibm/slate-125m-english-rtrvr-v2"
    SLATE_30M_ENGLISH_RTRVR = "ibm/slate-30m-english-rtrvr"
    SLATE_30M_ENGLISH_RTRVR_V2 = "ibm/slate-30m-english-rtrvr-v2"

    @classmethod
    def show(cls) -> None:
        """Prints the dict of name to id."""
        print({model.name: model.value for model in cls})  # noqa: T201 - printing is what it is for


class KnownModel(NamedTuple):
    """What is documented of a model.

    Attributes:
        max_tokens: Tokens that it reads: of a text, and for a cross-encoder of the query and a text together.
        scores: What its scores are.
    """

    max_tokens: int
    scores: ScoreKind


# Lengths: `max_sequence_length` in the same specs; the cross-encoder lists none there, 512 is its model card's.
_KNOWN: Final[Mapping[str, KnownModel]] = {
    RerankModels.ALL_MINILM_L12_V2: KnownModel(128, "similarities"),
    RerankModels.ALL_MINILM_L6_V2: KnownModel(256, "similarities"),
    RerankModels.MS_MARCO_MINILM_L_12_V2: KnownModel(512, "logits"),
    RerankModels.MULTILINGUAL_E5_LARGE: KnownModel(512, "similarities"),
    RerankModels.SLATE_125M_ENGLISH_RTRVR: KnownModel(512, "similarities"),
    RerankModels.SLATE_125M_ENGLISH_RTRVR_V2: KnownModel(512, "similarities"),
    RerankModels.SLATE_30M_ENGLISH_RTRVR: KnownModel(512, "similarities"),
    RerankModels.SLATE_30M_ENGLISH_RTRVR_V2: KnownModel(512, "similarities"),
}


def known_model(model_id: str) -> KnownModel | None:
    """What is documented of a model, by its whole id in either case; None: nothing."""
    return _KNOWN.get(model_id.lower())
