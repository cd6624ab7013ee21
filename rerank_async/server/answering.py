"""From scores to the body of an answer: ranked, cut, echoed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from rerank_async.server.reading import RerankRequest
from rerank_async.server.scoring import Scored

MODEL_VERSION: Final = "1.0.0"


def rerank_body(request: RerankRequest, scored: Scored, created_at: datetime) -> dict[str, Any]:
    """Give the answer to a rerank request.

    Args:
        request: The request.
        scored: A score for each of its texts, in their order.
        created_at: The time of the answer, with its zone.

    Returns:
        The decoded body. ``results`` goes by score, descending, then by index, ascending, and holds ``top_n`` of them.

    Raises:
        ValueError: The scorer gave more or fewer scores than there are texts.
    """
    if len(scored.scores) != len(request.texts):
        raise ValueError(f"the scorer gave {len(scored.scores)} scores for {len(request.texts)} texts")
    order = sorted(range(len(scored.scores)), key=lambda index: (-scored.scores[index], index))
    results: list[dict[str, Any]] = [
        {"index": index, "score": scored.scores[index]} for index in order[: request.top_n]
    ]
    if request.echo_inputs:
        for result in results:
            result["input"] = {"text": request.texts[result["index"]]}
    body: dict[str, Any] = {
        "model_id": request.model_id,
        "model_version": MODEL_VERSION,
        "created_at": timestamp(created_at),
        "results": results,
        "input_token_count": scored.input_token_count,
    }
    if request.echo_query:
        body["query"] = request.query
    return body


def timestamp(moment: datetime) -> str:
    """Give RFC 3339 with milliseconds and Z, as "2025-06-15T14:15:09.622Z" in IBM's fixtures."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
