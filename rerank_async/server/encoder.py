"""A sentence encoder: texts to token ids, token ids to a unit vector. Imports the libraries of the ``local`` extra."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import onnxruntime
from tokenizers import Tokenizer

from rerank_async.server.scoring import ModelUnavailableError

Vector = npt.NDArray[np.float32]

SPECIAL_TOKENS: Final = 2  # [CLS] before and [SEP] behind every text
_ERRORS_ONLY: Final = 3  # onnxruntime's log severity; its warnings are about hardware that is not there


class Encoder:
    """A BERT encoder with mean pooling.

    Calls may come from several threads at once.

    Args:
        model: An ONNX model with ``input_ids``, ``attention_mask``, ``token_type_ids`` in and the last hidden state out.
        tokenizer: A ``tokenizer.json`` with ``[CLS]`` and ``[SEP]``. Its own truncation and padding are switched off.
    """

    def __init__(self, model: bytes, tokenizer: bytes) -> None:
        self._tokenizer = Tokenizer.from_str(tokenizer.decode())
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._first = self._special("[CLS]")
        self._last = self._special("[SEP]")
        options = onnxruntime.SessionOptions()
        # One thread inside a call: the threads outside already take every core, and sums keep their order.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def tokens(self, text: str) -> list[int]:
        """Give the ids of a text's tokens, without the special ones."""
        # The batch form, since it alone lets other threads run meanwhile.
        return self._tokenizer.encode_batch_fast([text], add_special_tokens=False)[0].ids

    def embed(self, tokens: Sequence[int]) -> Vector:
        """Give the unit vector of one text, of shape (384,) for all-MiniLM-L6-v2.

        One text a call, never a padded batch: the weights are int8 with scales taken from the whole batch at run time,
        so that in a batch a text's vector would depend on its neighbours.

        Args:
            tokens: Ids without the special ones.
        """
        ids = np.array([[self._first, *tokens, self._last]], dtype=np.int64)
        inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        hidden: npt.NDArray[np.float32] = self._session.run(None, inputs)[0]
        # Nothing is padded, so the mean over the attention mask is the mean.
        mean = hidden[0].mean(axis=0)
        unit: Vector = mean / np.maximum(np.linalg.norm(mean), np.float32(1e-12))
        return unit

    def _special(self, token: str) -> int:
        found: int | None = self._tokenizer.token_to_id(token)
        if found is None:
            raise ModelUnavailableError(f"The tokenizer has no {token}: it is not one of a BERT model")
        return found


def cosines(query: Vector, vectors: Sequence[Vector]) -> tuple[float, ...]:
    """Give the cosine of each unit vector with the query's, in order.

    Pair by pair: a matrix product picks its order of additions by the shape, and the last bits with it.
    """
    return tuple(float(np.multiply(query, vector).sum()) for vector in vectors)
