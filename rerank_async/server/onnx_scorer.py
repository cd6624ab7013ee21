"""A scorer of the user's own weights: any folder of a bi-encoder or a cross-encoder that was exported to ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Self

from rerank_async.server.folder import ModelFolder
from rerank_async.server.options import count
from rerank_async.server.pooled import Engine, Key, PooledScorer
from rerank_async.server.scoring import ModelUnavailableError
from rerank_async.server.weights import INSTALL_HINT

if TYPE_CHECKING:  # the extra's libraries are imported when a model is loaded
    from rerank_async.server.encoder import TextTokenizer
    from rerank_async.server.network import Network

_SCORES: Final = ("logits", "score", "scores")
_HIDDEN: Final = ("last_hidden_state", "token_embeddings")
_EXPECTED: Final = (
    "expected logits of shape (batch, 1) of a cross-encoder, or sentence_embedding of shape (batch, size) or "
    "last_hidden_state of shape (batch, length, size) of a bi-encoder"
)


class OnnxScorer(PooledScorer):
    """Scores by a cross-encoder or a bi-encoder of a local folder; made by `load`.

    A cross-encoder gives its logit as it is, unbounded, whatever activation a configuration names: that is what the
    service gives, and an activation would not change the order. A bi-encoder gives the cosine of two sentence
    embeddings, in [-1, 1].

    Scores are pointwise to the last bit: one text or pair is run at a time, never a padded batch. One instance may
    serve several servers and event loops; whoever made it closes it.

    Attributes:
        model_id: The id that `load` found or was given.
        functions: ``("rerank",)`` of a cross-encoder; ``("embedding", "rerank", "similarity")`` of a bi-encoder.
        max_sequence_length: Tokens that a text, or for a cross-encoder query and text together, may have, with the
            special tokens; None: nothing in the folder says so, and nothing is checked.
    """

    def __init__(
        self, engine: Engine, *, model_id: str, max_sequence_length: int | None, pairs: bool, threads: int, cache: int
    ) -> None:
        super().__init__(threads=threads, cache=cache, name="rerank_async-onnx")
        self._encoder: Engine = engine
        self.model_id = model_id
        self.max_sequence_length = max_sequence_length
        self.functions: tuple[str, ...] = ("rerank",) if pairs else ("embedding", "rerank", "similarity")

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        model_id: str | None = None,
        max_sequence_length: int | None = None,
        threads: int = 2,
        cache: int = 50_000,
    ) -> Self:
        """Load the model of a folder; blocks while it is read.

        The kind is read from the model's outputs: ``logits`` (or ``score``, ``scores``, or a single output) of shape
        (batch, 1) is a cross-encoder; ``sentence_embedding`` of shape (batch, size), or ``last_hidden_state`` of shape
        (batch, length, size), which is pooled as ``1_Pooling/config.json`` says (mean or cls; without it mean), is a
        bi-encoder. Its inputs are ``input_ids`` and, if it has them, ``attention_mask`` and ``token_type_ids``.

        Args:
            folder: Holds ``model.onnx`` (or ``onnx/model.onnx``), ``tokenizer.json`` and, if there is one,
                ``config.json``.
            model_id: The id; None: ``_name_or_path`` of ``config.json``, else the folder's name.
            max_sequence_length: Tokens that the model takes; None: ``max_position_embeddings`` of ``config.json``
                (less the rows that models of the RoBERTa family keep for padding), else the truncation of
                ``tokenizer.json``, else no limit.
            threads: Threads that run the model, each on one text or pair at a time.
            cache: Texts (with their vectors) or pairs (with their logits) that are remembered.

        Raises:
            ModelUnavailableError: The extra ``local`` is not installed; or the folder or a file is missing or of the
                wrong kind: the message names the file and what was expected.
            TypeError: A value of the wrong type.
            ValueError: A value out of range.
        """
        if max_sequence_length is not None:
            count(max_sequence_length, "max_sequence_length")
        found = ModelFolder.read(folder)
        try:
            from rerank_async.server.encoder import TextTokenizer  # noqa: PLC0415 - the extra is imported when needed
            from rerank_async.server.network import Network  # noqa: PLC0415
        except ImportError as exc:
            raise ModelUnavailableError(f"The model in {found.path} needs {exc.name}: {INSTALL_HINT}") from exc
        tokenizer = TextTokenizer(found.tokenizer, str(found.path / "tokenizer.json"))
        engine, pairs = _engine(found, Network(str(found.model), str(found.model)), tokenizer)
        return cls(
            engine,
            model_id=found.model_id if model_id is None else model_id,
            max_sequence_length=max_sequence_length or found.max_positions() or tokenizer.truncation,
            pairs=pairs,
            threads=threads,
            cache=cache,
        )

    def _loaded(self) -> Engine:
        return self._encoder


def _engine(folder: ModelFolder, network: Network, tokenizer: TextTokenizer) -> tuple[Engine, bool]:
    """Give the engine of the kind that the outputs show, and whether it takes pairs."""
    from rerank_async.server.cross_encoder import CrossEncoder  # noqa: PLC0415 - the extra is imported when needed
    from rerank_async.server.encoder import Encoder  # noqa: PLC0415

    output, kind = _output(network)
    # A shape is often left open in the file, so one run says what it is.
    key = Key("a" if kind == "pairs" else None, "a", None)
    shape = network.tried(tokenizer.read([key], None)[key], output).shape
    if kind == "pairs":
        if shape not in {(1, 1), (1,)}:
            raise _refused(network, f"{output} of shape {shape} for one pair")
        return CrossEncoder(network, tokenizer, output), True
    if len(shape) != (2 if kind == "vector" else 3):
        raise _refused(network, f"{output} of shape {shape} for one text")
    return Encoder(network, tokenizer, output, "none" if kind == "vector" else folder.pooling()), False


def _output(network: Network) -> tuple[str, Literal["pairs", "vector", "hidden"]]:
    """Give the output to read and what it should be, by its name, or by its shape if it is the only one."""
    shapes = network.outputs
    if "sentence_embedding" in shapes:
        return "sentence_embedding", "vector"
    for name, shape in shapes.items():
        if name in _SCORES or (len(shapes) == 1 and len(shape) == 2 and shape[1] == 1):
            return name, "pairs"
    for name in _HIDDEN:
        if name in shapes:
            return name, "hidden"
    raise _refused(network, network.described())


def _refused(network: Network, found: str) -> ModelUnavailableError:
    return ModelUnavailableError(f"{network.name} gives {found}; {_EXPECTED}")
