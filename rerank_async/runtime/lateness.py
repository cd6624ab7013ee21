"""The errors of calls whose deadline the limiter alone makes impossible, seen before anything is sent."""

from __future__ import annotations

from rerank_async.errors import DeadlineExceededError

_ADVICE = "give the call more time, or ask for less at once"


def too_far_behind(behind: float, left: float) -> DeadlineExceededError:
    """Those before the call, or a pause, take longer than it has; both in seconds."""
    return DeadlineExceededError(
        f"the limiter is {behind:.1f} s behind, the deadline is in {max(0.0, left):.1f} s. "
        f"Nothing was sent for what is left; {_ADVICE}"
    )


def too_many_requests(requests: int, rate: float, seconds: float, left: float) -> DeadlineExceededError:
    """Nobody is before the call, but its own requests take ``seconds`` at the rate, longer than it has left."""
    return DeadlineExceededError(
        f"the call needs {requests} requests, the last of which can start in {seconds:.1f} s at {rate:g} a second; the "
        f"deadline is in {max(0.0, left):.1f} s. Nothing was sent; {_ADVICE}"
    )
