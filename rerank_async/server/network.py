"""An ONNX model of a text encoder: its inputs checked, one text or pair a run. Imports libraries of ``local``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnxruntime

from rerank_async.server.pooled import Tokens
from rerank_async.server.scoring import ModelUnavailableError

Vector = npt.NDArray[np.float32]

_ERRORS_ONLY: Final = 3  # onnxruntime's log severity; its warnings are about hardware that is not there
_INTEGERS: Final[Mapping[str, type[np.integer[Any]]]] = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
_KNOWN: Final = ("input_ids", "attention_mask", "token_type_ids")


class Network:
    """A session of onnxruntime on the CPU; `run` may be called from several threads at once.

    Args:
        model: The model, or the path to it, which a model of several files needs.
        name: What messages call it.

    Attributes:
        name: As given.
        outputs: Shapes by name; a dimension is an int, or a str or None if it is open.

    Raises:
        ModelUnavailableError: It is not an ONNX model, or its inputs are not those of a text encoder.
    """

    def __init__(self, model: bytes | str, name: str) -> None:
        self.name = name
        options = onnxruntime.SessionOptions()
        # One thread inside a call: the threads outside already take every core, and sums keep their order.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as exc:  # its errors have no base of their own
            raise ModelUnavailableError(
                f"{name} is not an ONNX model that onnxruntime {onnxruntime.__version__} can load: {_first_line(exc)}"
            ) from exc
        self._types: dict[str, type[np.integer[Any]]] = {
            each.name: self._integer(each) for each in self._session.get_inputs()
        }
        if "input_ids" not in self._types:
            raise ModelUnavailableError(f"{name} has no input input_ids: it is not an encoder of texts")
        self.outputs: dict[str, tuple[int | str | None, ...]] = {
            each.name: tuple(each.shape) for each in self._session.get_outputs()
        }

    def run(self, tokens: Tokens, output: str) -> npt.NDArray[Any]:
        """Give one output for one text or pair; its first dimension is 1."""
        length = len(tokens.ids)
        given = {"input_ids": tokens.ids, "attention_mask": (1,) * length, "token_type_ids": tokens.type_ids}
        inputs = {name: np.array([given[name]], dtype=kind) for name, kind in self._types.items()}
        found: npt.NDArray[Any] = self._session.run([output], inputs)[0]
        return found

    def tried(self, tokens: Tokens, output: str) -> npt.NDArray[Any]:
        """Run once, to see that the model takes these tokens and gives numbers.

        Raises:
            ModelUnavailableError: It does not.
        """
        try:
            found = self.run(tokens, output)
        except Exception as exc:  # its errors have no base of their own
            raise ModelUnavailableError(
                f"{self.name} does not take what tokenizer.json makes of a text, so they may belong to different "
                f"models: {_first_line(exc)}"
            ) from exc
        if found.dtype.kind != "f":
            raise ModelUnavailableError(f"{self.name} gives {found.dtype} as {output}, expected floating-point numbers")
        return found

    def described(self) -> str:
        """Write the outputs as ``logits of shape (batch, 1)``; an open dimension without a name is ``?``."""
        return ", ".join(f"{name} of shape {_shown(shape)}" for name, shape in self.outputs.items())

    def _integer(self, found: Any) -> type[np.integer[Any]]:
        if found.name not in _KNOWN:
            raise ModelUnavailableError(
                f"{self.name} wants the input {found.name}; expected input_ids, attention_mask and, "
                "if it has them, token_type_ids"
            )
        kind = _INTEGERS.get(found.type)
        if kind is None:
            raise ModelUnavailableError(f"{self.name} wants {found.name} as {found.type}, expected int64 or int32")
        if len(found.shape) != 2 or (found.shape[0] not in {1, None} and not isinstance(found.shape[0], str)):
            raise ModelUnavailableError(
                f"{self.name} wants {found.name} of shape {_shown(found.shape)}, expected (batch, length)"
            )
        if isinstance(found.shape[1], int):
            raise ModelUnavailableError(
                f"{self.name} takes nothing but {found.shape[1]} tokens as {found.name}; expected a length that is "
                "open: export it with a dynamic axis"
            )
        return kind


def _shown(shape: Iterable[int | str | None]) -> str:
    return "(" + ", ".join("?" if each is None else str(each) for each in shape) + ")"


def _first_line(exc: Exception) -> str:
    return (str(exc).strip().splitlines() or [type(exc).__name__])[0]
