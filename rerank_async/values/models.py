"""The documented rerank models, as an enum of their ids."""

from __future__ import annotations

from enum import StrEnum


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
