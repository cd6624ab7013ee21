"""Batch results to one ranking."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import neg
from typing import Any, NamedTuple

from rerank_async.values.response import NO_EXTRA, RerankResult, ServiceWarning, plain_results


class BatchResult(NamedTuple):
    """The checked answer to one batch.

    Attributes:
        indices: Positions inside the batch, each at most once.
        scores: One for each of ``indices``, finite.
        echoes: The service's own echo of the texts, by position inside the batch; None if it was not asked for.
        extras: Unknown fields of the results, by position inside the batch; None if there were none.
        envelope: What stands around the results.
    """

    indices: Sequence[int]
    scores: Sequence[float]
    echoes: Mapping[int, str] | None
    extras: Mapping[int, Mapping[str, Any]] | None
    envelope: Envelope

    @property
    def plain(self) -> bool:
        """Whether there is nothing but scores."""
        return self.echoes is None and self.extras is None


class Envelope(NamedTuple):
    """What an answer says beside its results; None where it says nothing."""

    model_id: str | None
    model_version: str | None
    created_at: str | None
    input_token_count: int | None
    query: str | None
    warnings: tuple[ServiceWarning, ...]
    extra: dict[str, Any] | None


def expand(start: int, result: BatchResult, positions: Sequence[Sequence[int]] | None) -> list[tuple[float, int]]:
    """The results of a batch as (score negated, index in the caller's list), so that they sort best first.

    Args:
        start: Where the batch begins in the list that was sent.
        result: Its answer.
        positions: As in ``planning.Load``.
    """
    if positions is None:
        return [(-score, start + index) for index, score in zip(result.indices, result.scores, strict=True)]
    return [
        (-score, position)
        for index, score in zip(result.indices, result.scores, strict=True)
        for position in positions[start + index]
    ]


def rank(
    batches: Sequence[tuple[int, BatchResult]],
    positions: Sequence[Sequence[int]] | None,
    *,
    top_n: int | None,
    texts: Sequence[str] | None,
) -> tuple[RerankResult, ...]:
    """One ranking: by score descending, then by index ascending, cut to ``top_n``.

    Args:
        batches: Pairs of (where the batch begins in the list that was sent, its answer), in any order.
        positions: As in ``planning.Load``.
        top_n: The cut; None: all.
        texts: The caller's texts, where the results are to carry them; None: they carry the service's own echo, if
            there is one.
    """
    if len(batches) == 1 and positions is None and batches[0][0] == 0:
        only = batches[0][1]
        rows = list(zip(map(neg, only.scores), only.indices, strict=True))
    else:
        rows = [row for start, result in batches for row in expand(start, result, positions)]
    rows.sort()
    if top_n is not None:
        del rows[top_n:]
    if texts is None and all(result.plain for _, result in batches):
        return plain_results(rows)
    echoes = _by_position(batches, positions, "echoes") if texts is None else texts
    extras = _by_position(batches, positions, "extras")
    return tuple([RerankResult(i, -negated, _at(echoes, i), extras.get(i, NO_EXTRA)) for negated, i in rows])


def _at(texts: Sequence[str] | Mapping[int, str], index: int) -> str | None:
    return texts.get(index) if isinstance(texts, Mapping) else texts[index]


def _by_position(
    batches: Iterable[tuple[int, BatchResult]], positions: Sequence[Sequence[int]] | None, name: str
) -> dict[int, Any]:
    """What the batches hold by position inside the batch, by index in the caller's list."""
    found = {}
    for start, result in batches:
        for index, value in (getattr(result, name) or {}).items():
            for position in (start + index,) if positions is None else positions[start + index]:
                found[position] = value
    return found


def scored_pairs(
    batches: Iterable[tuple[int, BatchResult]], positions: Sequence[Sequence[int]] | None
) -> tuple[tuple[int, float], ...]:
    """What was scored so far, as (index in the caller's list, score), by index."""
    return tuple(
        sorted((index, -negated) for start, result in batches for negated, index in expand(start, result, positions))
    )


def merge_envelopes(envelopes: Sequence[Envelope]) -> Envelope:
    """What stands around the one ranking: tokens summed, warnings each once, the latest ``created_at``.

    Args:
        envelopes: In the order in which the answers came; at least one.
    """
    if len(envelopes) == 1:
        return envelopes[0]
    counts = [each.input_token_count for each in envelopes if each.input_token_count is not None]
    versions = dict.fromkeys(each.model_version for each in envelopes if each.model_version)
    warnings: list[ServiceWarning] = []
    for each in envelopes:
        warnings.extend(warning for warning in each.warnings if warning not in warnings)
    if len(versions) > 1:
        warnings.append(
            ServiceWarning(
                f"The batches of this call were scored by different versions of the model ({', '.join(versions)}); "
                "their scores may not be comparable",
                id="rerank_async_mixed_model_versions",
            )
        )
    return Envelope(
        model_id=next((each.model_id for each in envelopes if each.model_id), None),
        model_version=next(iter(versions), None),
        created_at=next((each.created_at for each in reversed(envelopes) if each.created_at), None),
        input_token_count=sum(counts) if counts else None,
        query=next((each.query for each in envelopes if each.query is not None), None),
        warnings=tuple(warnings),
        extra=next((each.extra for each in envelopes if each.extra), None),
    )
