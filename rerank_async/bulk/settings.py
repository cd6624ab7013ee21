"""How a job is run."""

from __future__ import annotations

from typing import Any

import attrs

from rerank_async.errors import InvalidArgumentError
from rerank_async.values.checks import boolean, integer_from, number_from

ON_ERROR = ("skip", "stop")


def _one_of_on_error(_: Any, attribute: Any, value: Any) -> None:
    if value not in ON_ERROR:
        raise InvalidArgumentError(f"on_error must be 'skip' or 'stop', not {value!r}", argument=attribute.name)


@attrs.frozen(kw_only=True)
class JobSettings:
    """How a job is run.

    Attributes:
        resume: Go on with a job that was not finished, or begin it.
        overwrite: Begin anew, whatever is there.
        retry_failed: Go on, and take up again what failed.
        ordered: The output is in the source's order.
        on_error: What a query that fails does: ``"skip"``, it is listed and the job goes on; ``"stop"``, the job ends.
        max_in_flight: Queries under way at the same time, at least 1.
        max_outage: Seconds for which a service that does not answer is waited for.
    """

    resume: bool = attrs.field(default=False, validator=boolean)
    overwrite: bool = attrs.field(default=False, validator=boolean)
    retry_failed: bool = attrs.field(default=False, validator=boolean)
    ordered: bool = attrs.field(default=False, validator=boolean)
    on_error: str = attrs.field(default="skip", validator=_one_of_on_error)
    max_in_flight: int = attrs.field(default=64, validator=integer_from(1))
    max_outage: float = attrs.field(default=600.0, validator=number_from(0))

    def __attrs_post_init__(self) -> None:
        """Refuses what contradicts itself."""
        if self.overwrite and (self.resume or self.retry_failed):
            raise InvalidArgumentError("overwrite begins anew, so there is nothing to resume", argument="overwrite")
