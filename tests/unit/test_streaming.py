"""`RerankStream` over a call that is led by hand."""

import asyncio
import gc

import pytest
from support.clock import settle

from rerank_async import BatchFailure, RerankResponse, RerankResult
from rerank_async.errors import BadRequestError, ClientStateError
from rerank_async.streaming import RerankStream


class Call:
    """A call whose batches land when it is told to."""

    def __init__(self):
        self.stream = RerankStream(self.begin)
        self.future = None

    def begin(self, landed):
        self.landed = landed
        self.future = asyncio.get_running_loop().create_future()
        return self.run()

    async def run(self):
        return await self.future


def batch(*indices):
    return tuple(RerankResult(index, 1.0) for index in indices)


@pytest.fixture
def call():
    return Call()


async def test_the_call_goes_on_while_nobody_reads(call):
    response = RerankResponse(model_id="m", results=())
    async with call.stream as stream:
        for index in range(100):
            call.landed(batch(index))
        call.future.set_result(response)
        await settle()
        assert await stream.response() is response
        assert [results async for results in stream] == [batch(index) for index in range(100)]


async def test_an_error_is_raised_after_everything_that_had_landed(call):
    error = BadRequestError("no")
    async with call.stream as stream:
        call.landed(batch(0))
        call.landed(batch(1))
        call.future.set_exception(error)
        await settle()
        assert [await anext(stream), await anext(stream)] == [batch(0), batch(1)]
        with pytest.raises(BadRequestError) as caught:
            await anext(stream)
        assert caught.value is error
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        with pytest.raises(BadRequestError):
            await stream.response()
        assert stream.failures == ()


async def test_an_error_that_nobody_asks_for_leaves_no_warning():
    complaints = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context["message"]))
    call = Call()
    async with call.stream:
        call.future.set_exception(BadRequestError("no"))
        await settle()
    del call
    gc.collect()  # asyncio complains when a task goes whose exception nobody saw
    assert complaints == []


async def test_the_response_can_be_awaited_beside_the_loop_and_after_the_end(call):
    failure = BatchFailure((3,), BadRequestError("no"))
    response = RerankResponse(model_id="m", results=(), failures=(failure,))
    async with call.stream as stream:
        waiting = [asyncio.create_task(stream.response()) for _ in range(2)]
        reader = asyncio.create_task(anext(stream))
        await settle()
        assert stream.failures == ()
        call.landed(batch(0))
        await settle()
        assert reader.result() == batch(0)
        call.future.set_result(response)
        assert await asyncio.gather(*waiting) == [response] * 2
    assert await stream.response() is response
    assert stream.failures == (failure,)


async def test_whoever_waits_for_the_response_can_leave_alone(call):
    async with call.stream as stream:
        waiting = asyncio.create_task(stream.response())
        await settle()
        waiting.cancel()
        await settle()
        assert waiting.cancelled()
        assert not call.future.cancelled()


async def test_a_response_that_never_came_says_why(call):
    with pytest.raises(ClientStateError, match="was not entered"):
        await call.stream.response()
    async with call.stream as stream:
        waiting = asyncio.create_task(stream.response())
        await settle()
    for awaitable in (waiting, stream.response()):
        with pytest.raises(ClientStateError, match="closed before its call ended"):
            await awaitable
    assert stream.failures == ()


async def test_a_call_that_was_cancelled_from_outside_ends_the_loop(call):
    async with call.stream as stream:
        (task,) = asyncio.all_tasks() - {asyncio.current_task()}
        task.cancel()
        with pytest.raises(ClientStateError, match="was cancelled"):
            await anext(stream)
