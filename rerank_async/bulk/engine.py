"""How a job uses a client."""

from __future__ import annotations

import attrs

from rerank_async.client import AsyncRerank
from rerank_async.errors import RerankError


def in_full(client: AsyncRerank) -> AsyncRerank:
    """A view of the client that sends full batches and scores each query as a whole, or fails it.

    In a job requests are what is scarce, so none are added for speed. A query of which some texts have no score is a
    failed one, listed with its reason: a ranking without them would look complete. An outage is the job's to wait out
    and to tell of, so the calls do not wait for its end.
    """
    batching = client._batching  # noqa: SLF001 - a view of it, made here
    overlength = "raise" if batching.overlength == "isolate" else batching.overlength
    view = client.with_options()
    view._waits = False  # noqa: SLF001 - as above
    return view.with_options(batching=attrs.evolve(batching, adaptive=False, overlength=overlength), on_failure="raise")


def once(client: AsyncRerank) -> AsyncRerank:
    """A view of the client whose requests are sent once: to ask whether the service answers, and to hear that it does not."""
    view = client.with_options()
    view._once = True  # noqa: SLF001 - as above
    return view


def token_failure(client: AsyncRerank) -> RerankError | None:
    """How the exchange that a client without a token waits for has failed so far; None: it has a token, or it has not failed.

    An exchange is tried again for longer than the tiny request is waited for, so that this one cannot tell.
    """
    tokens = client._api_client.channel().tokens  # noqa: SLF001 - a job's own view of it
    return tokens.failure() if tokens.alive() is None else None
