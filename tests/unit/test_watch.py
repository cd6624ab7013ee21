"""One timer for all requests under way, on a loop clock that the test turns."""

import asyncio

import pytest

from rerank_async.runtime.watch import Watch


class Handle:
    def __init__(self, when, callback):
        self.when, self.callback, self.cancelled = when, callback, False

    def cancel(self):
        self.cancelled = True


class Loop:
    """As much of an event loop as a watch needs."""

    def __init__(self):
        self.now, self.handles = 0.0, []

    def time(self):
        return self.now

    def call_at(self, when, callback):
        self.handles.append(Handle(when, callback))
        return self.handles[-1]

    @property
    def armed(self):
        return [handle for handle in self.handles if not handle.cancelled]

    def turn_to(self, now):
        self.now = now
        for handle in self.armed:
            if handle.when <= now:
                self.handles.remove(handle)
                handle.callback()


async def under_watch(watch, log, name):
    """A request that takes for ever."""
    watched = watch.enter()
    try:
        await asyncio.get_running_loop().create_future()
    except asyncio.CancelledError:
        if not watch.is_late(watched):
            log.append((name, "cancelled by the caller"))
            raise
        log.append((name, "too late"))
    finally:
        watch.leave(watched)


@pytest.fixture
def loop():
    return Loop()


async def started(watch, log, name):
    task = asyncio.create_task(under_watch(watch, log, name))
    await asyncio.sleep(0)
    return task


async def test_each_request_has_its_own_time_and_all_share_one_timer(loop):
    watch, log = Watch(loop, 10.0), []
    first = await started(watch, log, "first")
    loop.now = 4.0
    second = await started(watch, log, "second")
    assert [handle.when for handle in loop.armed] == [10.0]
    loop.turn_to(9.9)
    await asyncio.sleep(0)
    assert log == []
    loop.turn_to(10.0)
    await asyncio.wait([first])
    assert log == [("first", "too late")]
    assert [handle.when for handle in loop.armed] == [14.0]
    loop.turn_to(14.0)
    await asyncio.wait([second])
    assert log == [("first", "too late"), ("second", "too late")]
    assert first.exception() is None
    assert loop.armed == []


async def test_the_last_to_leave_calls_the_timer_off(loop):
    watch = Watch(loop, 10.0)
    one, other = watch.enter(), watch.enter()
    watch.leave(one)
    assert len(loop.armed) == 1
    watch.leave(other)
    assert loop.armed == []
    watch.leave(other)
    assert loop.armed == []


async def test_a_request_that_ended_in_time_is_not_cancelled(loop):
    watch = Watch(loop, 10.0)
    early = watch.enter()
    loop.now = 1.0
    late = watch.enter()
    watch.leave(early)
    loop.turn_to(10.0)
    assert (watch.is_late(early), watch.is_late(late)) == (False, False)
    assert [handle.when for handle in loop.armed] == [11.0]
    watch.leave(late)
    assert asyncio.current_task().cancelling() == 0


@pytest.mark.parametrize("caller_first", [True, False])
async def test_the_callers_own_cancellation_is_not_swallowed(loop, caller_first):
    watch, log = Watch(loop, 10.0), []
    task = await started(watch, log, "request")
    if caller_first:
        task.cancel()
        loop.turn_to(10.0)
    else:
        loop.turn_to(10.0)
        task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert log == [("request", "cancelled by the caller")]
