"""What a job would send."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from rerank_async.bulk.engine import in_full
from rerank_async.bulk.items import BadItem, Item
from rerank_async.client import AsyncRerank
from rerank_async.errors import InvalidArgumentError

_LISTED = 20


class BulkPlan(NamedTuple):
    """What a job would send; nothing was sent.

    Attributes:
        queries: Queries that would be sent.
        problems: Queries that cannot be sent.
        inputs: Their candidates.
        unique: Texts that would be sent: without repetitions inside a query.
        requests: Requests that are needed if each succeeds at once.
        body_bytes: Bytes of all JSON bodies together.
        seconds: How long the limiter would take to let the last of them start. The service's own time comes on top.
        index_seconds: How long the index of a large corpus took to build; it is there now.
        first_problems: What is wrong with the first of the queries that cannot be sent.
    """

    queries: int
    problems: int
    inputs: int
    unique: int
    requests: int
    body_bytes: int
    seconds: float
    index_seconds: float
    first_problems: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """As a JSON object."""
        return {**self._asdict(), "seconds": round(self.seconds, 3), "index_seconds": round(self.index_seconds, 3)}


def plan_of(client: AsyncRerank, items: Iterable[Item | BadItem], built_seconds: Callable[[], float]) -> BulkPlan:
    """Adds up the plans of all queries."""
    queries = inputs = unique = requests = size = problems = 0
    first: list[str] = []
    engine = in_full(client)
    for item in items:
        try:
            if isinstance(item, BadItem):
                raise item.error
            plan = engine.plan(item.query, item.inputs)
        except InvalidArgumentError as error:
            where = f"query {item.id!r} (line {item.line}): "
            problems += 1
            first += [f"{where}{error}"] * (len(first) < _LISTED)
        except ValueError as error:
            problems += 1
            first += [str(error)] * (len(first) < _LISTED)
        else:
            queries += 1
            inputs += plan.inputs
            unique += plan.unique
            requests += plan.requests
            size += plan.body_bytes
    seconds = client.api_client.seconds_for(requests)
    return BulkPlan(queries, problems, inputs, unique, requests, size, seconds, built_seconds(), tuple(first))
