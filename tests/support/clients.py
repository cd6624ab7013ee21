"""Clients of a local server, quick to retry and, unless a test says otherwise, without pacing."""

import asyncio
import math
from pathlib import Path

import rerank_async
from rerank_async import AsyncRerank, LimitOptions, RetryOptions

UNPACED = LimitOptions(requests_per_second=math.inf)
QUICK = RetryOptions(max_attempts=10, base_delay=0.001, max_delay=0.004)

_PACKAGE = str(Path(rerank_async.__file__).parent)


def client_for(server, model_id="lexical", **options):
    """A client for anything with ``url``, and ``api_key`` and ``project_id`` where the options do not replace them."""
    if "api_client" not in options:
        options.setdefault("limits", UNPACED)
        options.setdefault("retries", QUICK)
        if "credentials" not in options:
            options["credentials"] = {"url": server.url, "api_key": server.api_key}
        if not options.keys() & {"project_id", "space_id"}:
            options["project_id"] = server.project_id
    return AsyncRerank(model_id, **options)


def client_tasks():
    """The tasks of this loop that run code of the client: the lanes of calls, and exchanges of tokens."""
    return [task for task in asyncio.all_tasks() if _is_of_the_client(task.get_coro())]


def _is_of_the_client(coroutine):
    code = getattr(coroutine, "cr_code", None)
    file = code.co_filename if code is not None else ""
    return file.startswith(_PACKAGE) and not file.startswith(_PACKAGE + "/server")


async def until(condition):
    """Waits, one turn of the loop after the other, until ``condition()`` holds; gives up after half a minute."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what the condition looks at knows no events
            await asyncio.sleep(0)
