"""Memory of `generate_many` over a generator of 100,000 requests: it must not grow with their number."""

from __future__ import annotations

import asyncio
import json
import math
import sys
import time
from collections.abc import Iterator

from harness import Place, Scenario, client, main, passages, resident
from report import Figure

import rerank_async
from rerank_async import LimitOptions

REQUESTS, QUICK_REQUESTS, IN_FLIGHT = 100_000, 20_000, 64
FIRST = 1_000  # outcomes after which memory must stay as it is
ROOM = 1.10  # the most it may hold then, to what it held after the first


async def run(url: str, requests: int, *, ordered: bool) -> dict[str, float]:
    """The whole run, for a process of its own."""
    inputs = passages(10)
    sizes: list[float] = []
    failed = ahead = taken = made = 0

    def produce() -> Iterator[rerank_async.RerankRequest]:
        nonlocal made
        for number in range(requests):
            made += 1
            yield rerank_async.RerankRequest(f"{'slow' if number == 2 * FIRST else 'query'} {number}", inputs)

    began_at = time.monotonic()
    async with (
        client(url, limits=LimitOptions(requests_per_second=math.inf)) as ours,
        ours.generate_many(produce(), ordered=ordered, max_in_flight=IN_FLIGHT) as outcomes,
    ):
        async for outcome in outcomes:
            failed += outcome.error is not None
            taken += 1
            ahead = max(ahead, made - taken)
            if taken % (FIRST // 10) == 0 and taken >= FIRST:
                sizes.append(resident())
    seconds = time.monotonic() - began_at
    return {
        "first": sizes[0],
        "most": max(sizes),
        "failed": failed + requests - taken,
        "ahead": ahead,
        "seconds": seconds,
    }


def _many(*, ordered: bool) -> Scenario:
    async def run(place: Place) -> list[Figure]:
        requests = QUICK_REQUESTS if place.quick else REQUESTS
        door = await place.open(base=0.0, slow_head=3.0)
        command = (sys.executable, __file__, "run", door.url, str(requests), str(int(ordered)))
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        said, _ = await process.communicate()
        if process.returncode:
            raise RuntimeError(f"the run ended with {process.returncode}")
        found = json.loads(said)
        what, point = f"generate_many over {requests:,} requests of 10, {way}", "batches 5"
        context = f"{found['first']:.1f} MB, then at most {found['most']:.1f} MB; {found['seconds']:.0f} s"
        return [
            Figure(point=point, what=f"{what}: most memory after / at the first thousand", value=found["most"] / found["first"], bound=ROOM, context=context),
            Figure(point=point, what=f"{what}: requests taken and not yet handed out, at most", value=found["ahead"], bound=IN_FLIGHT + 1, worst=True),
            Figure(point=point, what=f"{what}: failed or missing", value=found["failed"], bound=0, worst=True),
        ]  # fmt: skip

    way = "ordered, one slow" if ordered else "as completed"
    return Scenario("batches 5", f"generate_many, {way}", run)


if __name__ == "__main__":
    if sys.argv[1:2] == ["run"]:
        print(json.dumps(asyncio.run(run(sys.argv[2], int(sys.argv[3]), ordered=sys.argv[4] == "1"))))
    else:
        main(others=[[_many(ordered=False)], [_many(ordered=True)]])
