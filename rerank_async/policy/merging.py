"""Batch results to one ranking."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import gt
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


class Envelope(NamedTuple):
    """What an answer says beside its results; None where it says nothing."""

    model_id: str | None
    model_version: str | None
    created_at: str | None
    input_token_count: int | None
    query: str | None
    warnings: tuple[ServiceWarning, ...]
    extra: dict[str, Any] | None


Part = tuple[Sequence[int], BatchResult]
"""A batch's texts as positions in the list that was sent, and the answer to it."""


_NOTHING_SAID = Envelope(None, None, None, None, None, (), None)


def expand(batches: Iterable[Part], positions: Sequence[Sequence[int]] | None) -> tuple[list[int], list[float]]:
    """The scores of all batches, as two lists of the same length: indices in the caller's list, and their scores.

    Args:
        batches: In any order.
        positions: As in ``planning.Load``.
    """
    indices: list[int] = []
    scores: list[float] = []
    for members, result in batches:
        if positions is not None:
            for index, score in zip(result.indices, result.scores, strict=True):
                standing_for = positions[members[index]]
                indices += standing_for
                scores += [score] * len(standing_for)
            continue
        scores += result.scores
        if type(members) is range:  # as most are: an addition is half the cost
            start = members.start
            indices += [start + index for index in result.indices]
        else:
            indices += [members[index] for index in result.indices]
    return indices, scores


def _ranked(
    batches: Sequence[Part], positions: Sequence[Sequence[int]] | None
) -> tuple[Sequence[int], Sequence[float]]:
    """As `expand`, best first."""
    if len(batches) == 1 and positions is None and _is_ranking(*batches[0]):
        only = batches[0][1]
        return only.indices, only.scores
    indices, scores = expand(batches, positions)
    if not indices:
        return indices, scores
    # No pairs: for long lists making them costs more than the sorting.
    at = [0.0] * (max(indices) + 1)
    for index, score in zip(indices, scores, strict=True):
        at[index] = score
    order = sorted(
        sorted(indices) if len(indices) < len(at) else range(len(at)), key=at.__getitem__, reverse=True
    )  # stable: ties stay by index
    return order, [at[index] for index in order]


def _is_ranking(members: Sequence[int], result: BatchResult) -> bool:
    """Whether the answer stands for the caller's list, best first and without ties, as services send it."""
    scores = result.scores
    return type(members) is range and not members.start and all(map(gt, scores, scores[1:]))


def rank(
    batches: Sequence[Part],
    positions: Sequence[Sequence[int]] | None,
    *,
    top_n: int | None,
    texts: Sequence[str] | None,
) -> tuple[RerankResult, ...]:
    """One ranking: by score descending, then by index ascending, cut to ``top_n``.

    Args:
        batches: In any order.
        positions: As in ``planning.Load``.
        top_n: The cut; None: all.
        texts: The caller's texts, where the results are to carry them; None: they carry the service's own echo, if
            there is one.
    """
    order, scores = _ranked(batches, positions)
    if top_n is not None:
        order, scores = order[:top_n], scores[:top_n]
    more = [result for _, result in batches if result.echoes is not None or result.extras is not None]
    if texts is None and not more:
        return plain_results(order, scores)
    echoes = _by_position(batches, positions, "echoes") if texts is None else texts
    extras = _by_position(batches, positions, "extras")
    ranked = zip(order, scores, strict=True)
    return tuple([RerankResult(i, score, _at(echoes, i), extras.get(i, NO_EXTRA)) for i, score in ranked])


def _at(texts: Sequence[str] | Mapping[int, str], index: int) -> str | None:
    return texts.get(index) if isinstance(texts, Mapping) else texts[index]


def _by_position(batches: Iterable[Part], positions: Sequence[Sequence[int]] | None, name: str) -> dict[int, Any]:
    """What the batches hold by position inside the batch, by index in the caller's list."""
    found = {}
    for members, result in batches:
        for index, value in (getattr(result, name) or {}).items():
            at = members[index]
            for position in (at,) if positions is None else positions[at]:
                found[position] = value
    return found


def scored_pairs(batches: Iterable[Part], positions: Sequence[Sequence[int]] | None) -> tuple[tuple[int, float], ...]:
    """What was scored so far, as (index in the caller's list, score), by index."""
    return tuple(sorted(zip(*expand(batches, positions), strict=True)))


def merge_envelopes(envelopes: Sequence[Envelope]) -> Envelope:
    """What stands around the one ranking: tokens summed, warnings each once, the latest ``created_at``.

    Args:
        envelopes: In the order in which the answers came; none: nothing is said.
    """
    if not envelopes:
        return _NOTHING_SAID
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
