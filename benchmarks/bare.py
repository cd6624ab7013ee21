"""What a program without a client would write over raw aiohttp: one POST; with the usual backoff; paced by hand."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from typing import Any

import aiohttp

PATH = "/ml/v1/text/rerank?version=2024-10-18"
_HEADERS = {"Authorization": "Bearer made-up", "Accept": "application/json"}
_TRIES, _FIRST_DELAY, _LONGEST_DELAY = 8, 0.25, 8.0


async def post(session: aiohttp.ClientSession, url: str, query: str, texts: Sequence[str]) -> list[dict[str, Any]]:
    """One request; gives its results.

    Raises:
        aiohttp.ClientError: It failed, or its status is not 200.
        ValueError: Its body is not JSON.
    """
    body = {"model_id": "canned", "query": query, "project_id": "p", "inputs": [{"text": text} for text in texts]}
    async with session.post(url + PATH, json=body, headers=_HEADERS) as response:
        response.raise_for_status()
        results: list[dict[str, Any]] = (await response.json())["results"]
        return results


async def with_backoff(
    session: aiohttp.ClientSession, url: str, query: str, texts: Sequence[str]
) -> list[dict[str, Any]]:
    """Tries again after whatever failed: a random time up to 0.25 s, then 0.5, 1, 2, ... 8 s; eight tries.

    Raises:
        aiohttp.ClientError: As the last try.
        ValueError: Likewise.
    """
    for attempt in range(_TRIES):
        try:
            return await post(session, url, query, texts)
        except (aiohttp.ClientError, ValueError):
            if attempt == _TRIES - 1:
                raise
            await asyncio.sleep(random.random() * min(_LONGEST_DELAY, _FIRST_DELAY * 2**attempt))
    raise AssertionError


class Pace:
    """Lets one start at a time, evenly: the usual few lines."""

    def __init__(self, rate: float) -> None:
        self._interval = 1 / rate
        self._next_at = 0.0

    async def turn(self) -> None:
        """Waits for the next start."""
        now = time.monotonic()
        self._next_at = max(now, self._next_at + self._interval)
        await asyncio.sleep(self._next_at - now)
