"""What a call is to do, and the terms that hold for every call of a client or a view."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import attrs

from rerank_async.policy.bounds import LearnedBounds
from rerank_async.policy.hedging import HedgeBudget, HedgeModel
from rerank_async.policy.latency import LatencyModel
from rerank_async.policy.planning import Load
from rerank_async.values.events import Observer
from rerank_async.values.options import BatchOptions
from rerank_async.values.parameters import RerankParameters


@attrs.frozen(eq=False)
class Terms:
    """What holds for every call of a client or a view.

    Attributes:
        model_id: The model.
        params: What holds for a call that gives no parameters.
        head: The body of such a call without its inputs and its query.
        head_bytes: From `planning.most_bytes`, of that head.
        batching: How inputs are cut into requests, and what becomes of texts that are too long.
        partial: Whether what was scored is returned where something failed.
        observers: Who hears of what happens.
        latency: How long the model takes.
        bounds: What the service has shown to be too large.
        waits: Whether a call waits for a service that refuses connections to come back; else a refusal is a failure like
            others.
        hedging: When a slow request is raced, and how often; None: never.
    """

    model_id: str
    params: RerankParameters
    head: Mapping[str, Any]
    head_bytes: float
    batching: BatchOptions
    partial: bool
    waits: bool
    observers: Sequence[Observer]
    latency: LatencyModel
    bounds: LearnedBounds
    hedging: tuple[HedgeModel, HedgeBudget] | None


class Job(NamedTuple):
    """What a call is to do.

    Attributes:
        head: The body without its inputs.
        load: The texts.
        top_n: The cut after the merge; None: all.
        texts: The caller's texts, where the results are to carry them; else None.
        query: The query, where the response is to carry it; else None.
        echo: Whether the service was asked to echo the texts.
        headers: Of each request, without the token.
        deadline: On the monotonic clock; None: none.
        score_threshold: Results below it are left out; None: none are.
        terms: What holds for it.
        flow: With whom it takes turns; None: it is a flow of its own.
        whole: Whether every score is asked for, whatever ``top_n`` cuts in the end: batches are handed out as they land.
    """

    head: Mapping[str, Any]
    load: Load
    top_n: int | None
    texts: Sequence[str] | None
    query: str | None
    echo: bool
    headers: Mapping[str, str]
    deadline: float | None
    score_threshold: float | None
    terms: Terms
    flow: Hashable | None = None
    whole: bool = False
