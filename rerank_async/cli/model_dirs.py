"""``--model-dir``: folders of ONNX models, beside the models that the local server has anyway."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rerank_async.cli.exits import InputError

if TYPE_CHECKING:
    from rerank_async.server import OnnxScorer, Scorer


def scorers_of(values: tuple[str, ...]) -> dict[str, Scorer]:
    """The models that ``serve`` offers: those of the folders first, by id; a folder with a built-in's id replaces it.

    Args:
        values: ``FOLDER`` or ``ID=FOLDER`` each.

    Raises:
        InputError: A folder that is no model, or two with the same id.
    """
    from rerank_async.server import LexicalScorer, MiniLMScorer

    loaded: dict[str, tuple[str, OnnxScorer]] = {}
    for value in values:
        scorer = _loaded(value)
        if scorer.model_id in loaded:
            raise InputError(
                f"--model-dir {loaded[scorer.model_id][0]} and --model-dir {value} are both the model "
                f"{scorer.model_id!r}; give one of them another id: --model-dir ID=FOLDER"
            )
        loaded[scorer.model_id] = (value, scorer)
    scorers: dict[str, Scorer] = {model_id: scorer for model_id, (_, scorer) in loaded.items()}
    scorers.setdefault(MiniLMScorer.model_id, MiniLMScorer())
    scorers.setdefault(LexicalScorer.model_id, LexicalScorer())
    return scorers


def _loaded(value: str) -> OnnxScorer:
    from rerank_async.server import ModelUnavailableError, OnnxScorer

    model_id, equals, folder = value.partition("=")
    if not equals or Path(value).expanduser().is_dir():
        model_id, folder = "", value
    elif not model_id.strip() or not folder:
        raise InputError(f"--model-dir {value}: expected FOLDER, or ID=FOLDER with both")
    try:
        return OnnxScorer.load(folder, model_id=model_id.strip() or None)
    except ModelUnavailableError as exc:
        raise InputError(f"--model-dir {value}: {exc}") from exc
