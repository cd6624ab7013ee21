"""A service of your own: it picks the passages to show, and goes on without a ranking when that fails."""

from collections.abc import Sequence

from rerank_async import errors
from rerank_async.testing import Reranker


async def best_passages(reranker: Reranker, question: str, passages: Sequence[str], most: int = 3) -> list[str]:
    """The best passages first; the first ones as they come where no ranking can be had in two seconds."""
    try:
        answer = await reranker.generate(question, passages, {"return_options": {"top_n": most}}, timeout=2)
    except (errors.NoAnswerError, errors.RateLimitError, errors.ServiceError):
        return list(passages[:most])
    return [passages[result.index] for result in answer.results]
