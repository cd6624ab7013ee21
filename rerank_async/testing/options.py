"""Options of a client that make tests quick: the same decisions as always, without the waiting."""

from __future__ import annotations

import math
from typing import Final, TypedDict

from rerank_async.values.options import LimitOptions, RetryOptions

UNPACED: Final = LimitOptions(requests_per_second=math.inf)
"""No pacing. A 429 without ``Retry-After`` still pauses the client, for a quarter of a second and more."""

QUICK_RETRIES: Final = RetryOptions(base_delay=0, max_delay=0)
"""As many attempts as by default, one right after the other. A ``Retry-After`` is still kept."""


class QuickOptions(TypedDict):
    """What `quick_options` gives.

    Attributes:
        limits: `UNPACED`.
        retries: `QUICK_RETRIES`.
    """

    limits: LimitOptions
    retries: RetryOptions


def quick_options() -> QuickOptions:
    """Keyword arguments for ``AsyncRerank`` or ``AsyncAPIClient`` that take the waiting out of a test.

    A new dict each time: ``AsyncRerank(model_id, credentials=..., project_id=..., **quick_options())``.
    """
    return {"limits": UNPACED, "retries": QUICK_RETRIES}
