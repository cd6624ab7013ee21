"""Who is served when: small calls beside a large one and beside a bulk run, and a crowd of equals, in the order they came."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable, Iterator
from itertools import pairwise
from typing import Any

from bare import post
from harness import Place, client, main, outcomes, passages, place_of, scenario
from report import Figure

import rerank_async
from rerank_async import LimitOptions, Sent

RATE, MANY = 8, 20_000
TEXTS, LIST = passages(10), passages(MANY)
TIMES = {"base": 0.02, "per_input": 0.0002}


@scenario("limits 5", "a 10-input call beside a 20,000-input call")
async def small_beside_large(place: Place) -> list[Figure]:
    door = await place.open(rate=RATE, text=True, **TIMES)
    async with client(door.url, limits=LimitOptions(requests_per_second=RATE)) as ours:
        large = asyncio.create_task(ours.generate("large", LIST))
        await asyncio.sleep(0.5)  # the first second's requests have gone, the others wait
        since = time.monotonic()
        await ours.generate("small", TEXTS)
        await large
    log = await door.log()
    place_at_door = place_of(log, "small", since)
    requests = sum(each.tag == "large" for each in log)
    what = f"a 10-input call beside a {MANY:,}-input call at {RATE}/s"
    return [
        Figure(point="limits 5", what=f"{what}: its place among the next requests", value=place_at_door, bound=4, worst=True),
        Figure(point="batches 2", what=f"{MANY:,} inputs at {RATE}/s: requests", value=requests - outcomes(log)["limited"], bound=20 + RATE, worst=True, context="20, and the free permits at the start"),
    ]  # fmt: skip


@scenario("limits 5", "500 calls of one batch each")
async def first_come(place: Place) -> list[Figure]:
    rate, calls = 100, 500
    door = await place.open(rate=rate, text=True)
    started: dict[int, None] = {}  # in the order of the first starts: a request that met a 429 starts again

    def note(event: object) -> None:
        if isinstance(event, Sent):
            started.setdefault(event.call)

    async with client(door.url, limits=LimitOptions(requests_per_second=rate), observer=note) as ours:
        await asyncio.gather(*(ours.generate(str(number), TEXTS) for number in range(calls)))
    log = await door.log()
    numbers = [int(each.tag) for each in log if each.outcome == "ok"]
    overtaken = sum(later < earlier for earlier, later in pairwise(started))
    furthest = max(abs(number - place) for place, number in enumerate(numbers))
    context = f"as served, over many connections: {furthest} places off at most; {outcomes(log)['limited']} 429s"
    what = f"{calls} calls of one batch at {rate}/s: starts out of order"
    return [Figure(point="limits 5", what=what, value=overtaken, bound=0, worst=True, context=context)]


@scenario("batches 6", "the first results of a stream")
async def stream_first(place: Place) -> list[Figure]:
    door = await place.open(rate=RATE, text=True, **TIMES)
    raw = await place.open(**TIMES)
    await post(place.session, raw.url, "warm", TEXTS)
    began_at = time.monotonic()
    await post(place.session, raw.url, "one", LIST[:1000])
    one = time.monotonic() - began_at
    seen: set[int] = set()
    async with client(door.url, limits=LimitOptions(requests_per_second=RATE)) as ours:
        began_at = time.monotonic()
        first = 0.0
        async with ours.stream("stream", LIST) as stream:
            async for batch in stream:
                first = first or time.monotonic() - began_at
                seen.update(result.index for result in batch)
        whole = time.monotonic() - began_at
    what, point = f"stream of {MANY:,} inputs at {RATE}/s", "batches 6"
    context = f"{first:.3f} s to {one:.3f} s; the last after {whole:.2f} s"
    return [
        Figure(point=point, what=f"{what}: first results / one bare request of 1,000", value=first / one, bound=1.25, context=context),
        Figure(point=point, what=f"{what}: inputs without a result", value=MANY - len(seen), bound=0, worst=True),
    ]  # fmt: skip


@scenario("batches 6", "a 10-input call beside generate_many with 64 in flight")
async def small_beside_bulk(place: Place) -> list[Figure]:
    door = await place.open(rate=RATE, text=True)

    def requests() -> Iterator[rerank_async.RerankRequest]:
        for number in range(100_000):
            yield rerank_async.RerankRequest(f"bulk {number}", TEXTS)

    async with (
        client(door.url, limits=LimitOptions(requests_per_second=RATE)) as ours,
        ours.generate_many(requests(), max_in_flight=64) as bulk,
    ):
        taken = asyncio.create_task(_take(bulk, 40))
        await asyncio.sleep(1.5)  # the run has used up what was free
        since = time.monotonic()
        await ours.generate("small", TEXTS)
        await taken
    place_at_door = place_of(await door.log(), "small", since)
    what = f"a 10-input call beside generate_many, 64 in flight, at {RATE}/s: its place among the next requests"
    return [Figure(point="batches 6", what=what, value=place_at_door, bound=4, worst=True)]


async def _take(bulk: AsyncIterable[Any], count: int) -> None:
    async for outcome in bulk:
        assert outcome.error is None
        count -= 1
        if not count:
            return


if __name__ == "__main__":
    main(limited=[[small_beside_large, small_beside_bulk], [first_come], [stream_first]])
