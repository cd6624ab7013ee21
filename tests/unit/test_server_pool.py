"""The pool of threads: shared work, turns, cancellation, closing."""

import asyncio
import threading

import pytest

from rerank_async.server.pool import FairPool


class Held:
    """A call that says when it runs and ends when it is let go."""

    def __init__(self, result=None):
        self.loop = asyncio.get_running_loop()
        self.begun = asyncio.Event()
        self.go = threading.Event()
        self.calls = 0
        self.result = result

    def __call__(self):
        self.calls += 1
        self.loop.call_soon_threadsafe(self.begun.set)
        assert self.go.wait(30)
        return self.result


async def settled():
    # A task that was just created or cancelled runs in the next turn of the loop.
    for _ in range(3):
        await asyncio.sleep(0)


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "pool-test"]


@pytest.fixture
async def pool():
    pool = FairPool(1, "pool-test")
    yield pool
    await pool.close()
    assert threads() == []


async def test_every_call_is_worked_out_and_given_by_its_key(pool):
    assert await pool.run({number: lambda n=number: n * n for number in range(50)}) == {n: n * n for n in range(50)}
    assert await pool.run({}) == {}


async def test_two_callers_share_a_key_that_is_being_worked_out(pool):
    held = Held("result")
    one = asyncio.create_task(pool.run({"key": held}))
    await held.begun.wait()
    two = asyncio.create_task(pool.run({"key": lambda: "another"}))
    await settled()
    held.go.set()
    assert [await one, await two] == [{"key": "result"}] * 2
    assert held.calls == 1


async def test_shared_work_goes_on_when_the_first_caller_leaves(pool):
    gate, shared = Held(), Held("result")
    blocker = asyncio.create_task(pool.run({"gate": gate}))
    await gate.begun.wait()
    one = asyncio.create_task(pool.run({"key": shared}))
    two = asyncio.create_task(pool.run({"key": shared}))
    await settled()
    one.cancel()
    await settled()
    gate.go.set()
    shared.go.set()
    assert await two == {"key": "result"}
    assert one.cancelled()
    await blocker


async def test_work_that_nobody_waits_for_any_more_is_not_begun(pool):
    gate, never = Held(), Held()
    blocker = asyncio.create_task(pool.run({"gate": gate}))
    await gate.begun.wait()
    leaver = asyncio.create_task(pool.run({"never": never}))
    await settled()
    leaver.cancel()
    await settled()
    gate.go.set()
    await blocker
    assert await pool.run({"next": lambda: 1}) == {"next": 1}
    assert never.calls == 0


async def test_a_caller_that_leaves_while_its_call_runs_does_not_disturb_the_next(pool):
    held = Held()
    leaver = asyncio.create_task(pool.run({"key": held}))
    await held.begun.wait()
    leaver.cancel()
    await settled()
    held.go.set()
    assert await pool.run({"next": lambda: 1}) == {"next": 1}


async def test_a_short_request_is_served_between_the_calls_of_a_long_one(pool):
    order, gate = [], Held()
    blocker = asyncio.create_task(pool.run({"gate": gate}))
    await gate.begun.wait()
    long = asyncio.create_task(pool.run({f"a{n}": lambda n=n: order.append(f"a{n}") for n in range(5)}))
    short = asyncio.create_task(pool.run({"b": lambda: order.append("b")}))
    await settled()
    gate.go.set()
    await asyncio.gather(blocker, long, short)
    assert order == ["a0", "b", "a1", "a2", "a3", "a4"]


async def test_the_error_of_a_call_is_raised_to_all_who_wanted_it_and_to_nobody_else(pool):
    gate, begun = Held(), []
    blocker = asyncio.create_task(pool.run({"gate": gate}))
    await gate.begun.wait()

    def fail():
        raise LookupError("no")

    tasks = [asyncio.create_task(pool.run({"bad": fail, number: lambda: begun.append(1)})) for number in range(2)]
    good = asyncio.create_task(pool.run({"good": lambda: "fine"}))
    await settled()
    gate.go.set()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(end) for end in ends] == [LookupError, LookupError]
    assert await good == {"good": "fine"}
    await blocker
    assert begun == []


async def test_closing_fails_what_waits_and_refuses_what_comes():
    pool, held = FairPool(2, "pool-test"), Held()
    waiting = asyncio.create_task(pool.run({"key": held}))
    await held.begun.wait()
    closing = asyncio.create_task(pool.close())
    with pytest.raises(RuntimeError, match="closed"):
        await waiting
    assert not closing.done()
    held.go.set()
    await closing
    assert threads() == []
    with pytest.raises(RuntimeError, match="closed"):
        await pool.run({"key": lambda: 1})


def test_threads_end_with_the_work_and_a_pool_serves_loops_one_after_another():
    pool = FairPool(2, "pool-test")
    for _ in range(2):
        assert asyncio.run(pool.run({1: lambda: threading.current_thread().name})) == {1: "pool-test"}
    for thread in threads():
        thread.join(30)
    assert threads() == []


def test_a_loop_that_ends_with_work_in_flight_leaves_no_thread_behind():
    pool, go, begun = FairPool(1, "pool-test"), threading.Event(), threading.Event()

    def call():
        begun.set()
        assert go.wait(30)

    async def leave():
        task = asyncio.create_task(pool.run({1: call, 2: call}))
        await asyncio.to_thread(begun.wait)
        task.cancel()

    asyncio.run(leave())
    go.set()
    for thread in threads():
        thread.join(30)
    assert threads() == []
