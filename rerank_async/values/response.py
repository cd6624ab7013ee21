"""Answers: `RerankResponse` with its results, statistics and warnings; `Plan`, `LimitStatus` and `ModelSpec`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, KeysView, Mapping
from typing import Any, NamedTuple

import attrs

from rerank_async.values.events import Answered, Retried, Throttled
from rerank_async.values.models import ScoreKind
from rerank_async.values.scores import score_kind_of, sigmoid


class _NoExtra(Mapping[str, Any]):
    """An empty mapping that all answers can share, because it cannot be written to."""

    __slots__ = ()

    def __getitem__(self, name: str) -> Any:
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return "{}"

    def __reduce__(self) -> str:
        return "NO_EXTRA"


NO_EXTRA: Mapping[str, Any] = _NoExtra()


_MOST_SHOWN = 8  # indices of a failure in its repr


class WireMapping(ABC):
    """Reading by key, as from the dict that IBM's SDK returns: ``response["results"][0]["score"]``."""

    __slots__ = ()

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """The value as the REST API writes it."""

    def __getitem__(self, name: str) -> Any:
        return self.to_dict()[name]

    def __contains__(self, name: object) -> bool:
        return name in self.to_dict()

    def __iter__(self) -> Iterator[str]:
        return iter(self.to_dict())

    def get(self, name: str, default: Any = None) -> Any:
        """The value under a key of the REST body, or ``default``."""
        return self.to_dict().get(name, default)

    def keys(self) -> KeysView[str]:
        """The keys of the REST body."""
        return self.to_dict().keys()


@attrs.define
class _OpenResult(WireMapping):
    """The fields of `RerankResult` before they are frozen: attrs sets those of frozen classes one by one, slowly."""

    index: int
    score: float
    input: str | None = None
    extra: Mapping[str, Any] = attrs.field(default=NO_EXTRA, hash=False)

    def to_dict(self) -> dict[str, Any]:
        """``{"index", "score"}``, with ``"input": {"text"}`` if it was asked for, and unknown fields as they came."""
        body: dict[str, Any] = {"index": self.index, "score": self.score}
        if self.input is not None:
            body["input"] = {"text": self.input}
        body.update(self.extra)
        return body


@attrs.frozen
class RerankResult(_OpenResult):
    """One passage and its score.

    Attributes:
        index: The passage's position in the caller's ``inputs``, from 0.
        score: As the model gives it: an unbounded logit of a cross-encoder, a cosine of an embedding model.
        input: The passage's text, if ``return_options.inputs`` asked for it; else None.
        extra: Fields of the service that this version does not know, by name.
    """

    @property
    def raw_score(self) -> float:
        """The model's own score: ``score``, also of a result of `RerankResponse.normalized`, whose score is another."""
        return self.score


@attrs.frozen
class NormalizedResult(RerankResult):
    """A result of `RerankResponse.normalized`: its score lies on a scale that is the same for all models of its kind.

    Attributes:
        model_score: What the model gave; `raw_score` reads it.
    """

    model_score: float = attrs.field(kw_only=True)

    @property
    def raw_score(self) -> float:
        """The model's own score."""
        return self.model_score


def plain_results(indices: Iterable[int], scores: Iterable[float]) -> tuple[RerankResult, ...]:
    """Results without texts and unknown fields: half the cost of the constructor, which counts per passage.

    Args:
        indices: In the order of the results.
        scores: As many.
    """
    results = tuple(map(_OpenResult, indices, scores))
    for result in results:
        result.__class__ = RerankResult
    return results  # type: ignore[return-value]  # they just became that


class ResponseStats(NamedTuple):
    """What a call took.

    Attributes:
        requests: Requests sent, retries and throttled ones included.
        retries: Requests sent again after a failure.
        throttled: Requests sent again after a 429 of the rate limit.
        hedges: Second copies that raced a slow request.
        waited: Seconds that the requests waited for their permits, added up; a call waits for one at a time.
        seconds: From the call's start to its end.
        exchanges: One event for each answer, in the order they came: status, seconds, trace id.
        again: One event for each time that a batch had to go again: the service's code, the wait.
    """

    requests: int = 0
    retries: int = 0
    throttled: int = 0
    hedges: int = 0
    waited: float = 0.0
    seconds: float = 0.0
    exchanges: tuple[Answered, ...] = ()
    again: tuple[Retried | Throttled, ...] = ()


@attrs.frozen
class ServiceWarning:
    """A warning of the service, from ``system.warnings``.

    Attributes:
        message: The service's words.
        id: Its id; None if it has none.
        more_info: An address to read more at; None if it has none.
        additional_properties: Whatever else the service said.
    """

    message: str
    id: str | None = None
    more_info: str | None = None
    additional_properties: Mapping[str, Any] | None = None


def _abbreviated(indices: tuple[int, ...]) -> str:
    if len(indices) <= _MOST_SHOWN:
        return repr(indices)
    first = ", ".join(map(str, indices[: _MOST_SHOWN - 1]))
    return f"({first}, ..., {indices[-1]}; {len(indices)} in all)"


@attrs.frozen(eq=False)
class BatchFailure:
    """Texts that have no score, and why.

    Attributes:
        indices: Positions in the caller's ``inputs``, ascending.
        error: What happened.
    """

    indices: tuple[int, ...] = attrs.field(repr=_abbreviated)
    error: Exception


@attrs.define(kw_only=True)
class OpenResponse(WireMapping):
    """The fields of `RerankResponse` before they are frozen, as `_OpenResult`."""

    model_id: str
    results: tuple[RerankResult, ...]
    created_at: str | None = None
    input_token_count: int | None = None
    model_version: str | None = None
    query: str | None = None
    warnings: tuple[ServiceWarning, ...] = ()
    failures: tuple[BatchFailure, ...] = ()
    stats: ResponseStats = attrs.field(default=ResponseStats(), eq=False)
    extra: Mapping[str, Any] = attrs.field(default=NO_EXTRA, hash=False)

    def to_dict(self) -> dict[str, Any]:
        """The body of the REST answer; what the service did not say is left out."""
        body: dict[str, Any] = {
            "model_id": self.model_id,
            "model_version": self.model_version,
            "created_at": self.created_at,
            "results": [result.to_dict() for result in self.results],
            "input_token_count": self.input_token_count,
            "query": self.query,
        }
        if self.warnings:
            body["system"] = {
                "warnings": [
                    {name: value for name, value in attrs.asdict(warning).items() if value is not None}
                    for warning in self.warnings
                ]
            }
        body = {name: value for name, value in body.items() if value is not None}
        for name, value in self.extra.items():
            body[name] = {**value, **body[name]} if name == "system" and name in body else value
        return body


@attrs.frozen(kw_only=True)
class RerankResponse(OpenResponse):
    """One ranking over all inputs, as a single request would have given it.

    Attributes:
        model_id: The model, as the service names it.
        model_version: Its version; None if the service did not say.
        created_at: RFC 3339, of the last answer that came. For an empty list: when the call was made.
        results: Best first: by score descending, then by index ascending; at most ``top_n`` of them.
        input_token_count: Tokens billed, summed over all answers; None if the service did not say.
        query: The query, if ``return_options.query`` asked for it; else None.
        warnings: The service's warnings, each once.
        failures: Texts without a score, and why: with ``on_failure="partial"`` whatever failed, and with
            ``overlength="isolate"`` the texts that are too long. Otherwise empty, as a call that fails raises.
        stats: What the call took.
        extra: Fields of the service that this version does not know, by name; of the first answer that had them. Those
            beside the warnings in ``system`` are under ``"system"``.
    """

    def normalized(self, kind: ScoreKind | None = None) -> RerankResponse:
        """The same ranking with scores that a fixed threshold can be set on; each ``raw_score`` is the model's own.

        Logits go through the sigmoid, 1 / (1 + e**-score), which lies between 0 and 1 and keeps the order. Similarities
        stay as they are. A score never depends on the other results, as it would if the best became 1 and the last 0.

        Args:
            kind: ``"logits"`` or ``"similarities"``; None: what is documented of the model.

        Raises:
            InvalidArgumentError: ``kind`` is None and the model is not one of `RerankModels`, or no such word.
            InvalidTypeError: ``kind`` is neither None nor a str.
        """
        logits = score_kind_of(self.model_id, kind) == "logits"
        results = tuple(
            NormalizedResult(
                each.index,
                sigmoid(each.raw_score) if logits else each.raw_score,
                each.input,
                each.extra,
                model_score=each.raw_score,
            )
            for each in self.results
        )
        return attrs.evolve(self, results=results)


def frozen(response: OpenResponse) -> RerankResponse:
    """Makes a `RerankResponse` of what was just made: together less than half the cost of the constructor."""
    response.__class__ = RerankResponse
    return response  # type: ignore[return-value]  # it just became that


@attrs.frozen(kw_only=True, eq=False)
class Plan:
    """What a call would send; nothing was sent.

    Attributes:
        inputs: Texts in the caller's list.
        unique: Texts that would be sent.
        requests: Requests that are needed if each is full and succeeds at once.
        body_bytes: Bytes of all JSON bodies together.
        surplus: How many more requests may be sent, because smaller ones answer sooner while the client is idle
            (``BatchOptions.adaptive``); 0 if it is busy.
        seconds: How long the limiter would take to let the last of them start, what waits there now included. The
            service's own time comes on top.
    """

    inputs: int
    unique: int
    requests: int
    body_bytes: int
    seconds: float
    surplus: int = 0


@attrs.frozen(kw_only=True, eq=False)
class LimitStatus:
    """The limiter at this moment, for health checks.

    Attributes:
        requests_per_second: The pace it keeps now; ``math.inf``: no pacing.
        ceiling: What the pace never goes above, ``share`` of it taken; ``math.inf``: nothing is known.
        source: Where the ceiling comes from: ``"option"``, ``"header"``, ``"429"`` (its words), or ``"learned"`` (from
            when 429s came).
        concurrency: How many requests may be in flight now.
        queued: Requests that wait for their permit.
        in_flight: Requests that were sent and not yet answered.
        paused: Seconds until a pause that a 429 asked for ends; 0 if there is none.
        outage: Seconds since the service began to refuse connections; 0 if it does not.
        behind: Seconds that a request asked for now would wait for its permit, as far as can be known.
    """

    requests_per_second: float
    ceiling: float
    source: str
    concurrency: int
    queued: int
    in_flight: int
    paused: float
    outage: float
    behind: float


@attrs.frozen(kw_only=True, eq=False)
class ModelSpec:
    """A model as the service describes it.

    Attributes:
        model_id: Its id.
        label: Its short name; None if it has none.
        provider: Who made it; None if not said.
        functions: What it can do, such as ``("rerank",)``.
        max_sequence_length: Tokens that it reads; None if the service does not list it.
        lifecycle: States that it has reached, such as ``("available",)``.
        raw: Everything the service said, as decoded JSON.
    """

    model_id: str
    label: str | None = None
    provider: str | None = None
    functions: tuple[str, ...] = ()
    max_sequence_length: int | None = None
    lifecycle: tuple[str, ...] = ()
    raw: Mapping[str, Any] = NO_EXTRA
