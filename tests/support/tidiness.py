"""What a client must not hold once its calls are over, in whatever way: tasks, permits, places in a queue, connections."""

import asyncio
from random import Random

import pytest
from support.clients import client_tasks

from rerank_async.errors import ClientStateError


def assert_tidy(client):
    """Nothing of the client is under way; a token may still be on its way, as it is everybody's."""
    status = client.limit_status
    assert (status.in_flight, status.queued) == (0, 0)
    assert [task.get_name() for task in client_tasks()] in ([], ["rerank_async token"])
    session = client.api_client._channel.http._session
    if session is not None and not client_tasks():
        assert not session.connector._acquired, "a connection was not given back"


async def leave(handed_out, way):
    """Leaves what is iterated after its first item: by ``"break"``, by an ``"error"``, or closed from another task."""
    async with handed_out:
        async for _ in handed_out:
            if way == "break":
                break
            if way == "error":
                raise LookupError
            await asyncio.create_task(handed_out.aclose())
            with pytest.raises(ClientStateError):
                await anext(handed_out)
            return


async def cancelled_at_a_random_moment(seed, server, client, use):
    """Runs ``use(client)`` up to three times at once and cancels it after a random number of turns, or twice.

    Returns what became of each: ``"cancelled"`` or ``"done"``; a use that ends must return True.
    """
    random = Random(seed)
    if random.random() < 0.2:
        server.revoke_tokens()
    uses = [asyncio.create_task(use(client)) for _ in range(random.randint(1, 3))]
    patient = random.random() < 0.1
    for _ in range(random.randint(0, 200)):
        await asyncio.sleep(0 if random.random() < 0.8 else 0.0003)
    if patient:
        await asyncio.wait(uses)
    for each in uses:
        each.cancel()
    for _ in range(random.randint(0, 3)):  # and some once more, while they clean up
        await asyncio.sleep(0)
        random.choice(uses).cancel()
    outcomes = await asyncio.gather(*uses, return_exceptions=True)
    assert all(outcome is True or isinstance(outcome, asyncio.CancelledError) for outcome in outcomes), outcomes
    assert_tidy(client)
    return ["done" if outcome is True else "cancelled" for outcome in outcomes]
