"""Small frozen values that set how a client works: batches, hedges, limits, retries and timeouts."""

from __future__ import annotations

import math
from enum import Enum
from typing import Any, Final, Literal, get_args

import attrs

from rerank_async.errors import InvalidArgumentError
from rerank_async.values.checks import boolean, integer_from, number_from, one_of
from rerank_async.values.contract import DEFAULT_RATE, MAX_INPUTS

Overlength = Literal["raise", "isolate", "truncate"]


class Default(Enum):
    """The type of `DEFAULT`: a value that says "not given", where None says something else."""

    DEFAULT = "DEFAULT"

    def __repr__(self) -> str:
        return "DEFAULT"


DEFAULT: Final = Default.DEFAULT
"""Not given: what the client was made with holds."""


@attrs.frozen(kw_only=True)
class BatchOptions:
    """How ``inputs`` are cut into requests.

    Attributes:
        max_inputs: Texts in one request, 1 to 1,000 (the documented bound of the service).
        max_bytes: Bytes of one request's JSON body, UTF-8. The service's own bound is not documented; the default of
            4 MiB holds 1,000 passages of some 4,000 characters. A text that alone is over it is an error.
        dedupe: Send identical texts once and give each of them the score. Never done with ``crypto``.
        adaptive: Cut a list finer than ``max_inputs`` where free permits let that answer sooner; False: full batches
            always (docs/batching.md).
        overlength: What to do when the service refuses a batch because a text is longer than the model reads, without
            saying which one: ``"raise"`` its error; ``"isolate"`` the text, with at most 39 further requests a call,
            so that the others get their scores; or ``"truncate"``: send the batch once more with
            ``truncate_input_tokens``, and add a warning to the response.
    """

    max_inputs: int = attrs.field(default=MAX_INPUTS, validator=integer_from(1))
    max_bytes: int = attrs.field(default=4 * 2**20, validator=integer_from(1))
    dedupe: bool = attrs.field(default=True, validator=boolean)
    adaptive: bool = attrs.field(default=True, validator=boolean)
    overlength: Overlength = attrs.field(default="raise", validator=one_of(*get_args(Overlength)))

    @max_inputs.validator
    def _check_max_inputs(self, _: Any, value: int) -> None:
        if value > MAX_INPUTS:
            raise InvalidArgumentError(
                f"max_inputs must be at most {MAX_INPUTS}, the service's bound for one request, not {value}",
                argument="max_inputs",
            )


@attrs.frozen(kw_only=True)
class HedgeOptions:
    """When a second copy of a slow request races the first; the answer that comes first counts, the other is cancelled.

    A hedge is sent only if a permit is free at once and nobody waits for one.

    Attributes:
        delay: Seconds after which a request is slow, above 0; None: learned from the answers, twice what four of five
            requests need, once 16 are known.
        budget: Hedges for each other request, above 0 and at most 1: 0.05 is one hedge for 20 requests.
    """

    delay: float | None = attrs.field(default=None, validator=number_from(0, above=True, optional=True))
    budget: float = attrs.field(default=0.05, validator=number_from(0, above=True))

    @budget.validator
    def _check_budget(self, _: Any, value: float) -> None:
        if value > 1:
            raise InvalidArgumentError(
                f"budget must be at most 1, a hedge for each request, not {value!r}", argument="budget"
            )


@attrs.frozen(kw_only=True)
class LimitOptions:
    """How fast requests may start, over everything that shares one `AsyncAPIClient`.

    Attributes:
        requests_per_second: The instance's rate. 8 is the limit of a ``v2-standard`` instance, 2 that of a Lite one
            (seen in live 429s: IBM/unitxt#1215, langflow-ai/openrag#615). None: unknown; the client starts slowly and
            learns it. ``math.inf``: no pacing.
        burst: How many requests may start at once after a pause, at least 1; None: the requests of one second. With
            N = burst and a rate r, at most N requests start in any window of N / r seconds. Only with a rate.
        max_concurrency: Requests in flight at the same time, at least 1.
        share: The fixed part of the rate that this client uses, above 0, at most 1: a half where two processes use one
            instance. Only with a rate, given or learned.
        max_queued: How many requests may wait for the limiter before a call fails at once with `OverloadedError`, at
            least 0; None: no bound. For services that would rather refuse than wait.
    """

    requests_per_second: float | None = attrs.field(
        default=DEFAULT_RATE, validator=number_from(0, above=True, finite=False, optional=True)
    )
    burst: int | None = attrs.field(default=None, validator=integer_from(1, optional=True))
    max_concurrency: int = attrs.field(default=128, validator=integer_from(1))
    share: float = attrs.field(default=1.0, validator=number_from(0, above=True, most=1))
    max_queued: int | None = attrs.field(default=None, validator=integer_from(0, optional=True))

    @burst.validator
    def _check_burst(self, _: Any, value: int | None) -> None:
        if value is None:
            return
        if self.requests_per_second is None:
            raise InvalidArgumentError(
                "burst needs a rate to be held against; with requests_per_second=None leave it out", argument="burst"
            )
        if self.requests_per_second == math.inf:
            raise InvalidArgumentError(
                "burst has no effect without pacing (requests_per_second=math.inf); bound max_concurrency instead",
                argument="burst",
            )

    @share.validator
    def _check_share(self, _: Any, value: float) -> None:
        if value < 1 and self.requests_per_second == math.inf:
            raise InvalidArgumentError(
                "share is a part of a rate, and requests_per_second=math.inf is none: give the rate, or None to learn it",
                argument="share",
            )


@attrs.frozen(kw_only=True)
class RetryOptions:
    """What is sent again, how often and after which wait.

    The n-th retry of a batch waits for a random time between 0 and ``min(max_delay, base_delay * 2**(n - 1))`` seconds
    (full jitter): with the defaults at most 0.25, 0.5, 1, 2 and 4 s. A 429 is not a retry: it pauses the whole client,
    and its batch goes again first. A refused connection is a retry that costs no attempt.

    Attributes:
        max_attempts: Requests for one batch that count, the first one included, at least 1.
        base_delay: Seconds, the longest wait before the first retry.
        max_delay: Seconds, the longest wait before any retry, at least ``base_delay``.
        max_retry_after: Seconds. A Retry-After above it fails the call at once, and the error names the value.
        max_throttled: How many 429s one batch may meet before the call fails, at least 0.
        budget: Retries that one success pays for, 0 to 1, over everything that shares the client. Retries that succeed
            are free, and the deposits of 150 successes are saved: 0.3 carries 20 % of faults and more. A budget that
            is used up delays: one request a second goes again, until something succeeds. 0: never more than that.
        max_elapsed: Seconds from a batch's first failure to its last retry, above 0 and at least ``base_delay``; None:
            no bound. Waits for a 429 are not bounded by it. A call to a server that is down ends after this time.
    """

    max_attempts: int = attrs.field(default=6, validator=integer_from(1))
    base_delay: float = attrs.field(default=0.25, validator=number_from(0))
    max_delay: float = attrs.field(default=8.0, validator=number_from(0))
    max_retry_after: float = attrs.field(default=60.0, validator=number_from(0))
    max_throttled: int = attrs.field(default=100, validator=integer_from(0))
    budget: float = attrs.field(default=0.3, validator=number_from(0, most=1))
    max_elapsed: float | None = attrs.field(default=120.0, validator=number_from(0, above=True, optional=True))

    @max_delay.validator
    def _check_max_delay(self, _: Any, value: float) -> None:
        if value < self.base_delay:
            raise InvalidArgumentError(
                f"max_delay must be at least base_delay, {self.base_delay!r}, not {value!r}", argument="max_delay"
            )

    @max_elapsed.validator
    def _check_max_elapsed(self, _: Any, value: float | None) -> None:
        if value is not None and value < self.base_delay:
            raise InvalidArgumentError(
                f"max_elapsed must be at least base_delay, {self.base_delay!r}, not {value!r}: no retry would fit",
                argument="max_elapsed",
            )


@attrs.frozen(kw_only=True)
class Timeouts:
    """Time limits, in seconds.

    Attributes:
        connect: For making one connection, TLS included.
        request: For one request, from its start to the last byte of its answer. A request that takes longer is tried
            again, as `RetryOptions` says. The service takes a list passage by passage, so long batches need time.
        total: For the whole call: waiting for the limiter and retries included; None: no bound. ``generate(timeout=)``
            replaces it for one call.
    """

    connect: float = attrs.field(default=10.0, validator=number_from(0, above=True))
    request: float = attrs.field(default=120.0, validator=number_from(0, above=True))
    total: float | None = attrs.field(default=None, validator=number_from(0, above=True, optional=True))
