"""What `RerankStream` and `RerankMany` share: the use with `async with` and `async for`, wrong uses, closing."""

import asyncio

import pytest
from support.clock import settle

from rerank_async import RerankRequest, RerankResponse, RerankResult
from rerank_async.errors import ClientClosedError, ClientStateError
from rerank_async.handout import ended
from rerank_async.many import RerankMany
from rerank_async.streaming import RerankStream

RESPONSE = RerankResponse(model_id="m", results=())


class Stream:
    """A stream of three batches, each of which lands when it is told to."""

    name = r"client\.stream"

    def __init__(self, refusal=None):
        self.made = RerankStream(self.begin)
        self.refusal = refusal
        self.cleaned_up = 0

    def begin(self, landed):
        if self.refusal is not None:
            raise self.refusal
        self.landed = landed
        return self.call()

    async def call(self):
        self.future = asyncio.get_running_loop().create_future()
        try:
            return await self.future
        finally:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            self.cleaned_up += 1

    def bring(self, number):
        self.landed((RerankResult(number, 0.5),))

    def end(self):
        self.future.set_result(RESPONSE)

    @staticmethod
    def number(item):
        return item[0].index

    def waits(self):
        return hasattr(self, "future") and not self.future.done()


class Many:
    """A run of three requests, each of which is answered when it is told to."""

    name = r"client\.generate_many"

    def __init__(self, refusal=None):
        requests = (RerankRequest("q", ["a"], number) for number in range(3))
        self.made = RerankMany(self.run, requests, self.check, ordered=False, max_in_flight=3)
        self.refusal = refusal
        self.futures = {}
        self.cleaned_up = 0

    def check(self):
        if self.refusal is not None:
            raise self.refusal

    async def run(self, request):
        future = self.futures[request.id] = asyncio.get_running_loop().create_future()
        try:
            return await future
        finally:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            self.cleaned_up += 1

    def bring(self, number):
        self.futures[number].set_result(RESPONSE)

    def end(self):
        pass

    @staticmethod
    def number(outcome):
        return outcome.request.id


@pytest.fixture(params=[Stream, Many], ids=["stream", "many"])
def kind(request):
    return request.param


def others():
    return asyncio.all_tasks() - {asyncio.current_task()}


async def test_everything_is_handed_out_as_it_comes(kind):
    maker = kind()
    got = []
    async with maker.made as things:
        assert things is maker.made
        await settle()
        for number in (2, 0, 1):
            maker.bring(number)
            got.append(maker.number(await anext(things)))
        maker.end()
        async for _ in things:
            raise AssertionError
        with pytest.raises(StopAsyncIteration):
            await anext(things)
    assert got == [2, 0, 1]
    assert not others()


async def test_a_loop_can_be_left_and_taken_up_again(kind):
    maker = kind()
    async with maker.made as things:
        await settle()
        maker.bring(0)
        async for item in things:
            assert maker.number(item) == 0
            break
        maker.bring(1)
        async for item in things:
            assert maker.number(item) == 1
            break


async def test_iterating_twice_is_an_error_and_not_an_empty_loop(kind):
    maker = kind()
    async with maker.made as things:
        await settle()
        for number in range(3):
            maker.bring(number)
        maker.end()
        assert [maker.number(item) async for item in things] == [0, 1, 2]
        with pytest.raises(ClientStateError, match=rf"iterated to its end before; make a new one with {kind.name}"):
            async for _ in things:
                pass


async def test_iterating_in_two_tasks_at_once_is_an_error_for_the_second(kind):
    maker = kind()
    async with maker.made as things:
        first = asyncio.create_task(anext(things))
        await settle()
        with pytest.raises(ClientStateError, match="another task waits for the next item"):
            await anext(things)
        maker.bring(1)
        assert maker.number(await first) == 1


async def test_use_before_async_with_and_after_it_is_an_error(kind):
    things = kind().made
    with pytest.raises(ClientStateError, match=rf"not entered; use `async with {kind.name}\(\.\.\.\)"):
        async for _ in things:
            pass
    with pytest.raises(ClientStateError, match="not entered"):
        await anext(things)
    async with things:
        pass
    for use in (things.__anext__, things.__aenter__):
        with pytest.raises(ClientStateError, match=rf"was closed.*make a new one with {kind.name}"):
            await use()
    with pytest.raises(ClientStateError, match="was closed"):
        aiter(things)


async def test_entering_twice_is_an_error(kind):
    async with kind().made as things:
        with pytest.raises(ClientStateError, match="was entered before"):
            async with things:
                pass


async def test_what_cannot_begin_leaves_nothing(kind):
    maker = kind(ClientClosedError("closed"))
    with pytest.raises(ClientClosedError):
        async with maker.made:
            pass
    assert not others()
    await maker.made.aclose()


async def test_closing_without_entering_and_closing_twice_is_harmless(kind):
    things = kind().made
    await things.aclose()
    await things.aclose()
    with pytest.raises(ClientStateError, match="was closed"):
        async with things:
            pass


async def test_break_inside_async_with_cancels_and_awaits_what_is_under_way(kind):
    maker = kind()
    async with maker.made as things:
        await settle()
        maker.bring(0)
        async for _ in things:
            break
        assert others()
    assert not others()
    assert maker.cleaned_up == (3 if kind is Many else 1)


async def test_what_was_not_handed_out_is_dropped_by_closing(kind):
    maker = kind()
    async with maker.made as things:
        await settle()
        maker.bring(0)
        await settle()
        await things.aclose()
        with pytest.raises(ClientStateError, match="was closed"):
            await anext(things)


async def test_closing_from_another_task_ends_the_loop_with_a_clear_error(kind):
    maker = kind()
    async with maker.made as things:
        reader = asyncio.create_task(anext(things))
        await settle()
        assert not reader.done()
        await things.aclose()
        with pytest.raises(ClientStateError, match="was closed while it was iterated"):
            await reader
    assert not others()


async def test_closing_in_two_tasks_at_once_waits_in_both_and_cancels_once(kind):
    maker = kind()
    async with maker.made as things:
        await settle()
        closing = [asyncio.create_task(things.aclose()) for _ in range(3)]
        await asyncio.gather(*closing)
        assert maker.cleaned_up == (3 if kind is Many else 1)
    assert not others()


@pytest.mark.parametrize("turns", range(8))
async def test_cancelled_again_while_closing_everything_still_ends(kind, turns):
    maker = kind()

    async def read():
        async with maker.made as things:
            async for _ in things:
                pass

    reader = asyncio.create_task(read())
    await settle()
    reader.cancel()
    for _ in range(turns):
        await asyncio.sleep(0)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert not others()
    assert maker.cleaned_up == (3 if kind is Many else 1)


async def test_a_reader_that_is_cancelled_in_the_moment_of_arrival_loses_nothing(kind):
    maker = kind()
    async with maker.made as things:
        reader = asyncio.create_task(anext(things))
        await settle()
        maker.bring(1)
        for _ in range(8):  # until it was woken, but has not run
            if things._waiter.done():
                break
            await asyncio.sleep(0)
        assert things._waiter.done()
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        assert maker.number(await anext(things)) == 1


async def fail_inside(things):
    async with things:
        await settle()
        raise LookupError


async def test_an_error_of_the_body_passes_untouched(kind):
    with pytest.raises(LookupError):
        await fail_inside(kind().made)
    assert not others()


async def test_ended_raises_a_cancellation_only_after_the_end():
    release = asyncio.Event()
    slow = asyncio.create_task(release.wait())
    waiter = asyncio.create_task(ended([slow]))
    await settle()
    waiter.cancel()
    waiter.cancel()
    await settle()
    waiter.cancel()
    await settle()
    assert not waiter.done()
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert slow.result() is True
