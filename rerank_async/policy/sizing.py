"""How many inputs ride on a permit: few where that answers sooner, as many as may be where permits are short."""

from __future__ import annotations

from math import sqrt
from typing import Final

from rerank_async.policy.latency import LatencyModel
from rerank_async.policy.planning import Load, requests_needed

REQUEST_COST: Final = 0.001
"""Seconds: what one more request of a call costs where requests are made and read one after the other, on this side. A
bare aiohttp loop needs an eighth of it in CPU on loopback. TLS, our own part, a busy machine and the service's own cost of a
request come on top, and near the best number of requests the time hardly changes: rather too high than too low. Without
it, a list that nothing paces would be cut as fine as `LEAST_INPUTS` allows."""

LEAST_INPUTS: Final = 16
"""No call is cut into requests of fewer inputs: what that saves is less than what a permit is worth."""


def _room(free: int, lanes: int, sent: int) -> int:
    """How many requests a call may have in all so that half of what was free stays for others."""
    return max(1, (min(free, lanes) + sent) // 2)


def _wanted(total: int, latency: LatencyModel) -> int:
    """The number of equal requests that ends soonest, each request's cost on this side included.

    All k of them together take base + per_input * total / k + cost * k seconds, which is least at
    k = sqrt(per_input * total / cost). A request whose inputs take less than half the base is not worth its base.
    """
    if total < 2 * LEAST_INPUTS:
        return 1
    work = latency.per_input * total
    most = min(total // LEAST_INPUTS, int(2 * work / latency.base) if latency.base > 0 else total)
    return max(1, min(round(sqrt(work / REQUEST_COST)), most))


def batch_size(
    left: int,
    *,
    free: int,
    lanes: int,
    waiting: int,
    latency: LatencyModel,
    max_inputs: int,
    taken: int = 0,
    sent: int = 0,
) -> int:
    """How many inputs of a call ride on the permit that it was just granted.

    Where somebody waits, or full batches alone need more than half of what is free: a full batch. Else the list is
    cut evenly into as many requests as end soonest, and no more than half of what was free when the call began.

    Args:
        left: Texts still to be sent.
        free: Permits that could be granted at once now, this one included; any large number where nothing paces.
        lanes: Requests that may be in flight beside those that are, this one included.
        waiting: Requests of others that wait for a permit.
        latency: What is known of the model's answers.
        max_inputs: Inputs in one request, at most; at least 1.
        taken: Texts of the same call that were sent before. Without it each size is chosen as if the call began now,
            so that sizes shrink.
        sent: Requests that they were sent in.

    Returns:
        1 to ``min(left, max_inputs)``; 0 if nothing is left.
    """
    if left <= 0:
        return 0
    full = min(left, max_inputs)
    if waiting > 0 or left < 2 * LEAST_INPUTS:
        return full
    room = _room(free, lanes, sent) - sent
    needed = -(-left // max_inputs)
    if needed > room:
        return full
    wanted = min(_wanted(left + taken, latency) - sent, room)
    return -(-left // max(wanted, needed))


def adaptive_surplus(load: Load, *, free: int, lanes: int, waiting: int, latency: LatencyModel) -> int:
    """How many more requests than full batches a call may send if it begins now.

    Args:
        load: The call's texts.
        free: As for `batch_size`, before the call's first permit.
        lanes: As for `batch_size`.
        waiting: As for `batch_size`.
        latency: As for `batch_size`.
    """
    total = len(load.texts)
    if waiting > 0 or total < 2 * LEAST_INPUTS:
        return 0
    room = _room(free, lanes, 0)
    if -(-total // load.max_inputs) > room:
        return 0
    most = min(_wanted(total, latency), room)
    # A batch that the bytes cut short does not make the next ones larger at once, so evenly cut and full ones may mix.
    return max(0, most - requests_needed(load)) if load.sizes is None else most
