"""What over-length passages among 1,000 cost, isolated or truncated; counts, in full batches."""

from __future__ import annotations

import math
from typing import Any

from door import score
from harness import QUERY, Door, Place, client, main, passages, scenario
from report import Figure

from rerank_async import BatchOptions, LimitOptions, RerankResponse
from rerank_async.errors import RerankError

COUNT, MAX_WORDS = 1_000, 512
MOST_REQUESTS = 40  # of one call that isolates
UNPACED = LimitOptions(requests_per_second=math.inf)


def _texts(long: int) -> list[str]:
    """A thousand passages; so many of them, spread evenly, are too long."""
    texts = passages(COUNT)
    for place in range(long):
        texts[place * COUNT // long + COUNT // long // 2] = f"long {place} " + "word " * (MAX_WORDS + 100)
    return texts


async def _rank(door: Door, overlength: str, texts: list[str], **options: Any) -> RerankResponse:
    batching = BatchOptions(adaptive=False, overlength=overlength)
    async with client(door.url, limits=UNPACED, batching=batching, **options) as ours:
        return await ours.generate(QUERY, texts)


def _wrong(response: RerankResponse, texts: list[str]) -> int:
    return sum(result.score != score(texts[result.index]) for result in response.results)


@scenario("batches 4", "one over-length passage, isolated")
async def isolate_one(place: Place) -> list[Figure]:
    door, texts = await place.open(max_words=MAX_WORDS), _texts(1)
    response = await _rank(door, "isolate", texts, on_failure="partial")
    missing = [index for failure in response.failures for index in failure.indices]
    lost = COUNT - 1 - len(response.results) + _wrong(response, texts)
    lost += missing != [index for index, text in enumerate(texts) if text.startswith("long")]
    what, point = "one over-length passage of 1,000, isolated", "batches 4"
    return [
        Figure(point=point, what=f"{what}: lost or wrong of the other 999", value=lost, bound=0, worst=True),
        Figure(point=point, what=f"{what}: requests", value=len(await door.log()), bound=25, worst=True),
    ]


@scenario("batches 4", "one over-length passage, truncated")
async def truncate_one(place: Place) -> list[Figure]:
    door, texts = await place.open(max_words=MAX_WORDS), _texts(1)
    response = await _rank(door, "truncate", texts)
    what, point = "one over-length passage of 1,000, truncated", "batches 4"
    lost = COUNT - len(response.results) + _wrong(response, texts) + (not response.warnings)
    return [
        Figure(point=point, what=f"{what}: lost or wrong of 1,000, and no warning", value=lost, bound=0, worst=True),
        Figure(point=point, what=f"{what}: requests", value=len(await door.log()), bound=2, worst=True),
    ]


@scenario("batches 4", "fifty over-length passages, isolated")
async def isolate_fifty(place: Place) -> list[Figure]:
    door, texts = await place.open(max_words=MAX_WORDS), _texts(50)
    response = await _rank(door, "isolate", texts, on_failure="partial")
    log = await door.log()
    scored = sum(each.inputs for each in log if each.outcome == "ok")
    missing = {index for failure in response.failures for index in failure.indices}
    unaccounted = COUNT - len(missing | {result.index for result in response.results})
    what, point = "50 over-length passages of 1,000, isolated", "batches 4"
    lost = scored - len(response.results) + unaccounted + _wrong(response, texts)
    return [
        Figure(point=point, what=f"{what}: scored and not handed out, or unaccounted for", value=lost, bound=0, worst=True, context=f"{scored} scored"),
        Figure(point=point, what=f"{what}: requests", value=len(log), bound=MOST_REQUESTS, worst=True),
    ]  # fmt: skip


@scenario("batches 4", "a 400 of the same code about something else")
async def another_refusal(place: Place) -> list[Figure]:
    door = await place.open(refused=True)
    try:
        await _rank(door, "isolate", _texts(1))
    except RerankError:
        requests: float = len(await door.log())
    else:
        requests = math.nan
    what = "a 400 of the same code about something else: requests"
    return [
        Figure(
            point="batches 4",
            what=what,
            value=requests,
            bound=1,
            worst=True,
            context="it did not fail" if math.isnan(requests) else "",
        )
    ]


if __name__ == "__main__":
    main(others=[[isolate_one, truncate_one, isolate_fifty, another_refusal]])
